// Numbers and tokens in words.

const NOTHING = "–";

function number(value, digits = 3) {
  if (value === null || value === undefined || Number.isNaN(value)) return NOTHING;
  if (value !== 0 && (Math.abs(value) >= 1e6 || Math.abs(value) < 1e-3)) return value.toExponential(2);
  return value.toLocaleString("en", { maximumSignificantDigits: Math.abs(value) >= 1000 ? 6 : digits });
}

const whole = (value) => (value === null ? NOTHING : value.toLocaleString("en"));

const counted = (count, thing) => `${whole(count)} ${thing}${count === 1 ? "" : "s"}`;

const signed = (value) =>
  value === null || Number.isNaN(value) ? NOTHING : (value > 0 ? "+" : value < 0 ? "−" : "") + number(Math.abs(value));

function percent(share) {
  if (share === null || Number.isNaN(share)) return NOTHING;
  const value = 100 * share;
  return `${value >= 10 || value === 0 ? Math.round(value) : value.toPrecision(value < 0.01 ? 1 : 2)}%`;
}

const VISIBLE = { "\n": "↵", "\r": "␍", "\t": "⇥" };

/** A token on its own: blanks are made visible. */
const visible = (text) =>
  text === "" ? "∅" : text.replace(/[\n\r\t]/g, (blank) => VISIBLE[blank]).replace(/^ | $/g, "␣");

const stepsWord = ([first, last]) => (first === last ? `step ${first}` : `steps ${first} to ${last}`);
