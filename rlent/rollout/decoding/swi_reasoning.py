"""Thinking that changes between soft inputs, which mix all tokens, and ordinary ones, by the entropy.

SwiReasoning, arXiv 2510.05069, in its released generation loop. Every step samples and records a token as ever. With
``p = softmax(logits)``, neither tempered nor truncated, ``H_t`` its entropy in nats and ``E`` the input embeddings,
what the model goes on from is::

    soft:      e = sum_v p_v E_v          explicit:   E of the sampled token

A completion begins soft, with the reference ``R = H_0``. At every later step::

    soft     -> explicit   if H_t < R
    explicit -> soft       if H_t > R, at least `window` steps after the last change, and `end` was not sampled

and at a change ``R = H_t``. Some inputs are mixed, with ``n`` the most tokens of the completion::

    at step 0               (1 - first_share) e + first_share E[first]
    when it becomes soft    a e + (1 - a) E[begin],   a = alpha + (1 - alpha) t / n
    when it is explicit     b e + (1 - b) E[end],     b = beta + (1 - beta) t / n

While thinking is soft, a sampled token of mathematics is its own input, and so is every token from `end` on. The input
that ends soft thinking is mixed even then: whatever was sampled, and once more after `end` if thinking was soft.

Defaults are the code's: window 512, alpha 1 (no mixing; 0.1 to 1 by task in its scripts), beta 0.7, 0.1 of the token
that writes a backslash and an n, which is no newline. Its scripts sample at temperature 0.6, top-p 0.95 and top-k 20.

Read: the generation loop and the scripts; of the paper, accounts without its formulas. Left out: the limit on the
number of changes, which is off in the scripts' main runs. `start: explicit` is rlent's own.

Log-probabilities and entropies are noted as ever, given the inputs that the model has seen: from tokens alone they
cannot be computed again, so such completions cannot be trained on. ``rlent eval`` reports ``soft_inputs``, the share of
tokens after which the model went on from a mixture.

Recipe::

    evaluation:
      {samples: 8, temperature: 0.6, top_p: 0.95, decoding: {swi_reasoning: {begin: <think>, alpha: 0.6}}}
"""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from jaxtyping import Float
from torch import Tensor

from rlent.errors import ConfigError
from rlent.rollout.budgets import text_tokens
from rlent.rollout.decoding.rule import DecodingRule
from rlent.rollout.decoding.symbols import SYMBOLS
from rlent.rollout.sampling import Step, truncated

Change = Literal["soft", "explicit"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Mode:
    """How a sequence goes on."""

    soft: bool
    reference: float
    """Entropy in nats at the last change, or at step 0."""
    steps: int = 0
    """Since then."""
    locked: bool = False
    """Whether `end` was sampled."""


@dataclass(frozen=True, kw_only=True)
class SwiReasoning(DecodingRule):
    """Go on from a mixture of all tokens while the entropy is high."""

    name: ClassVar[str] = "swi_reasoning"
    paper: ClassVar[str] = "SwiReasoning, arXiv 2510.05069"
    trains: ClassVar[bool] = False
    summarises: ClassVar[bool] = False

    window: int = 512
    """Fewest explicit steps before a soft one."""
    start: Literal["soft", "explicit"] = "soft"
    """How a completion begins."""
    alpha: float = 1.0
    """Share of the mixture at step 0 in the input that begins soft thinking, rising to 1; below 1 `begin` is needed."""
    begin: str | None = None
    """Token mixed into that input."""
    beta: float = 0.7
    """Share of the mixture at step 0 in the input that ends soft thinking, rising to 1."""
    end: str | None = "</think>"
    """Token mixed into that input, from which on tokens are inputs; null for none, with `beta: 1`."""
    first_share: float = 0.1
    """Share of `first` in the first input, where it is soft; 0 for none."""
    first: str = r"\n"
    """Token mixed into the first input; the default is a backslash and an n."""
    own_input: tuple[str, ...] | None = None
    """Texts whose tokens are their own input while thinking is soft; null for digits, letters, signs and LaTeX."""

    def __post_init__(self) -> None:
        if self.window < 1:
            raise ValueError(f"window must be at least 1, got {self.window}")
        for name in ("alpha", "beta", "first_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must be in [0, 1], got {getattr(self, name):g}")
        if (self.alpha < 1) != (self.begin is not None):
            raise ValueError("begin is needed where alpha is below 1, and nowhere else")
        if self.beta < 1 and self.end is None:
            raise ValueError("beta must be 1 without end")
        if self.start == "explicit" and self.first_share:
            raise ValueError("first_share must be 0 where the start is explicit")

    def check_tokenizer(self, tokenizer: Any | None) -> None:
        if tokenizer is None:
            raise ConfigError(
                "tokens are told by their text, which needs the tokenizer",
                key=f"decoding.{self.name}",
            )
        self.marks(tokenizer)
        self.own_inputs(tokenizer)

    def own_inputs(self, tokenizer: Any) -> frozenset[int]:
        """Tokens of `own_input`, each text tokenised alone; of the default texts those that the vocabulary has.

        Raises:
            ConfigError: for a given text that the vocabulary cannot write.
        """
        if self.own_input is None:
            written = (tokenizer(text, add_special_tokens=False).input_ids for text in SYMBOLS)
            return frozenset(token for ids in written for token in ids) - {tokenizer.unk_token_id}
        key = f"decoding.{self.name}.own_input"
        texts = (text_tokens(tokenizer, key, text) for text in self.own_input)
        return frozenset(token for ids in texts for token in ids)

    def marks(self, tokenizer: Any) -> dict[str, int]:
        """The tokens `begin`, `end` and `first`, where they are used. Raises ConfigError for what is not one token."""
        texts = {"begin": self.begin, "end": self.end}
        if self.first_share:
            texts["first"] = self.first
        found = {}
        for name, text in texts.items():
            if text is None:
                continue
            key = f"decoding.{self.name}.{name}"
            tokens = text_tokens(tokenizer, key, text)
            if len(tokens) != 1:
                raise ConfigError(
                    "this must be one token",
                    key=key,
                    given=text,
                    expected=f"a text of one token, not {len(tokens)}",
                )
            found[name] = tokens[0]
        return found

    def advance(
        self, mode: Mode | None, entropy: float, *, ended: bool
    ) -> tuple[Mode, Change | None]:
        """The mode after a step of this entropy, and what it has become; None before the first step.

        ``ended`` is whether the step sampled `end`.
        """
        if mode is None:
            return Mode(soft=self.start == "soft", reference=entropy, locked=ended), None
        steps, locked = mode.steps + 1, mode.locked or ended
        if mode.soft and entropy < mode.reference:
            return Mode(soft=False, reference=entropy, locked=locked), "explicit"
        if not mode.soft and entropy > mode.reference and steps >= self.window and not locked:
            return Mode(soft=True, reference=entropy), "soft"
        return Mode(soft=mode.soft, reference=mode.reference, steps=steps, locked=locked), None

    def __call__(self, step: Step) -> Float[Tensor, "b v"]:
        return truncated(step.scores, step.sampling).log_softmax(-1)


def is_mixed(mode: Mode, change: Change | None, *, own: bool) -> bool:
    """Whether the input after a step is a mixture; ``own`` is whether the token is one of `own_input`."""
    return change == "explicit" or (mode.soft and not mode.locked and not own)


def rising(share: float, progress: float) -> float:
    """``share`` at the begin of a completion and 1 at its longest, ``progress`` being 0 and 1."""
    return share + (1 - share) * progress
