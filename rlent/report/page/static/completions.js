// The completions: filters, the list, and the chosen one.

const ROW_REM = 6;
const PREVIEW_TOKENS = 90;

function completionsSection(data) {
  const rem = parseFloat(getComputedStyle(document.documentElement).fontSize);
  const detail = completionDetail(data);
  const list = virtualList({
    label: "Completions",
    rowHeight: ROW_REM * rem,
    rowOf: (i) => completionRow(data, i),
    onchoose: (i) => detail.show(i),
  });
  const count = make("p", { class: "count", role: "status" });
  const wanted = { run: null, step: [null, null], reward: [null, null], prompt: "", order: "step" };
  const apply = () => {
    const found = matching(data.index, data.prompts, wanted);
    count.textContent = found.length
      ? `${whole(found.length)} of ${whole(data.index.step.length)} completions`
      : "No completion matches these filters.";
    list.show(found);
    if (found.length) list.choose(0);
    else detail.clear();
  };
  const section = make(
    "div",
    {},
    make("p", {}, heldWords(data.summary), " The step of a completion is the number of updates made before it was generated."),
    entropyLegend(data.summary.edges),
    marksLegend(data.records),
    make("p", { class: "quiet" }, missingRecords(data.records)),
    filterForm(data, wanted, apply),
    count,
    make("div", { class: "browser" }, list.box, detail.box),
  );
  return { section, start: apply };
}

function heldWords(summary) {
  const known = summary.runs.map((run) => run.tokens).filter(Boolean);
  const sum = (name) => known.reduce((total, tokens) => total + tokens[name], 0);
  const [shown, all] = [sum("shown"), sum("completions")];
  return shown === all
    ? `All ${whole(all)} recorded completions are in this file.`
    : `${whole(shown)} of ${whole(all)} recorded completions are in this file: whole groups, taken evenly over the run. Everything else on this page is computed from all of them.`;
}

function filterForm(data, wanted, apply) {
  const soon = settled(apply, 120);
  const bound = (words, name, side) => {
    const input = make("input", { type: "number", step: "any", inputmode: "decimal", "data-filter": `${name}-${side ? "most" : "least"}` });
    input.addEventListener("input", () => {
      wanted[name][side] = Number.isNaN(input.valueAsNumber) ? null : input.valueAsNumber;
      soon();
    });
    return labelled(words, input);
  };
  const prompt = make("input", { type: "search", "data-filter": "prompt" });
  prompt.addEventListener("input", () => {
    wanted.prompt = prompt.value;
    soon();
  });
  const order = choice(Object.entries(ORDERS).map(([name, [words]]) => [name, words]), () => {
    wanted.order = order.value;
    apply();
  });
  order.dataset.filter = "order";
  return make(
    "fieldset",
    { class: "filters" },
    make("legend", {}, "Filter completions"),
    data.summary.runs.length > 1 ? runFilter(data, wanted, apply) : null,
    bound("From step", "step", 0),
    bound("To step", "step", 1),
    bound("Reward at least", "reward", 0),
    bound("Reward at most", "reward", 1),
    labelled("Prompt contains", prompt),
    labelled("Order", order),
  );
}

function runFilter(data, wanted, apply) {
  const names = data.summary.runs.map((run, i) => [i, run.name]);
  const control = choice([["", "all runs"], ...names], () => {
    wanted.run = control.value === "" ? null : Number(control.value);
    apply();
  });
  control.dataset.filter = "run";
  return labelled("Run", control);
}

/** A row of the list; its tokens follow when their chunk has been read. */
function completionRow(data, i) {
  const { index, summary } = data;
  const run = summary.runs.length > 1 ? `${summary.runs[index.run[i]].name} · ` : "";
  const words = `${run}step ${whole(index.step[i])} · reward ${number(index.reward[i])} · ${counted(index.length[i], "token")} · ${number(index.entropy[i])} nats`;
  const preview = make("div", { class: "preview" });
  const row = make("div", { class: "row", "aria-label": words }, make("div", { class: "row-head" }, words), preview);
  data.chunk(index.chunk[i]).then((chunk) => {
    const tokens = tokensOf(index, i, chunk);
    const shown = Array.from({ length: Math.min(tokens.size, PREVIEW_TOKENS) }, (_, t) => tokenFacts(data, tokens, t));
    preview.append(...shown.map((facts) => tokenElement(facts, summary.edges)));
    row.setAttribute("aria-label", `${words}: ${shown.map((facts) => facts.text).join("")}`);
  });
  return row;
}
