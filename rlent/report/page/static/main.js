// The page, put together.

const KEPT_CHUNKS = 48;

/** id, title, what it is made of, and whether that is tokens, so that the run can be chosen. */
const SECTIONS = [
  ["curves", "Curves", curvesSection, false],
  ["warnings", "Warnings", warningsSection, false],
  ["entropy", "Entropy over training", distributionSection, true],
  ["completions", "Completions", null, false],
  ["forking", "Forking tokens", forkingSection, true],
  ["positions", "Entropy by position", positionsSection, true],
  ["moved", "Tokens that moved most", movedSection, true],
  ["rewards", "Rewards by part", rewardsSection, false],
  ["lengths", "Lengths", lengthsSection, true],
  ["time", "Time and tokens", timeSection, false],
  ["recipes", "Recipes", recipesSection, false],
];

async function readData() {
  const [summary, index, parts, prompts, vocabulary] = await Promise.all([
    readJson("summary"),
    readColumns("index"),
    readJson("parts"),
    readJson("prompts"),
    readJson("vocabulary"),
  ]);
  const recorded = summary.runs.filter((run) => run.tokens).map((run) => run.tokens.records);
  const records = { clipped: recorded.some((entry) => entry.clipped), band: recorded.some((entry) => entry.band) };
  return { summary, index, parts, prompts, vocabulary, records, chunk: chunkStore(KEPT_CHUNKS) };
}

const NO_TOKENS = "This run recorded no rollouts; with tracking.rollouts: true the next one does.";

function sectionElement([id, title], content) {
  return make("section", { id, "aria-labelledby": `${id}-title` }, make("h2", { id: `${id}-title` }, title), make("div", { class: "content" }, content));
}

const needsTokens = (id) => id !== "lengths";

function contentOf([id, , build, ofTokens], data, run) {
  if (ofTokens && needsTokens(id) && !run) return [make("p", {}, NO_TOKENS)];
  return build(data, run).filter(Boolean);
}

function completionsElement(section, data) {
  if (!data.index.step?.length) return { element: sectionElement(section, make("p", {}, NO_TOKENS)), start: () => {} };
  const built = completionsSection(data);
  return { element: sectionElement(section, built.section), start: built.start };
}

/** The run whose tokens are shown; changing it makes the sections of tokens again. */
function runChoice(data, elements) {
  const recorded = data.summary.runs.filter((run) => run.tokens);
  if (recorded.length < 2) return;
  const control = choice(recorded.map((run, i) => [i, run.name]), () => {
    for (const section of SECTIONS.filter(([, , , ofTokens]) => ofTokens)) {
      const content = elements.get(section[0]).querySelector(".content");
      content.replaceChildren(...contentOf(section, data, recorded[Number(control.value)]));
    }
  });
  control.id = "run";
  document.getElementById("run-choice").append(labelled("Run shown token by token", control));
}

function facts(summary) {
  const runs = counted(summary.runs.length, "run");
  const known = summary.runs.map((run) => run.tokens).filter(Boolean);
  if (!known.length) return runs;
  const sum = (name) => known.reduce((total, tokens) => total + tokens[name], 0);
  const steps = [Math.min(...known.map((tokens) => tokens.steps[0])), Math.max(...known.map((tokens) => tokens.steps[1]))];
  return `${runs} · ${stepsWord(steps)} · ${counted(sum("completions"), "completion")} · ${counted(sum("count"), "token")}`;
}

async function start() {
  const data = await readData();
  const run = data.summary.runs.find((entry) => entry.tokens);
  const elements = new Map();
  let showCompletions = () => {};
  for (const section of SECTIONS) {
    const [id, , build] = section;
    if (build) elements.set(id, sectionElement(section, contentOf(section, data, run)));
    else {
      const { element, start } = completionsElement(section, data);
      elements.set(id, element);
      showCompletions = start;
    }
  }
  document.getElementById("main").append(...elements.values());
  document.getElementById("contents").append(make("ul", {}, SECTIONS.map(([id, title]) => make("li", {}, make("a", { href: `#${id}` }, title)))));
  document.getElementById("facts").textContent = facts(data.summary);
  document.getElementById("made").append(make("p", {}, `Made by rlent ${data.summary.version}. Entropies are in nats.`));
  runChoice(data, elements);
  showCompletions();
  document.documentElement.dataset.ready = "true";
}

start().catch((error) => {
  document.getElementById("facts").textContent = `This page could not be read: ${error.message}`;
  throw error;
});
