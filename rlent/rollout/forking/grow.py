"""Groups of exactly so many completions, some of which are forks of others."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from rlent.errors import ConfigError
from rlent.rollout.engine import RolloutEngine
from rlent.rollout.forking.rule import Fork, ForkingRule, Tree
from rlent.rollout.records import Completion, Generation, Statistics
from rlent.rollout.sequence import Start
from rlent.rollout.streams import chance, sequence_key


@dataclass(kw_only=True)
class Grower:
    """Grows groups with one engine and one rule.

    Each round is a call of the engine, which runs prompt and shared tokens through the model once for all forks at the
    same place. The random numbers of a completion are those of (seed, prompt, index), as without forks.

    Raises:
        ConfigError: the engine forks while it generates, or has no tokenizer.
    """

    engine: RolloutEngine
    rule: ForkingRule
    _texts: dict[int, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.engine.branching is not None or self.engine.tokenizer is None:
            raise ConfigError(
                "groups grow from an engine that does not fork by itself, and with a tokenizer",
                key="rollout.branching",
            )

    def generate(
        self, prompts: Sequence[Sequence[int]], generations: int, *, seed: int, first: int = 0
    ) -> Generation:
        """``generations`` completions of every prompt; ``first`` as in ``RolloutEngine.generate``."""
        initial = self.rule.initial(generations)
        begun = [
            Start(prompt=prompt, index=index, prompt_ids=tuple(ids))
            for prompt, ids in enumerate(prompts)
            for index in range(initial)
        ]
        made = self.engine.complete(begun, seed=seed, first=first)
        counts = [made.statistics]
        groups: list[list[Completion]] = [[] for _ in prompts]
        fresh = _sorted_in(groups, made.completions)
        number = 0
        while starts := self._starts(prompts, groups, fresh, generations, number, (seed, first)):
            made = self.engine.complete(starts, seed=seed, first=first)
            counts.append(made.statistics)
            fresh = _sorted_in(groups, made.completions)
            number += 1
        missing = [
            Start(prompt=prompt, index=index, prompt_ids=tuple(prompts[prompt]))
            for prompt, group in enumerate(groups)
            for index in range(len(group), generations)
        ]
        if missing:
            made = self.engine.complete(missing, seed=seed, first=first)
            counts.append(made.statistics)
            _sorted_in(groups, made.completions)
        return Generation(
            completions=tuple(one for group in groups for one in group),
            statistics=Statistics(
                sampled_tokens=sum(each.sampled_tokens for each in counts),
                decode_steps=sum(each.decode_steps for each in counts),
                prefill_tokens=sum(each.prefill_tokens for each in counts),
            ),
        )

    def _starts(
        self,
        prompts: Sequence[Sequence[int]],
        groups: list[list[Completion]],
        fresh: list[list[Completion]],
        generations: int,
        number: int,
        streams: tuple[int, int],
    ) -> list[Start]:
        """The forks of the next round for which there is room."""
        starts = []
        for prompt, group in enumerate(groups):
            tree = self._tree(prompt, group, fresh[prompt], number, streams)
            room = generations - len(group)
            forks = self.rule.grow(tree)[:room] if room and fresh[prompt] else []
            starts += [
                _start(prompt, prompts[prompt], group, fork, len(group) + place)
                for place, fork in enumerate(forks)
            ]
        return starts

    def _tree(
        self,
        prompt: int,
        group: list[Completion],
        fresh: list[Completion],
        number: int,
        streams: tuple[int, int],
    ) -> Tree:
        seed, first = streams
        tokenizer: Any = self.engine.tokenizer
        return Tree(
            completions=group,
            fresh=fresh,
            round=number,
            vocabulary=self.engine.model.config.vocab_size,
            chance=lambda index, place: chance(sequence_key(seed, first + prompt, index), place),
            text=partial(self._text),
            special=frozenset(tokenizer.all_special_ids),
        )

    def _text(self, token: int) -> str:
        if token not in self._texts:
            tokenizer: Any = self.engine.tokenizer
            self._texts[token] = str(tokenizer.decode([token]))
        return self._texts[token]


def _start(
    prompt: int, ids: Sequence[int], group: list[Completion], fork: Fork, index: int
) -> Start:
    return Start(
        prompt=prompt,
        index=index,
        prompt_ids=tuple(ids),
        parent=group[fork.parent],
        step=fork.step,
    )


def _sorted_in(
    groups: list[list[Completion]], made: Sequence[Completion]
) -> list[list[Completion]]:
    """Add completions to their groups; those that were added, by prompt."""
    fresh: list[list[Completion]] = [[] for _ in groups]
    for one in made:
        fresh[one.prompt].append(one)
        groups[one.prompt].append(one)
    return fresh
