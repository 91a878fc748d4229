"""How the next token is drawn, and what is noted about it.

With logits ``l``, the log-probabilities and entropies that are noted are those of ``softmax(l / temperature)``, and the
token is drawn from

    softmax(min_p(top_p(top_k(penalise(l) / temperature))))

and ``typical_p`` after these: the processors of transformers' ``generate``, in its order. At temperature 0 the largest
penalised logit is taken; the full distribution is then noted at temperature 1.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Float64, Int
from torch import Tensor

from rlent.errors import ConfigError
from rlent.rollout.truncation import keep_min_p, keep_top_k, keep_top_p, keep_typical, nats

MaxNewTokens = int | tuple[int, ...]

_LARGEST_GROUP = 512


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """Settings of a draw. Raises ConfigError that names the recipe's key."""

    max_new_tokens: MaxNewTokens
    """Most tokens of a completion: one number, or one per completion (those of the first prompt first)."""
    temperature: float = 1.0
    """Divides the logits; 0 is greedy."""
    temperatures: tuple[float, ...] | None = None
    """In the place of `temperature`, one per completion (those of the first prompt first), each more than 0."""
    top_p: float = 1.0
    """Fewest most probable tokens whose probabilities sum to at least this; 1 keeps all."""
    top_k: int = 0
    """Number of most probable tokens, and whatever ties with the last of them; 0 keeps all."""
    min_p: float = 0.0
    """Least probability of a token as a share of the most probable one's; 0 keeps all."""
    typical_p: float = 1.0
    """Mass of tokens whose surprisal is nearest to the entropy (arXiv 2202.00666); 1 keeps all."""
    repetition_penalty: float = 1.0
    """Divides positive and multiplies negative logits of tokens in prompt or completion (arXiv 1909.05858)."""
    eos_token_ids: tuple[int, ...] = ()
    """Tokens that end a completion."""
    stop_strings: tuple[str, ...] = ()
    """Texts that end a completion, looked for in the completion's own text, special tokens included."""

    def __post_init__(self) -> None:
        for limit in self._limits():
            _check_integer("max_new_tokens", limit, least=1)
        _check_integer("top_k", self.top_k, least=0)
        _check_number("temperature", self.temperature, self.temperature >= 0, "at least 0")
        for temperature in self.temperatures or ():
            _check_number("temperatures", temperature, temperature > 0, "more than 0")
        if self.temperatures is not None and self.temperature != 1:
            raise ConfigError(
                "temperature and temperatures cannot be had together",
                key="rollout.temperature",
                given=self.temperature,
                remedy="remove one of the two",
            )
        _check_number("top_p", self.top_p, 0 < self.top_p <= 1, "in (0, 1]")
        _check_number("min_p", self.min_p, 0 <= self.min_p <= 1, "in [0, 1]")
        _check_number("typical_p", self.typical_p, 0 < self.typical_p <= 1, "in (0, 1]")
        penalty = self.repetition_penalty
        _check_number("repetition_penalty", penalty, penalty > 0, "more than 0")
        for token in self.eos_token_ids:
            _check_integer("eos_token_ids", token, least=0)
        if "" in self.stop_strings:
            raise ConfigError("a stop string is empty", key="rollout.stop_strings")
        if self.greedy and self.typical_p < 1:
            raise ConfigError(
                "greedy decoding takes the most probable token, which typical_p may forbid",
                key="rollout.typical_p",
                given=self.typical_p,
                remedy="remove typical_p, or set a temperature above 0",
            )

    @property
    def greedy(self) -> bool:
        return self.temperature == 0

    @property
    def truncates(self) -> bool:
        return self.top_k > 0 or self.top_p < 1 or self.min_p > 0 or self.typical_p < 1

    def limits(self, completions: int) -> tuple[int, ...]:
        """``max_new_tokens`` of each of so many completions."""
        limits = self.max_new_tokens
        if isinstance(limits, tuple):
            _check_count("max_new_tokens", len(limits), completions)
            return limits
        return (limits,) * completions

    def temperatures_of(self, completions: int) -> tuple[float, ...]:
        """The temperature of each of so many completions."""
        if self.temperatures is None:
            return (self.temperature,) * completions
        _check_count("temperatures", len(self.temperatures), completions)
        return self.temperatures

    def _limits(self) -> tuple[int, ...]:
        limits = self.max_new_tokens
        return limits if isinstance(limits, tuple) else (limits,)


@dataclass(frozen=True, kw_only=True, slots=True)
class Draw:
    """One token per live sequence; the numbers are those of ``Completion``, float32."""

    tokens: Int[Tensor, " b"]
    log_probs: Float[Tensor, " b"]
    entropies: Float[Tensor, " b"]
    truncated_log_probs: Float[Tensor, " b"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """What a decoding rule sees of the live sequences, a row each."""

    scores: Float[Tensor, "b v"]
    """Logits after the repetition penalty, not divided by the temperature."""
    entropies: Float[Tensor, " b"]
    """Nats, of the full distribution: those of ``Completion``."""
    positions: Int[Tensor, " b"]
    """Number of tokens drawn before."""
    sampling: Sampling


Rule = Callable[[Step], Float[Tensor, "b v"]]
"""Log-probabilities of the distribution that the token is drawn from; -inf where it cannot be."""


def draw(
    logits: Float[Tensor, "b v"],
    sampling: Sampling,
    seen: Int[Tensor, "b s"],
    uniforms: Float64[Tensor, " b"],
    positions: Int[Tensor, " b"] | None = None,
    rule: Rule | None = None,
    temperatures: Float[Tensor, " b"] | None = None,
) -> Draw:
    """The tokens at ``uniforms`` of their distributions.

    ``seen`` holds the tokens that the repetition penalty is about, each row padded with tokens of its own. A ``rule``
    is told the ``positions`` and says what the tokens are drawn from; what is noted of the full distribution is the
    same with and without it. ``temperatures`` are those of the rows, where ``sampling`` has one per completion.
    """
    log_probs = _tempered(logits, sampling, temperatures).log_softmax(-1)
    probs = log_probs.exp()
    entropies = nats(probs, log_probs)
    drawn_from, drawn_probs = log_probs, probs
    if rule is not None or sampling.repetition_penalty != 1 or sampling.truncates:
        scores = penalise(logits, seen, sampling.repetition_penalty)
        if rule is not None:
            assert positions is not None
            drawn_from = rule(
                Step(scores=scores, entropies=entropies, positions=positions, sampling=sampling)
            )
        elif sampling.greedy:
            drawn_from = scores
        else:
            tempered = _tempered(scores, sampling, temperatures)
            drawn_from = keep(tempered, sampling).log_softmax(-1)
        drawn_probs = drawn_from.exp()
    tokens = drawn_from.argmax(-1) if sampling.greedy else pick(drawn_probs, uniforms)
    column = tokens.unsqueeze(1)
    chosen = log_probs.gather(1, column).squeeze(1)
    return Draw(
        tokens=tokens,
        log_probs=chosen,
        entropies=entropies,
        truncated_log_probs=(
            torch.zeros_like(chosen) if sampling.greedy else drawn_from.gather(1, column).squeeze(1)
        ),
    )


def penalise(
    logits: Float[Tensor, "b v"], seen: Int[Tensor, "b s"], penalty: float
) -> Float[Tensor, "b v"]:
    """Logits of the tokens in ``seen`` divided by the penalty where positive, multiplied where negative."""
    if penalty == 1:
        return logits
    of_seen = logits.gather(1, seen)
    return logits.scatter(1, seen, torch.where(of_seen < 0, of_seen * penalty, of_seen / penalty))


def truncated(scores: Float[Tensor, "b v"], sampling: Sampling) -> Float[Tensor, "b v"]:
    """``scores / temperature``, -inf where a token may not be drawn."""
    return keep(_tempered(scores, sampling), sampling)


def keep(scores: Float[Tensor, "b v"], sampling: Sampling) -> Float[Tensor, "b v"]:
    """Scores that have been divided by a temperature, -inf where a token may not be drawn."""
    if sampling.top_k > 0:
        scores = keep_top_k(scores, sampling.top_k)
    if sampling.top_p < 1:
        scores = keep_top_p(scores, sampling.top_p)
    if sampling.min_p > 0:
        scores = keep_min_p(scores, sampling.min_p)
    if sampling.typical_p < 1:
        scores = keep_typical(scores, sampling.typical_p)
    return scores


def pick(probs: Float[Tensor, "b v"], uniforms: Float64[Tensor, " b"]) -> Int[Tensor, " b"]:
    """Inverse of the cumulative distribution at ``uniforms``; never a token of probability 0.

    Sums are float64: first over groups of tokens, then inside the group that holds the number, which takes a quarter of
    the time of one sum over the vocabulary. Should rounding lead to a token of probability 0 all the same (a uniform
    number of almost 1), the most probable token is taken: less than once in 2^40 draws.
    """
    size = math.gcd(probs.shape[1], _LARGEST_GROUP)
    groups = probs.unflatten(1, (-1, size))
    mass = groups.sum(-1, dtype=torch.float64)
    cumulative = mass.cumsum(-1)
    target = uniforms.unsqueeze(1) * cumulative[:, -1:]
    group = _first_above(cumulative, target)
    inside = groups.gather(1, group.unsqueeze(2).expand(-1, 1, size)).squeeze(1)
    rest = (target - (cumulative - mass).gather(1, group)).clamp(min=0)
    token = group * size + _first_above(inside.cumsum(-1, dtype=torch.float64), rest)
    possible = probs.gather(1, token) > 0
    if not bool(possible.all()):
        token = torch.where(possible, token, probs.argmax(-1, keepdim=True))
    return token.squeeze(1)


def _tempered(
    logits: Float[Tensor, "b v"],
    sampling: Sampling,
    temperatures: Float[Tensor, " b"] | None = None,
) -> Float[Tensor, "b v"]:
    """Logits over the temperature, or each row's own; the same tensor where that changes nothing."""
    if temperatures is not None:
        return logits / temperatures.unsqueeze(1)
    return logits if sampling.temperature in (0, 1) else logits / sampling.temperature


def _first_above(
    cumulative: Float64[Tensor, "b n"], target: Float64[Tensor, "b 1"]
) -> Int[Tensor, "b 1"]:
    place = torch.searchsorted(cumulative, target, right=True)
    return place.clamp(max=cumulative.shape[1] - 1)


def _at(values: Float[Tensor, "b v"], tokens: Int[Tensor, " b"]) -> Float[Tensor, " b"]:
    return values.gather(1, tokens.unsqueeze(1)).squeeze(1)


def _check_count(name: str, given: int, completions: int) -> None:
    if given != completions:
        raise ConfigError(
            f"{name} must be one number per completion, or one for all",
            key=f"rollout.{name}",
            expected=f"{completions} numbers",
            given=given,
        )


def _check_integer(name: str, value: object, *, least: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ConfigError(
            f"{name} must be a whole number of at least {least}", key=f"rollout.{name}", given=value
        )


def _check_number(name: str, value: float, valid: bool, expected: str) -> None:
    if not valid or not math.isfinite(value):
        raise ConfigError(f"{name} must be {expected}", key=f"rollout.{name}", given=value)
