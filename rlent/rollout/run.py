"""The loop of the engine: admit, draw, fork, retire, decode."""

from collections import Counter, deque
from collections.abc import Collection, Sequence
from typing import Any

import torch
from torch import Tensor

from rlent.errors import RlentError
from rlent.rollout.branching import Branching
from rlent.rollout.cache import Prefix, RolloutCache
from rlent.rollout.decoding import DecodingRule
from rlent.rollout.models import check_filled, layer_count
from rlent.rollout.records import Completion, FinishReason, Generation, Statistics
from rlent.rollout.sampling import Draw, Rule, Sampling, draw
from rlent.rollout.sequence import SequenceState
from rlent.rollout.stopping import Stopping

Numbers = tuple[int, float, float, float]
"""Token, log-probability, entropy and truncated log-probability of one draw."""


class Run:
    """One call. Row ``i`` of the cache and of the logits belongs to ``live[i]``."""

    def __init__(
        self,
        model: Any,
        sampling: Sampling,
        stopping: Stopping,
        max_live: int | None,
        branching: Branching | None,
        sequences: Sequence[SequenceState],
        decoding: DecodingRule | None = None,
    ) -> None:
        self.model, self.sampling, self.stopping = model, sampling, stopping
        self.max_live, self.branching, self.decoding = max_live, branching, decoding
        self.waiting = deque(sequences)
        self.live: list[SequenceState] = []
        self.cache = RolloutCache(layer_count(model))
        self.logits = torch.empty(0)
        self.prompts: dict[int, Prefix] = {}
        """Prompts that have been run through the model and are still waited for, by ``same_as``."""
        self.yet_to_begin = Counter(one.same_as for one in sequences)
        self.completions = Counter(one.prompt for one in sequences)
        self.branches: Counter[int] = Counter()
        self.spent: Counter[int] = Counter()
        """Tokens drawn, by prompt."""
        self.done: list[Completion] = []
        self.decode_steps = self.prefill_tokens = 0

    def finish(self) -> Generation:
        while self.waiting or self.live:
            self.turn()
        sampled, discarded = self.sampled()
        return Generation(
            completions=tuple(sorted(self.done, key=lambda done: (done.prompt, done.index))),
            statistics=Statistics(
                sampled_tokens=sampled,
                decode_steps=self.decode_steps,
                prefill_tokens=self.prefill_tokens,
                discarded_tokens=discarded,
            ),
        )

    def turn(self) -> None:
        """A token for every sequence that there is room for."""
        self._admit()
        self._end_beyond_budget()
        self._sample()
        self._decode()

    def sampled(self) -> tuple[int, int]:
        """Tokens drawn and kept, and tokens drawn and not kept."""
        return self.spent.total(), 0

    def _admit(self) -> None:
        """Waiting sequences take the free places."""
        new = [self.waiting.popleft() for _ in range(min(self._free(), len(self.waiting)))]
        if not new:
            return
        self._prefill(
            {one.same_as: (*one.prompt_ids, *one.tokens) for one in new if one.prefix is None}
        )
        prefixes = [one.prefix or self.prompts[one.same_as] for one in new]
        self.cache.admit(prefixes)
        self.logits = torch.stack([*self.logits, *(prefix.logits for prefix in prefixes)])
        self.live += new
        for one in new:
            self._forget_prefix(one)

    def _free(self) -> int:
        """Places that waiting sequences can take."""
        return len(self.waiting) if self.max_live is None else self.max_live - len(self.live)

    def _prefill(self, prompts: dict[int, tuple[int, ...]]) -> None:
        """Run the prompts that are new through the model, padded on the left."""
        new = {place: ids for place, ids in prompts.items() if place not in self.prompts}
        if not new:
            return
        lengths = [len(ids) for ids in new.values()]
        width = max(lengths)
        tokens = torch.tensor([[0] * (width - len(ids)) + list(ids) for ids in new.values()])
        positions = torch.arange(width) - (width - torch.tensor(lengths).unsqueeze(1))
        cache = RolloutCache(len(self.cache))
        inputs = {"input_ids": tokens}
        logits = self._forward(inputs, positions.clamp(min=0), lengths, cache)
        check_filled(self.model, cache.columns_per_layer, width)
        self.prefill_tokens += sum(lengths)
        for row, (place, ids) in enumerate(new.items()):
            self.prompts[place] = cache.prefix(row, len(ids), logits[row])

    def _forget_prefix(self, one: SequenceState) -> None:
        if one.prefix is not None:
            one.prefix = None
            return
        self.yet_to_begin[one.same_as] -= 1
        if self.yet_to_begin[one.same_as] == 0:
            del self.prompts[one.same_as]

    def _decode(self) -> None:
        """Run the last token of every live sequence through the model."""
        if not self.live:
            return
        held = [one.length - 1 for one in self.live]
        self.cache.narrow(max(held))
        positions = torch.tensor(held).unsqueeze(1)
        lengths = [one.length for one in self.live]
        self.logits = self._forward(self._inputs(), positions, lengths, self.cache)
        self.decode_steps += 1

    def _inputs(self) -> dict[str, Tensor]:
        """What the model goes on from: the last token of every live sequence, ``[b 1]``."""
        return {"input_ids": torch.tensor([[one.tokens[-1]] for one in self.live])}

    def _forward(
        self,
        inputs: dict[str, Tensor],
        positions: Tensor,
        lengths: list[int],
        cache: RolloutCache,
    ) -> Tensor:
        """Logits ``[b v]`` of the next token, float32; ``lengths`` count the new ones."""
        width = max(lengths)
        mask = torch.arange(width) >= width - torch.tensor(lengths).unsqueeze(1)
        device = self.model.device
        output = self.model(
            **{name: values.to(device) for name, values in inputs.items()},
            attention_mask=mask.long().to(device),
            position_ids=positions.to(device),
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
            return_dict=True,
        )
        return output.logits[:, -1].float()

    def _sample(self) -> None:
        """Draw a token for every live sequence; fork before it is appended, retire what ends with it."""
        if not self.live:
            return
        uniforms = torch.tensor([one.uniform for one in self.live], dtype=torch.float64)
        positions = torch.tensor([one.step for one in self.live])
        device = self.logits.device
        drawn = draw(
            self.logits,
            self.sampling,
            self._seen().to(device),
            uniforms.to(device),
            positions.to(device),
            self._law(),
            self._temperatures(),
        )
        numbers = _on_host(drawn)
        if self.branching is not None:
            self._fork(self.branching, numbers)
        finished: dict[int, FinishReason] = {}
        for row, (one, number) in enumerate(zip(self.live, numbers, strict=True)):
            one.append(*number)
            self.spent[one.prompt] += 1
            if reason := self.stopping.reason(one.tokens, one.limit):
                finished[row] = reason
        self._retire(finished)

    def _law(self) -> Rule | None:
        """What the live sequences draw from; None for what ``sampling`` says."""
        return self.decoding

    def _temperatures(self) -> Tensor | None:
        """``[b]`` of the live sequences, where each has its own."""
        if self.sampling.temperatures is None:
            return None
        return self.logits.new_tensor([one.temperature for one in self.live])

    def _seen(self) -> Tensor:
        """``[b s]`` tokens of each live sequence, padded with its own first one; none unless they are asked for."""
        if self.sampling.repetition_penalty == 1:
            return torch.empty(len(self.live), 0, dtype=torch.long)
        rows = [[*one.prompt_ids, *one.tokens] for one in self.live]
        width = max(map(len, rows))
        return torch.tensor([row + row[:1] * (width - len(row)) for row in rows])

    def _fork(self, branching: Branching, numbers: list[Numbers]) -> None:
        """Forks wait in front of all others, because each holds a copy of its parent's row."""
        rows = [row for row, one in enumerate(self.live) if one.branch_step != one.step]
        rows.sort(key=lambda row: self.live[row].order)
        shown = [self.live[row].shown(*numbers[row][:3]) for row in rows]
        drawing = Counter(one.prompt for one in self.live)
        forks = []
        for place in sorted(set(branching.hook(shown))):
            prompt = shown[place].prompt
            spent = self.spent[prompt] + drawing[prompt]
            if branching.allows(branches=self.branches[prompt], tokens=spent):
                forks.append(self._forked(rows[place]))
        self.waiting.extendleft(reversed(forks))

    def _forked(self, row: int) -> SequenceState:
        one = self.live[row]
        prefix = self.cache.prefix(row, one.length, self.logits[row])
        fork = one.fork(self.completions[one.prompt], prefix.copy())
        self.branches[one.prompt] += 1
        self.completions[one.prompt] += 1
        return fork

    def _end_beyond_budget(self) -> None:
        """End the sequences that would draw more than is left of their prompt's budget."""
        if self.branching is None or self.branching.max_tokens is None:
            return
        left = {one.prompt: self.branching.max_tokens - self.spent[one.prompt] for one in self.live}
        beyond: dict[int, FinishReason] = {}
        for row in sorted(range(len(self.live)), key=lambda row: self.live[row].order):
            prompt = self.live[row].prompt
            left[prompt] -= 1
            if left[prompt] < 0:
                beyond[row] = "budget"
        self._retire(beyond)

    def _retire(self, finished: dict[int, FinishReason]) -> None:
        """Finished rows leave, and their sequences are done."""
        ended: list[tuple[SequenceState, FinishReason]] = [
            (self.live[row], reason) for row, reason in finished.items()
        ]
        self._drop(finished)
        for one, reason in ended:
            self._ended(one, reason)

    def _ended(self, one: SequenceState, reason: FinishReason) -> None:
        self.done.append(one.completion(reason))

    def _drop(self, leaving: Collection[int]) -> None:
        """These rows leave; the last row takes the place of each, in the cache as in ``live``."""
        rows = list(range(len(self.live)))
        for row in sorted(leaving, reverse=True):
            self.cache.drop(row)
            rows[row] = rows[-1]
            rows.pop()
        if leaving:
            self.live = [self.live[row] for row in rows]
            self.logits = self.logits[rows]


def _on_host(drawn: Draw) -> list[Numbers]:
    """The rows of a draw, in one copy from the device. Raises RlentError for logits that are not finite."""
    columns = [drawn.tokens, drawn.log_probs, drawn.entropies, drawn.truncated_log_probs]
    table = torch.stack([column.double() for column in columns], dim=1).tolist()
    if any(number != number for row in table for number in row):
        raise RlentError("no token can be drawn: the model's logits are not finite")
    return [(int(token), *numbers) for token, *numbers in table]
