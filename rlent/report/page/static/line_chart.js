// Lines with a band around each: { label, tone, dash, x, mean, low, high }.

const TONES = 6;

/** Values of a line by the x where they are. */
const byX = (line) => new Map(line.x.map((x, i) => [x, i]));

function lineChart({ title, unit, xName, lines, fromZero = false, bandWords = "" }) {
  const xs = [...new Set(lines.flatMap((line) => line.x))].sort((a, b) => a - b);
  const places = lines.map(byX);
  const value = (k, x) => lines[k].mean[places[k].get(x)] ?? null;
  return chartFigure({
    title,
    unit,
    xName,
    xs,
    xDomain: xs.length > 1 ? [xs[0], xs.at(-1)] : domain(xs),
    yDomain: domain(lines.flatMap((line) => [...line.mean, ...(line.low ?? []), ...(line.high ?? [])]), fromZero),
    layer: (toX, toY) => draw("g", {}, lines.map((line) => [bandPath(line, toX, toY), meanPath(line, toX, toY)])),
    says: (i) =>
      `${xName} ${whole(xs[i])}: ` +
      lines.map((line, k) => `${line.label} ${number(value(k, xs[i]))}${bandSays(line, places[k].get(xs[i]))}`).join(", "),
    columns: lines.flatMap((line) => (hasBand(line) ? [line.label, "lowest", "highest"] : [line.label])),
    row: (i) => [
      whole(xs[i]),
      ...lines.flatMap((line, k) => {
        const at = places[k].get(xs[i]);
        const shown = [line.mean[at]];
        if (hasBand(line)) shown.push(line.low[at], line.high[at]);
        return shown.map((item) => number(item));
      }),
    ],
    legend: lineLegend(lines, bandWords),
  });
}

const hasBand = (line) => Boolean(line.low);

const bandSays = (line, at) =>
  hasBand(line) && at !== undefined ? ` (${number(line.low[at])} to ${number(line.high[at])})` : "";

function meanPath(line, toX, toY) {
  const style = `line tone-${line.tone % TONES} dash-${line.dash ?? 0}`;
  const known = line.x.map((x, i) => [x, line.mean[i]]).filter(([, y]) => y !== null);
  const points = known.map(([x, y]) => `${toX(x)},${toY(y)}`);
  const dots = known.length > 12 ? [] : known.map(([x, y]) => draw("circle", { class: `dot tone-${line.tone % TONES}`, cx: toX(x), cy: toY(y), r: 2.5 }));
  return [draw("polyline", { class: style, points: points.join(" ") }), ...dots];
}

function bandPath(line, toX, toY) {
  if (!hasBand(line)) return null;
  const there = line.x.map((x, i) => `${toX(x)},${toY(line.high[i])}`);
  const back = line.x.map((x, i) => `${toX(x)},${toY(line.low[i])}`).reverse();
  return draw("polygon", { class: `band tone-${line.tone % TONES}`, points: [...there, ...back].join(" ") });
}

function lineLegend(lines, bandWords) {
  const sample = (line) =>
    draw(
      "svg",
      { width: 26, height: 10, "aria-hidden": "true" },
      draw("line", { class: `line tone-${line.tone % TONES} dash-${line.dash ?? 0}`, x1: 1, x2: 25, y1: 5, y2: 5 }),
    );
  const entries = lines.map((line) => make("li", {}, sample(line), line.label));
  if (bandWords && lines.some(hasBand)) entries.push(make("li", { class: "quiet" }, bandWords));
  return make("ul", { class: "legend" }, entries);
}
