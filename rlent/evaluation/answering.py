"""Answering problems with a model: rlent's own engine generates, the set's reward scores."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from typing import Any

from torch import Tensor

from rlent.data import prompt_ids, prompt_text
from rlent.errors import ConfigError, RlentError
from rlent.evaluation.answers import Answer
from rlent.evaluation.difficulty_sampling import OwnSettings, own_settings, with_own
from rlent.evaluation.problems import Chunk, ProblemSet
from rlent.evaluation.prompt_states import prompt_states
from rlent.evaluation.saving import count_saved
from rlent.evaluation.votes import voting
from rlent.rollout import Completion, RolloutEngine, Sampling, Tally
from rlent.rollout.budgets import ForcedTokens, Summary, summarise
from rlent.rollout.decoding import TwoModels
from rlent.rollout.models import check_model


@dataclass(frozen=True, kw_only=True)
class Answerer:
    """One model that answers problems.

    Args:
        ends: the tokens that end a completion.
        template_options: arguments of the chat template.
        large_model: the second model of the decoding rule ``two_models``.

    Raises:
        ConfigError: the engine cannot sample from such a model.
    """

    model: Any
    tokenizer: Any
    ends: tuple[int, ...]
    template_options: Mapping[str, Any] | None = None
    large_model: Any | None = None

    def __post_init__(self) -> None:
        try:
            check_model(self.model)
        except ConfigError as error:
            error.key, error.remedy = "model.name", "only rlent's own engine evaluates"
            raise

    def answer(self, problems: ProblemSet, chunk: Chunk) -> list[Answer]:
        """The completions of a chunk's problems, by problem and sample.

        The random numbers of a completion are those of (seed, problem, sample), whatever else is in the chunk. What is
        left is the rounding of products of other shapes: the same chunk gives the same bits, another one nearly.

        Raises:
            RlentError: the reward gives something that is no score, or not one per completion.
        """
        rows = problems.rows[chunk.start : chunk.stop]
        prompts = [prompt_ids(row["prompt"], self.tokenizer, self.template_options) for row in rows]
        own = self._own(problems, chunk, prompts)
        completions = self._completions(problems, chunk, prompts, own)
        ids = [completion.judged for completion in completions]
        texts = self.tokenizer.batch_decode(ids, skip_special_tokens=True)
        asked = [rows[completion.prompt] for completion in completions]
        scores = score(problems, asked, texts, ids)
        votes = _votes(problems, chunk, completions, texts)
        return [
            Answer(
                problem=chunk.start + completion.prompt,
                sample=None if chunk.kind == "greedy" else completion.index,
                prompt=prompt_text(row["prompt"]),
                reference=row.get("answer"),
                completion=text,
                answer=vote,
                score=value,
                length=len(completion.entropies),
                finish=completion.finish,
                entropy=completion.entropies.double().mean().item(),
                tallies=completion.tallies,
                **asdict(own[completion.prompt]),
            )
            for row, completion, text, value, vote in zip(
                asked, completions, texts, scores, votes, strict=True
            )
        ]

    def _own(
        self, problems: ProblemSet, chunk: Chunk, prompts: list[list[int]]
    ) -> list[OwnSettings]:
        """Of each problem: what its predicted label says."""
        if problems.difficulty is None:
            return [OwnSettings()] * len(prompts)
        labels = problems.difficulty.labels(prompt_states(self.model, prompts))
        greedy = chunk.kind == "greedy"
        return [own_settings(label, problems.length, greedy=greedy) for label in labels]

    def _completions(
        self,
        problems: ProblemSet,
        chunk: Chunk,
        prompts: list[list[int]],
        own: Sequence[OwnSettings],
    ) -> list["_Written"]:
        """By problem and sample."""
        samples = 1 if chunk.kind == "greedy" else problems.samples
        sampling = with_own(problems.sampling(chunk.kind, self.ends), own, samples)
        budget = problems.budget
        if budget is None:
            engine = self._engine(problems, chunk, sampling)
            written = engine.generate(prompts, samples, seed=problems.seed, first=chunk.start)
            completions = count_saved(
                engine, prompts, written.completions, seed=problems.seed, first=chunk.start
            )
            return [_Written.of(completion) for completion in completions]
        thinking = self._engine(problems, chunk, budget.thinking(sampling))
        summarising = self._engine(problems, chunk, budget.summarising(sampling))
        traces = thinking.generate(
            prompts, samples, seed=problems.seed, first=chunk.start
        ).completions

        def write(begun: list[list[int]]) -> Sequence[Completion]:
            # Any seed but that of thinking, the same at every budget.
            seed, first = -1 - problems.seed, chunk.start * samples
            return summarising.generate(begun, seed=seed, first=first).completions

        asked = [prompts[trace.prompt] for trace in traces]
        forced = ForcedTokens.of(budget, self.tokenizer)
        rows = summarise(asked, traces, budget, forced, write)
        return [_Written.summary(trace, row) for trace, (row,) in zip(traces, rows, strict=True)]

    def _engine(self, problems: ProblemSet, chunk: Chunk, sampling: Sampling) -> RolloutEngine:
        decoding = None if chunk.kind == "greedy" else problems.decoding
        return RolloutEngine(
            model=self.model,
            sampling=sampling,
            tokenizer=self.tokenizer,
            max_live=problems.batch_size,
            decoding=decoding,
            large_model=self.large_model if isinstance(decoding, TwoModels) else None,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class _Written:
    """What a problem was answered with."""

    prompt: int
    index: int
    judged: list[int]
    """Tokens that the reward sees."""
    entropies: Tensor
    """Of every token that the model drew, also those that the reward does not see."""
    finish: str
    tallies: tuple[Tally, ...] = ()

    @classmethod
    def of(cls, completion: Completion) -> "_Written":
        return cls(
            prompt=completion.prompt,
            index=completion.index,
            judged=completion.token_ids.tolist(),
            entropies=completion.entropies,
            finish=completion.finish,
            tallies=completion.tallies,
        )

    @classmethod
    def summary(cls, trace: Completion, row: Summary) -> "_Written":
        return cls(
            prompt=trace.prompt,
            index=trace.index,
            judged=row.judged,
            entropies=row.entropies[row.sampled],
            finish=row.finish,
        )


def score(
    problems: ProblemSet,
    rows: Sequence[Mapping[str, Any]],
    texts: list[str],
    ids: list[list[int]],
) -> list[float | None]:
    """The reward of each completion, None where it does not apply (None, or NaN, in which TRL writes None).

    Raises:
        RlentError: a score is infinite, or there is not one per completion.
    """
    columns = {name: [row[name] for row in rows] for name in rows[0] if name != "prompt"}
    scores = problems.reward(
        prompts=[row["prompt"] for row in rows], completions=texts, completion_ids=ids, **columns
    )
    if len(scores) != len(texts):
        raise RlentError(
            f"the reward of {problems.name} gave {len(scores)} scores for {len(texts)} completions"
        )
    if any(value is not None and math.isinf(value) for value in scores):
        raise RlentError(f"the reward of {problems.name} gave an infinite score")
    return [None if value is None or math.isnan(value) else float(value) for value in scores]


def _votes(
    problems: ProblemSet, chunk: Chunk, completions: Sequence[_Written], texts: Sequence[str]
) -> list[str | None]:
    """What each drawn completion votes for among those of its problem."""
    vote = voting(problems.reward)
    if chunk.kind == "greedy" or vote is None:
        return [None] * len(texts)
    pairs = zip(completions, texts, strict=True)
    by_problem = groupby(pairs, key=lambda pair: pair[0].prompt)
    return [answer for _, group in by_problem for answer in vote([text for _, text in group])]
