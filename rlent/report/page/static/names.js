// Names that Python and the page agree on; see completions.py and band.py.

const FLAG = { selected: 1, clipped: 2, preserved: 4 };
const BAND_SHIFT = 3;
const BAND_SIDES = ["", "inside", "below", "above"];
const KIND_WORDS = {
  kept: "Kept tokens",
  dropped: "Dropped tokens",
  correct: "Tokens of correct completions",
  wrong: "Tokens of wrong completions",
};
