// The sections of the page but the completions. Each is (data, run) -> elements, where `run` has recorded tokens.

/** A panel's lines: dashes for metrics, tones for metrics too, or for configurations when there are several. */
function panelLines(summary, metrics) {
  const several = summary.configurations.length > 1;
  return Object.entries(metrics).flatMap(([name, words], k) =>
    summary.metrics[name].map((band) => {
      const place = summary.configurations.indexOf(band.configuration);
      return {
        label: several ? `${band.configuration}: ${words}` : words,
        tone: several ? place : k,
        dash: k % 4,
        x: band.steps,
        mean: band.mean,
        ...(band.seeds > 1 ? { low: band.low, high: band.high } : {}),
      };
    }),
  );
}

const SEEDS_BAND = "line: mean over seeds, area: lowest to highest";

function panelCharts(summary, section) {
  const panels = summary.panels.filter((panel) => panel.section === section);
  return panels.map(({ title, unit, metrics }) =>
    lineChart({ title, unit, xName: "step", lines: panelLines(summary, metrics), fromZero: unit !== "reward", bandWords: SEEDS_BAND }),
  );
}

/** Any metric of the runs, chosen by name. */
function anyMetric(summary) {
  const names = Object.keys(summary.metrics);
  const place = make("div", { class: "charts" });
  const control = choice(names.map((name) => [name, name]), show);
  function show() {
    const name = control.value;
    place.replaceChildren(
      lineChart({ title: name, unit: "as logged", xName: "step", lines: panelLines(summary, { [name]: name }), bandWords: SEEDS_BAND }),
    );
  }
  const details = make("details", {}, make("summary", {}, "Any other metric"), labelled("Metric", control), place);
  details.addEventListener("toggle", () => details.open && !place.childElementCount && show());
  return names.length ? details : null;
}

function curvesSection(data) {
  return [make("div", { class: "charts" }, panelCharts(data.summary, "curves")), anyMetric(data.summary)];
}

function warningsSection(data) {
  const { runs } = data.summary;
  const watched = runs.filter((run) => run.watched);
  const rows = runs.flatMap((run) =>
    run.warnings.map(({ step, rule, problem, remedy }) => [{ text: `${run.name}: ${rule}` }, sortedBy(step, whole(step)), problem, remedy]),
  );
  if (!watched.length) return [make("p", {}, "These runs were not watched: their metrics have no health/....")];
  if (!rows.length) return [make("p", {}, "No rule warned.")];
  return [sortableTable("Warnings, when each first came up", ["run and rule", "step", "what", "change"], rows)];
}

function distributionSection(data, run) {
  const { steps, spreads } = run.tokens.distribution;
  const { edges } = data.summary;
  const seen = spreads.filter(({ count }) => count.some((classes) => classes.some(Boolean)));
  const means = seen.map(({ kind, mean }, k) => ({ label: KIND_WORDS[kind].toLowerCase(), tone: k, dash: k % 4, x: steps, mean }));
  return [
    make("p", {}, `Each column is the tokens of one step, or of neighbouring steps, by their entropy. Correct means ${run.tokens.correct}.`),
    entropyLegend(edges),
    noneOf(spreads.filter((spread) => !seen.includes(spread))),
    make("div", { class: "charts" }, seen.map((spread) => shareChart(KIND_WORDS[spread.kind], steps, spread, edges)), lineChart({ title: "Mean entropy", unit: "nats", xName: "step", lines: means, fromZero: true })),
  ];
}

const noneOf = (spreads) =>
  spreads.length ? make("p", { class: "quiet" }, `None in this run: ${spreads.map(({ kind }) => KIND_WORDS[kind].toLowerCase()).join(", ")}.`) : null;

const sortedBy = (value, text) => ({ text, value: value ?? -Infinity });

function forkingSection(data, run) {
  const { forking, ranked, periods } = run.tokens;
  const often = `sampled at least ${data.summary.minimum} times`;
  if (!ranked.length) return [make("p", {}, `No token was ${often}.`)];
  if (!periods) {
    const rows = ranked.map((token) => [visible(token.text), ...number3(token)]);
    return [make("p", {}, `The tokens of highest mean entropy where they were sampled, of those ${often}.`), sortableTable("Forking tokens", ["token", "entropy (nats)", "times", "kept"], rows)];
  }
  const rank = (then) => sortedBy(then.rank === null ? null : -then.rank, then.rank === null ? NOTHING : `${then.rank}.`);
  const half = (then) => [rank(then), ...number3(then)];
  const rows = forking.map(({ text, first, last }) => {
    const change = first.entropy === null || last.entropy === null ? null : last.entropy - first.entropy;
    return [visible(text), ...half(first), ...half(last), sortedBy(change, signed(change))];
  });
  const headers = ["rank", "entropy (nats)", "times", "kept"];
  return [
    make("p", {}, `The tokens of highest mean entropy where they were sampled, in the ${stepsWord(periods[0])} (first) and the ${stepsWord(periods[1])} (last). A token is ranked if it was ${often} then.`),
    sortableTable("Forking tokens, first and last steps", ["token", ...headers.map((words) => `first: ${words}`), ...headers.map((words) => `last: ${words}`), "change (nats)"], rows),
  ];
}

const number3 = (token) => [
  sortedBy(token.entropy, number(token.entropy)),
  sortedBy(token.count, whole(token.count)),
  sortedBy(token.kept, percent(token.kept)),
];

function positionsSection(data, run) {
  const lines = run.tokens.positions.map(({ steps, at }, k) => ({
    label: stepsWord(steps),
    tone: k,
    dash: k,
    x: at.position,
    mean: at.mean,
    low: at.low,
    high: at.high,
  }));
  return [
    make("div", { class: "charts wide" }, lineChart({ title: "Entropy through the completion", unit: "nats", xName: "position", lines, fromZero: true, bandWords: "line: mean, area: middle half of the tokens" })),
  ];
}

function movedSection(data, run) {
  const { moved, periods } = run.tokens;
  if (!moved.length) return [make("p", {}, `No token was sampled at least ${data.summary.minimum} times in both the first and the last steps.`)];
  const rows = moved.map(({ text, logp, entropy, count }) => [
    visible(text),
    sortedBy(logp[0], number(Math.exp(logp[0]))),
    sortedBy(logp[1], number(Math.exp(logp[1]))),
    sortedBy(logp[1] - logp[0], signed(logp[1] - logp[0])),
    sortedBy(entropy[0], number(entropy[0])),
    sortedBy(entropy[1], number(entropy[1])),
    sortedBy(entropy[1] - entropy[0], signed(entropy[1] - entropy[0])),
    sortedBy(count[0], whole(count[0])),
    sortedBy(count[1], whole(count[1])),
  ]);
  return [
    make("p", {}, `Tokens whose mean log-probability where they were sampled differs most between the ${stepsWord(periods[0])} (first) and the ${stepsWord(periods[1])} (last). The contexts differ too, so this is what became of the policy's text, not of one distribution. Probability is the geometric mean.`),
    sortableTable("Tokens that moved most", ["token", "first: probability", "last: probability", "change of log p", "first: entropy", "last: entropy", "change (nats)", "first: times", "last: times"], rows),
  ];
}

function rewardsSection(data) {
  return [make("div", { class: "charts" }, panelCharts(data.summary, "rewards"))];
}

function lengthsSection(data, run) {
  const charts = panelCharts(data.summary, "lengths");
  if (run) {
    const { steps, kinds } = run.tokens.lengths;
    const lines = Object.entries(kinds).map(([kind, mean], k) => ({ label: kind, tone: k, dash: k, x: steps, mean }));
    charts.push(lineChart({ title: "Length of correct and wrong completions", unit: "tokens", xName: "step", lines }));
  }
  return [make("div", { class: "charts" }, charts)];
}

function timeSection(data) {
  const { runs, metrics } = data.summary;
  const names = [...new Set(runs.flatMap((run) => Object.keys(run.totals)))];
  const rows = runs.map((run) => [run.name, ...names.map((name) => number(run.totals[name]))]);
  const phases = Object.keys(metrics).some((name) => name.startsWith("time/"));
  return [
    plainTable("Totals", ["run", ...names], rows),
    phases ? null : make("p", { class: "quiet" }, "These runs recorded the time of whole steps, not of their phases."),
    make("div", { class: "charts" }, panelCharts(data.summary, "time")),
  ];
}

function recipesSection(data) {
  return data.summary.runs
    .filter((run) => run.recipe)
    .map((run) => make("details", {}, make("summary", {}, `Recipe of ${run.name}`), make("pre", { tabindex: 0 }, run.recipe)));
}
