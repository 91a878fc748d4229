// Tokens of one completion: what is known of each, in numbers, words and style.

/** The tokens of completion `i` as views into its chunk. */
function tokensOf(index, i, chunk) {
  const from = index.first[i];
  const to = from + index.length[i];
  const cut = (name) => chunk[name].subarray(from, to);
  return {
    size: to - from,
    text: cut("text"),
    entropy: cut("entropy"),
    surprise: cut("surprise"),
    advantage: cut("advantage"),
    weight: cut("weight"),
    flags: cut("flags"),
    effect: "effect" in chunk ? cut("effect") : null,
  };
}

/** Everything about token `t` in plain values; `data` is the page's. */
function tokenFacts(data, tokens, t) {
  const flags = tokens.flags[t];
  return {
    text: data.vocabulary[tokens.text[t]],
    entropy: tokens.entropy[t] * data.summary.entropyStep,
    probability: Math.exp(-tokens.surprise[t] * data.summary.surpriseStep),
    advantage: tokens.advantage[t],
    weight: tokens.weight[t],
    effect: tokens.effect ? tokens.effect[t] : null,
    selected: Boolean(flags & FLAG.selected),
    clipped: Boolean(flags & FLAG.clipped),
    preserved: Boolean(flags & FLAG.preserved),
    band: BAND_SIDES[flags >> BAND_SHIFT],
  };
}

const entropyClass = (edges, entropy) => {
  const k = edges.findIndex((edge) => entropy < edge);
  return k < 0 ? edges.length : k;
};

function tokenStyle(facts, edges) {
  const marks = ["selected", "clipped", "preserved"].filter((mark) => facts[mark]);
  if (facts.band) marks.push(`band-${facts.band}`);
  return ["token", `heat-${entropyClass(edges, facts.entropy)}`, ...marks].join(" ");
}

const marksSay = (facts) => [
  facts.selected ? "selected" : "not selected",
  ...(facts.clipped ? [facts.preserved ? "clipped, gradient preserved" : "clipped"] : []),
  ...(facts.band ? [facts.band === "inside" ? "inside the band" : `${facts.band} the band`] : []),
];

const tokenSays = (facts) =>
  `${visible(facts.text)}: entropy ${number(facts.entropy)} nats, probability ${number(facts.probability)}, ` +
  `advantage ${number(facts.advantage)}, weight ${number(facts.weight)}, ${marksSay(facts).join(", ")}`;

/** A shaded token; a line break is shown, and breaks the line after it. */
function tokenElement(facts, edges, attributes = {}) {
  const shown = facts.text.replace(/\n/g, "↵\n");
  return make("span", { class: tokenStyle(facts, edges), ...attributes }, shown);
}

/** What the marks mean, as far as these runs have recorded them. */
function marksLegend(records) {
  const entry = (style, words) => make("li", {}, make("span", { class: `token heat-3 ${style}`, "aria-hidden": "true" }, "token"), words);
  const entries = [entry("selected", "selected: it learns"), entry("", "not selected")];
  if (records.clipped) entries.push(entry("clipped", "clipped in some update"), entry("clipped preserved", "clipped, part of its gradient preserved"));
  if (records.band) entries.push(entry("band-above", "above the entropy band"), entry("band-inside", "inside it"), entry("band-below", "below it"));
  return make("ul", { class: "legend marks" }, entries);
}

function missingRecords(records) {
  const missing = [];
  if (!records.clipped) missing.push("which tokens were clipped or preserved");
  if (!records.band) missing.push("an entropy band");
  return missing.length ? `Not in these runs: ${missing.join(", ")}.` : "";
}
