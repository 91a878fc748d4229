// The distribution of entropy over steps: for each bin of steps, the share of its tokens in each entropy class.

function shareChart(title, steps, spread, edges) {
  const totals = spread.count.map((counts) => counts.reduce((sum, count) => sum + count, 0));
  const share = (i, k) => (totals[i] ? spread.count[i][k] / totals[i] : 0);
  const classes = classWords(edges);
  const end = steps.at(-1) + (steps.length > 1 ? steps.at(-1) - steps.at(-2) : 1);
  const high = edges.findIndex((edge) => edge >= 1) + 1;
  return chartFigure({
    title,
    unit: "share of tokens",
    xName: "step",
    xs: steps,
    xDomain: [steps[0], end],
    yDomain: [0, 1],
    layer: (toX, toY) =>
      draw(
        "g",
        {},
        steps.map((step, i) => shareBar(classes.length, (k) => share(i, k), [toX(step), toX(steps[i + 1] ?? end)], toY)),
      ),
    says: (i) => {
      if (!totals[i]) return `step ${steps[i]}: no such tokens`;
      const above = classes.reduce((sum, _, k) => (k >= high ? sum + share(i, k) : sum), 0);
      return `step ${steps[i]}: mean ${number(spread.mean[i])} nats; ${percent(share(i, 0))} below ${edges[0]}, ${percent(above)} at ${edges[high - 1]} or more; ${whole(totals[i])} tokens`;
    },
    columns: ["tokens", "mean (nats)", ...classes],
    row: (i) => [whole(steps[i]), whole(totals[i]), number(spread.mean[i]), ...classes.map((_, k) => percent(share(i, k)))],
  });
}

function shareBar(classes, share, [left, right], toY) {
  const bars = [];
  let below = 0;
  for (let k = 0; k < classes; k++) {
    const part = share(k);
    if (part > 0) {
      const top = toY(below + part);
      bars.push(draw("rect", { class: `heat heat-${k}`, x: left, width: Math.max(right - left, 1), y: top, height: toY(below) - top }));
    }
    below += part;
  }
  return draw("g", {}, bars);
}

const classWords = (edges) => [
  `below ${edges[0]}`,
  ...edges.slice(1).map((edge, i) => `${edges[i]} to ${edge}`),
  `${edges.at(-1)} and more`,
];

/** What the colours mean, in nats. */
function entropyLegend(edges) {
  const entries = classWords(edges).map((words, k) =>
    make("li", {}, make("span", { class: `swatch heat-${k}`, "aria-hidden": "true" }), words),
  );
  return make("div", { class: "scale" }, make("span", {}, "Entropy (nats):"), make("ul", { class: "legend" }, entries));
}
