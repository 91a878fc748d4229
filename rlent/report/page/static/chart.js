// The frame that every chart shares: axes, a cursor moved by pointer or arrow keys, its words, and the numbers as a table.
//
// A chart is { title, unit, xName, xs, yDomain, xDomain, layer(toX, toY), says(i), columns, row(i), legend }: `xs` are the
// places where the cursor can stand, `says` what is there in words, `columns` and `row` the table.

const MARGIN = { left: 52, right: 12, top: 8, bottom: 34 };
const HEIGHT = 230;
const LEAST_WIDTH = 220;

function chartFigure(chart) {
  const plot = make("div", {
    class: "plot",
    tabindex: 0,
    role: "img",
    "aria-label": `${chart.title}, ${chart.unit}, over ${chart.xName}. Arrow keys move a cursor; the numbers are in the table below.`,
  });
  const readout = make("p", { class: "readout", "aria-live": "polite" }, " ");
  const figure = make(
    "figure",
    { class: "chart" },
    make("figcaption", {}, make("h3", {}, chart.title), make("span", { class: "unit" }, chart.unit)),
    chart.legend ?? null,
    plot,
    readout,
    numbersTable(chart),
  );
  const cursor = chartCursor(chart, plot, readout);
  new ResizeObserver(oncePerFrame(() => cursor.redraw())).observe(plot);
  return figure;
}

function chartCursor(chart, plot, readout) {
  let place = null;
  let frame = null;

  function redraw() {
    const width = Math.max(plot.clientWidth, LEAST_WIDTH);
    if (frame?.width === width) return;
    frame = chartFrame(chart, width);
    plot.replaceChildren(frame.svg);
    if (place !== null) moveTo(place);
  }
  function moveTo(i) {
    place = Math.max(0, Math.min(chart.xs.length - 1, i));
    const x = frame.toX(chart.xs[place]);
    frame.line.setAttribute("x1", x);
    frame.line.setAttribute("x2", x);
    frame.line.setAttribute("class", "cursor shown");
    readout.textContent = chart.says(place);
  }
  plot.addEventListener("pointermove", (event) => {
    if (!frame || !chart.xs.length) return;
    const at = event.clientX - plot.getBoundingClientRect().left;
    moveTo(nearest(chart.xs.map(frame.toX), at));
  });
  plot.addEventListener("keydown", (event) => {
    const last = chart.xs.length - 1;
    const moves = { ArrowLeft: (place ?? 1) - 1, ArrowRight: (place ?? -1) + 1, Home: 0, End: last };
    if (!(event.key in moves) || last < 0) return;
    event.preventDefault();
    moveTo(moves[event.key]);
  });
  return { redraw };
}

function chartFrame(chart, width) {
  const toX = linear(chart.xDomain, [MARGIN.left, width - MARGIN.right]);
  const toY = linear(chart.yDomain, [HEIGHT - MARGIN.bottom, MARGIN.top]);
  const line = draw("line", { class: "cursor", y1: MARGIN.top, y2: HEIGHT - MARGIN.bottom });
  const svg = draw(
    "svg",
    { width, height: HEIGHT, viewBox: `0 0 ${width} ${HEIGHT}`, "aria-hidden": "true" },
    axes(chart, toX, toY, width),
    chart.layer(toX, toY),
    line,
  );
  return { svg, toX, line, width };
}

function axes(chart, toX, toY, width) {
  const bottom = HEIGHT - MARGIN.bottom;
  const xTicks = ticks(...chart.xDomain, Math.max(2, Math.min(8, width / 70))).filter(Number.isInteger);
  return draw(
    "g",
    { class: "axes" },
    ticks(...chart.yDomain, 5).map((y) => [
      draw("line", { x1: MARGIN.left, x2: width - MARGIN.right, y1: toY(y), y2: toY(y) }),
      draw("text", { x: MARGIN.left - 6, y: toY(y) + 4, "text-anchor": "end" }, number(y)),
    ]),
    xTicks.map((x) => draw("text", { x: toX(x), y: bottom + 16, "text-anchor": "middle" }, whole(x))),
    draw("text", { x: (MARGIN.left + width) / 2, y: HEIGHT - 3, "text-anchor": "middle" }, chart.xName),
  );
}

/** The chart's numbers, made when they are opened. */
function numbersTable(chart) {
  const details = make("details", { class: "numbers" }, make("summary", {}, `Numbers of ${chart.title}`));
  details.addEventListener("toggle", () => {
    if (!details.open || details.childElementCount > 1) return;
    const rows = chart.xs.map((_, i) => chart.row(i));
    details.append(plainTable(chart.title, [chart.xName, ...chart.columns], rows));
  });
  return details;
}
