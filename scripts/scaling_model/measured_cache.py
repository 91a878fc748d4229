"""The cache of a rollout in the native engine."""

from collections.abc import Iterable, Iterator
from typing import Any

from scripts.scaling_model.formulas import cache_columns, cache_row
from scripts.scaling_model.shapes import FLOAT32, Shape
from scripts.scaling_model.small_models import Comparison, bytes_of, small_model


def check_cache(
    shapes: Iterable[Shape], lengths: Iterable[tuple[int, int]]
) -> Iterator[Comparison]:
    for shape in shapes:
        for prompt, completion in lengths:
            columns = cache_columns(prompt, completion)
            yield Comparison(
                what=f"cache, {shape.name}, 4 completions, {prompt} + {completion} tokens",
                predicted=4 * cache_row(shape, columns, FLOAT32),
                measured=measured_cache(shape, prompt, completion),
            )


def measured_cache(shape: Shape, prompt: int, completion: int) -> int:
    """Most bytes of the cache of two completions of two prompts; nothing ends before its limit."""
    from rlent.rollout import RolloutEngine, Sampling

    model, sizes = small_model(shape), [0]

    def look(_module: Any, _args: Any, options: dict[str, Any], _output: Any) -> None:
        layers = options["past_key_values"].layers
        if layers[0].rows == 4:
            sizes.append(bytes_of(part for layer in layers for part in layer._storage))

    model.register_forward_hook(look, with_kwargs=True)
    engine = RolloutEngine(model=model, sampling=Sampling(max_new_tokens=completion))
    engine.generate([range(5, 5 + prompt), range(6, 6 + prompt)], completions=2, seed=0)
    return max(sizes)
