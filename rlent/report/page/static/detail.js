// One completion in full: every token shaded, and what is known of the token under the pointer or the focus.

function completionDetail(data) {
  const facts = make("dl", { class: "facts" });
  const inspector = make("div", { class: "inspector" });
  const body = make("div", { class: "detail-body" });
  const box = make("section", { class: "detail", "aria-label": "Chosen completion" }, facts, body, inspector);
  let asked = -1;

  async function show(i) {
    clear();
    asked = i;
    const tokens = tokensOf(data.index, i, await data.chunk(data.index.chunk[i]));
    if (asked !== i) return;
    facts.replaceChildren(...pairs(completionFacts(data, i)));
    const prompt = data.prompts[data.index.prompt[i]];
    body.replaceChildren(
      make("details", { open: true }, make("summary", {}, "Prompt"), make("pre", { class: "prompt" }, prompt)),
      make("h4", {}, "Completion"),
      tokenBox(data, tokens, inspect),
    );
  }
  function clear() {
    asked = -1;
    facts.replaceChildren();
    body.replaceChildren();
    inspector.replaceChildren("Point at a token, or move through them with the arrow keys.");
  }
  function inspect(token) {
    inspector.replaceChildren(make("dl", { class: "facts" }, pairs(inspected(token))));
  }
  return { box, show, clear };
}

const pairs = (entries) => entries.map(([name, value]) => make("div", {}, make("dt", {}, name), make("dd", {}, value)));

function completionFacts(data, i) {
  const { index, parts, summary } = data;
  const facts = [
    ["step", whole(index.step[i])],
    ["reward", number(index.reward[i])],
    ...parts.map((name, k) => [name, number(index[`part${k}`][i])]),
    ["tokens", whole(index.length[i]) + (index.truncated[i] ? ", cut off" : "")],
    ["mean entropy", `${number(index.entropy[i])} nats`],
  ];
  return summary.runs.length > 1 ? [["run", summary.runs[index.run[i]].name], ...facts] : facts;
}

const inspected = (token) => [
  ["token", visible(token.text)],
  ["entropy", `${number(token.entropy)} nats`],
  ["probability", number(token.probability)],
  ["advantage", number(token.advantage)],
  ["weight", number(token.weight)],
  ...(token.effect === null ? [] : [["change of entropy, first order", `${number(token.effect)} nats`]]),
  ["marks", marksSay(token).join(", ")],
];

/** All tokens; one of them can be reached with Tab, the others with the arrow keys. */
function tokenBox(data, tokens, inspect) {
  const { edges } = data.summary;
  const known = Array.from({ length: tokens.size }, (_, t) => tokenFacts(data, tokens, t));
  const elements = known.map((facts, t) =>
    tokenElement(facts, edges, { role: "option", tabindex: t ? -1 : 0, "aria-label": tokenSays(facts), "data-place": t }),
  );
  const box = make("div", { class: "tokens", role: "listbox", "aria-label": "Tokens", "aria-orientation": "horizontal" }, elements);
  let current = 0;

  function enter(event) {
    const element = event.target.closest("[data-place]");
    if (element) inspect(known[Number(element.dataset.place)]);
  }
  function focus(t) {
    elements[current].tabIndex = -1;
    current = Math.max(0, Math.min(elements.length - 1, t));
    elements[current].tabIndex = 0;
    elements[current].focus();
  }
  box.addEventListener("pointerover", enter);
  box.addEventListener("focusin", enter);
  box.addEventListener("click", (event) => {
    const element = event.target.closest("[data-place]");
    if (element) focus(Number(element.dataset.place));
  });
  box.addEventListener("keydown", (event) => {
    const moves = { ArrowRight: current + 1, ArrowLeft: current - 1, Home: 0, End: elements.length - 1 };
    if (!(event.key in moves) || !elements.length) return;
    event.preventDefault();
    focus(moves[event.key]);
  });
  return box;
}
