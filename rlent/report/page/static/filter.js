// Which completions are listed, and in what order. Pure: (index, prompts, wanted) -> numbers of completions.

const ORDERS = {
  step: ["Step", (index) => (a, b) => index.step[a] - index.step[b]],
  reward: ["Reward, highest first", (index) => (a, b) => falling(index.reward[a], index.reward[b])],
  poor: ["Reward, lowest first", (index) => (a, b) => falling(-index.reward[a], -index.reward[b])],
  entropy: ["Mean entropy, highest first", (index) => (a, b) => index.entropy[b] - index.entropy[a]],
  length: ["Length, longest first", (index) => (a, b) => index.length[b] - index.length[a]],
};

/** Highest first; what has no number comes last. */
const falling = (a, b) => (Number.isNaN(a) ? 1 : 0) - (Number.isNaN(b) ? 1 : 0) || b - a;

/** wanted: run, step and reward as [least, most], prompt as text, order; null asks for nothing. */
function matching(index, prompts, wanted) {
  const words = wanted.prompt.toLowerCase();
  const prompt = prompts.map((text) => !words || text.toLowerCase().includes(words));
  const found = [];
  for (let i = 0; i < index.step.length; i++) {
    if (wanted.run !== null && index.run[i] !== wanted.run) continue;
    if (!within(index.step[i], wanted.step) || !within(index.reward[i], wanted.reward)) continue;
    if (prompt[index.prompt[i]]) found.push(i);
  }
  const order = ORDERS[wanted.order][1](index);
  return found.sort((a, b) => order(a, b) || a - b);
}

/** A value that is no number is within no bounds, unless there are none. */
function within(value, [least, most]) {
  if (least === null && most === null) return true;
  return (least === null || value >= least) && (most === null || value <= most);
}
