"""The loop of the engine for a rule that ends thinking after its first step, and forces what follows."""

from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from rlent.errors import ConfigError
from rlent.rollout.decoding.think_just_enough import ThinkJustEnough
from rlent.rollout.records import FinishReason, Tally
from rlent.rollout.run import Run
from rlent.rollout.sampling import Rule, Step
from rlent.rollout.sequence import SequenceState
from rlent.rollout.stopping import Stopping

STOPPED = "stopped"
"""Name of the tally of completions whose thinking was ended."""


class StopRun(Run):
    """One call under a ``ThinkJustEnough`` rule."""

    def __init__(self, *args: Any, rule: ThinkJustEnough, tokenizer: Any) -> None:
        super().__init__(*args)
        if self.branching is not None:
            raise ConfigError("a sequence that is stopped cannot fork", key="rollout.branching")
        self.rule, self.tokenizer = rule, tokenizer
        self.forced = rule.forced(tokenizer)
        texts = () if rule.step_text is None else (rule.step_text,)
        self.step_end = Stopping(eos=frozenset(), strings=texts, tokenizer=tokenizer)
        self.stops: dict[SequenceState, int | None] = {}
        """Tokens after which each judged sequence was stopped; None where it goes on."""

    def _sample(self) -> None:
        self._judge()
        super()._sample()

    def _judge(self) -> None:
        """Look at the sequences whose last token ends their first step."""
        ended: dict[int, FinishReason] = {}
        for row, one in enumerate(self.live):
            if one in self.stops or not self._at_step_end(one):
                continue
            sure = sum(one.entropies) / one.step <= self.rule.threshold
            stops = sure and not self._has_ended_thinking(one)
            self.stops[one] = one.step if stops else None
            if stops and self.rule.end is None:
                ended[row] = "stop"
        self._retire(ended)

    def _at_step_end(self, one: SequenceState) -> bool:
        if self.rule.step_tokens is not None:
            return one.step == self.rule.step_tokens
        return one.step > 0 and self.step_end.reason(one.tokens, one.step + 1) == "stop"

    def _has_ended_thinking(self, one: SequenceState) -> bool:
        if self.rule.end is None:
            return False
        text = self.tokenizer.decode(
            one.tokens, skip_special_tokens=False, clean_up_tokenization_spaces=False
        )
        return self.rule.end.strip() in text

    def _law(self) -> Rule:
        """That of the rule, but in rows where a token is forced."""
        forced = {row: token for row, one in enumerate(self.live) for token in self._forced(one)}

        def law(step: Step) -> Float[Tensor, "b v"]:
            drawn = self.rule(step)
            for row, token in forced.items():
                drawn[row] = -torch.inf
                drawn[row, token] = 0.0
            return drawn

        return law

    def _forced(self, one: SequenceState) -> tuple[int, ...]:
        """The next token, if it is forced."""
        stop = self.stops.get(one)
        return () if stop is None else self.forced[one.step - stop :][:1]

    def _ended(self, one: SequenceState, reason: FinishReason) -> None:
        tally = Tally(name=STOPPED, count=int(self.stops.get(one) is not None), of=1)
        self.done.append(replace(one.completion(reason), tallies=(tally,)))
