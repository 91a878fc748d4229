"""``rlent data``: the rows of a recipe, how long their prompts are, and what is wrong with them."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from rlent.config import Recipe
from rlent.data import (
    DataSection,
    LoadedData,
    context_length,
    load_data,
    load_reader,
    prompt_lengths,
    resolve_model,
    room_for_prompt,
    summarize_lengths,
    within_bounds,
)
from rlent.data.problems import LEAVES, NAMES, SHOWN, Kind
from rlent.errors import ConfigError
from rlent.launch.pictures import check_sections
from rlent.launch.rows import held_out_section
from rlent.launch.show import say, source_lines
from rlent.trainer import EntropyGRPOConfig

STOPS = "stop a run"
SHOWN_CHARACTERS = 400


@dataclass(frozen=True, kw_only=True, slots=True)
class _Model:
    """What lengths are measured with."""

    tokenizer: Any
    context: int
    completion: int
    template_options: Mapping[str, Any] | None


def show_data(recipe: Recipe, *, rows: int) -> int:
    """Print what the data sections give, with the first `rows` rows; 1 if a problem would stop a run, else 0.

    Problems that the recipe stops at are counted here, so that all of them are seen at once. Raises
    ConfigError for what is not about single rows.
    """
    import datasets

    datasets.disable_progress_bars()
    with recipe.source.locating():
        check_sections(recipe)
        model = _model(recipe)
        stops = _show_section("data", recipe.data, model, rows)
        for key, section, completion in _evaluated(recipe):
            say("")
            try:
                answerer = replace(model, completion=completion or model.completion)
                stops |= _show_section(key, section, answerer, rows)
            except ConfigError as error:
                error.key = f"{key.removesuffix('.data')}.{error.key}"
                raise
    return int(stops)


def _evaluated(recipe: Recipe) -> Iterator[tuple[str, DataSection, int | None]]:
    """Key and data section of everything that is evaluated, and the tokens of an answer if it says so."""
    if (evaluation := recipe.evaluation) is None:
        return
    length = evaluation.max_completion_length
    if (section := held_out_section(recipe)) is not None:
        yield "evaluation.data", section, length
    for name, each in evaluation.sets.items():
        yield f"evaluation.sets.{name}.data", each.data, each.max_completion_length or length


def _model(recipe: Recipe) -> _Model:
    name = resolve_model(recipe.model.name, revision=recipe.model.revision)
    # The trainer's other arguments are not checked: data can be looked at on a machine that cannot train.
    defaults = EntropyGRPOConfig.__dataclass_fields__["max_completion_length"].default
    return _Model(
        tokenizer=load_reader(recipe.data, name, recipe.model.revision),
        context=context_length(name, recipe.model.revision),
        completion=recipe.trainer.get("max_completion_length", defaults),
        template_options=recipe.trainer.get("chat_template_kwargs"),
    )


def _show_section(key: str, section: DataSection, model: _Model, count: int) -> bool:
    """Print one section; True if a problem in it would stop a run."""
    data = load_data(_without_stops(section))
    data = within_bounds(data, model.tokenizer, section, model.template_options)
    lengths = prompt_lengths(data.rows, model.tokenizer, model.template_options)
    room = room_for_prompt(model.context, model.completion)
    too_long = [i for i, length in enumerate(lengths) if length > room]
    left_out = data.problems.left_out()
    dropped = f" (left out: {', '.join(left_out)})" if left_out else ""
    say(
        f"{key:<10} {section.title}: {len(lengths)} rows in the order of seed {section.seed}{dropped}"
    )
    for line in source_lines(data):
        say(f"           {line}")
    say(f"columns    {', '.join(data.rows.column_names)}")
    found = summarize_lengths(lengths)
    say(
        f"prompts    tokens: min {found.shortest}, median {found.median}, p95 {found.p95}, max {found.longest}; "
        f"room for {room} (context {model.context} - completions of {model.completion})"
    )
    stops = _show_problems(data, section)
    if too_long:
        stops |= section.too_long != "drop"
        rule = STOPS if section.too_long != "drop" else "drop"
        say(f"problem    {len(too_long)} too long ({_rule(rule)})")
        for i in too_long[:SHOWN]:
            say(f"             {data.places[i]}: {lengths[i]} tokens")
    elif not data.problems.counts:
        say("problems   none")
    for i in range(min(count, len(lengths))):
        _show_row(data, lengths[i], i, model)
    return stops


def _without_stops(section: DataSection) -> DataSection:
    """The section with every rule that stops replaced by the mildest one that does not."""
    softened: dict[str, Any] = {
        kind: LEAVES[kind][-1] for kind in LEAVES if getattr(section, kind) == "stop"
    }
    return replace(section, **softened)


def _show_problems(data: LoadedData, section: DataSection) -> bool:
    stops = False
    for kind, name in NAMES.items():
        if not (count := data.problems.counts[kind]):
            continue
        rule = getattr(section, kind) if kind in LEAVES else "drop"
        stops |= rule == "stop"
        say(f"problem    {count} {name} ({_rule(STOPS if rule == 'stop' else rule)})")
        _show_examples(data, kind, count)
    return stops


def _rule(rule: str) -> str:
    return {"skip": "skipped", "drop": "dropped", "keep": "kept"}.get(rule, f"would {rule}")


def _show_examples(data: LoadedData, kind: Kind, count: int) -> None:
    for problem in data.problems.first[kind]:
        say(f"             {problem.place}: {problem.reason}")
    if count > SHOWN:
        say(f"             and {count - SHOWN} more")


def _show_row(data: LoadedData, length: int, i: int, model: _Model) -> None:
    # As it is stored: pictures are not decoded.
    (row,) = data.rows.select([i]).to_list()
    say(f"\nrow        {data.places[i]}, {length} tokens")
    for line in _shortened(_as_seen(row["prompt"], model)).splitlines():
        say(f"  | {line}")
    for name, value in row.items():
        if name != "prompt":
            say(f"  {name}: {_shortened(str(value))}")


def _as_seen(prompt: Any, model: _Model) -> str:
    """The prompt's text as the model sees it."""
    if isinstance(prompt, str):
        return prompt
    return model.tokenizer.apply_chat_template(
        prompt, add_generation_prompt=True, tokenize=False, **(model.template_options or {})
    )


def _shortened(text: str) -> str:
    if len(text) <= SHOWN_CHARACTERS:
        return text
    return f"{text[:SHOWN_CHARACTERS]}... ({len(text)} characters)"
