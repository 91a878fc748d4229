"""Tokens per second of rlent's rollout engine against transformers' ``generate`` as TRL calls it.

    python scripts/bench.py rollout [--case spread] [--dtype bfloat16]

Both sample at temperature 1 from the full vocabulary of the quickstart model: 8 prompts of 24 to 80 tokens, 8
completions each. Every completion has a length of its own, the same for both, and no token ends it earlier:

* ``spread``: evenly from 8 to 256, in a random order. ``generate`` runs until the longest is done.
* ``equal``: 128 for all. Nothing leaves the batch before the end.

``generate`` gets the group's rows one by one, padded on the left, and a stopping criterion per row; the engine gets
each prompt once. Runs alternate (generate, engine, generate, engine, ...) and medians are compared, because the speed
of a machine drifts. Tokens are those asked for: what ``generate`` computes for rows that are done does not count. On a
machine that does something else as well, use one thread: two that wait for each other measure the scheduler.
"""

import argparse
import random
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import (
    AutoModelForCausalLM,
    GenerationConfig,
    StoppingCriteria,
    StoppingCriteriaList,
)

from rlent.data import resolve_model
from rlent.rollout import RolloutEngine, Sampling
from scripts.benchmarks.harness import machine, table, write

PROMPTS, COMPLETIONS = 8, 8
PROMPT_LENGTHS = range(24, 81, 8)
SHORTEST, LONGEST, EQUAL = 8, 256, 128
PAD = 0


class OwnLimits(StoppingCriteria):
    """A row is done when it has as many tokens as it was given."""

    eos_token_id = None  # its presence makes generate pad the rows that are done

    def __init__(self, limits: list[int], prompt_width: int) -> None:
        self._limits, self._prompt_width = torch.tensor(limits), prompt_width

    def __call__(self, input_ids: Tensor, scores: Tensor, **kwargs: Any) -> Tensor:
        return input_ids.shape[1] - self._prompt_width >= self._limits


def made_prompts(vocabulary: int) -> list[list[int]]:
    numbers = random.Random(0)
    return [[numbers.randrange(10, vocabulary) for _ in range(n)] for n in PROMPT_LENGTHS]


def made_limits(case: str) -> list[int]:
    count = PROMPTS * COMPLETIONS
    if case == "equal":
        return [EQUAL] * count
    limits = [SHORTEST + (LONGEST - SHORTEST) * i // (count - 1) for i in range(count)]
    random.Random(0).shuffle(limits)
    return limits


def by_generate(model: Any, prompts: list[list[int]], limits: list[int]) -> None:
    width = max(map(len, prompts))
    rows = [prompt for prompt in prompts for _ in range(COMPLETIONS)]
    ids = torch.tensor([[PAD] * (width - len(row)) + row for row in rows])
    mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows])
    config = GenerationConfig(
        max_new_tokens=max(limits),
        do_sample=True,
        temperature=1.0,
        top_p=1.0,
        top_k=0,
        pad_token_id=PAD,
        disable_compile=True,
    )
    criteria = StoppingCriteriaList([OwnLimits(limits, width)])
    with torch.no_grad():
        made = model.generate(
            input_ids=ids, attention_mask=mask, generation_config=config, stopping_criteria=criteria
        )
    assert made.shape[1] == width + max(limits)


def by_engine(model: Any, prompts: list[list[int]], limits: list[int]) -> None:
    engine = RolloutEngine(model=model, sampling=Sampling(max_new_tokens=tuple(limits)))
    made = engine.generate(prompts, COMPLETIONS, seed=0)
    assert made.statistics.sampled_tokens == sum(limits)


def seconds(run: Callable[..., None], *arguments: Any) -> float:
    start = time.perf_counter()
    run(*arguments)
    return time.perf_counter() - start


def compared(model: Any, case: str, rounds: int) -> dict[str, Any]:
    prompts, limits = made_prompts(model.config.vocab_size), made_limits(case)
    few = [4] * len(limits)
    by_generate(model, prompts, few)  # a first run pays for memory and kernels
    by_engine(model, prompts, few)
    times: dict[str, list[float]] = {"generate": [], "engine": []}
    for _ in range(rounds):
        times["generate"].append(seconds(by_generate, model, prompts, limits))
        times["engine"].append(seconds(by_engine, model, prompts, limits))
    rates = {name: sum(limits) / statistics.median(spent) for name, spent in times.items()}
    return {
        "case": case,
        "tokens": sum(limits),
        "seconds": times,
        "tokens_per_second": rates,
        "ratio": rates["engine"] / rates["generate"],
    }


def report(results: list[dict[str, Any]], dtype: str) -> str:
    header = ["lengths", "type", "generate, tokens/s", "engine, tokens/s", "engine / generate"]
    rows = []
    for result in results:
        rates = result["tokens_per_second"]
        numbers = [f"{rates['generate']:.0f}", f"{rates['engine']:.0f}", f"{result['ratio']:.2f}"]
        rows.append([result["case"], dtype, *numbers])
    return table(header, rows)


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(
        prog="bench.py rollout",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--case", choices=("spread", "equal"), action="append", help="default: both; repeatable")
    add("--dtype", choices=("float32", "bfloat16"), default="float32", help="of the weights")
    add("--rounds", type=int, default=2, help="runs of each side; default 2")
    add("--threads", type=int, default=torch.get_num_threads(), help="default: torch's")
    add("--model", default="smollm2-135m-instruct", help="name as in a recipe, or a folder")
    add("--out", type=Path, help="folder for rollout.md and rollout.json")
    options = parser.parse_args(arguments)

    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    dtype = getattr(torch, options.dtype)
    model = AutoModelForCausalLM.from_pretrained(resolve_model(options.model), dtype=dtype).eval()
    model.generation_config.eos_token_id = None  # lengths are given

    results = [
        compared(model, case, options.rounds) for case in options.case or ("spread", "equal")
    ]
    record = {
        "model": options.model,
        "dtype": options.dtype,
        **machine("transformers"),
        "results": results,
    }
    write(options.out, "rollout", report(results, options.dtype), record)
