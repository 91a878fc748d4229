"""``rlent difficulty``: a label for each problem of an evaluated set, and what the labels' settings would save."""

import json
from collections.abc import Sequence
from pathlib import Path

from rlent.errors import ConfigError
from rlent.evaluation.difficulty import DIFFICULTY_SETTINGS, DifficultyThresholds
from rlent.evaluation.difficulty_labels import LabelledProblem, cut_correct, kept_tokens, labelled
from rlent.evaluation.store import COMPLETIONS_FOLDER, SETTINGS_FILE, read_set
from rlent.launch.difficulty_probe import read_problems


def difficulty(
    folder: Path,
    thresholds: DifficultyThresholds,
    output: Path,
    *,
    probe: str | None = None,
    save_probe: Path | None = None,
) -> int:
    """Write every labelled problem as one JSON row a line, and say counts and tokens; returns the exit status.

    Args:
        probe: a model whose hidden states of the prompts are to predict the labels (``read_problems``).
        save_probe: a new folder for a probe fitted on all problems.

    Raises:
        ConfigError: the folder is not that of an evaluated set with drawn completions, its completions have budgets of
            their own, a file or folder that is to be written exists, or no model is named to read the prompts.
    """
    if output.exists():
        raise ConfigError("the file exists", key="--output", given=str(output))
    _check_saving(probe, save_probe)
    length = _length(folder)
    problems = labelled(read_set(folder), thresholds)
    read = None if probe is None else read_problems(problems, probe)
    lines = [json.dumps(each.row(length), ensure_ascii=False) for each in problems]
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text("\n".join(lines) + "\n", encoding="utf-8")
    for label, settings in DIFFICULTY_SETTINGS.items():
        chosen = [each for each in problems if each.label == label]
        print(
            f"{label:8}{len(chosen)} problems, temperature {settings.temperature:g}, "
            f"at most {settings.limit(length)} tokens{_said(chosen, length)}"
        )
    print(f"{'all':8}{len(problems)} problems, at most {length} tokens{_said(problems, length)}")
    if read is not None:
        print(read.tried())
    if read is not None and save_probe is not None:
        read.fitted(thresholds).save(save_probe)
        print(f"Wrote a probe fitted on all {len(problems)} problems to {save_probe}")
    print(f"Wrote {len(problems)} problems to {output}")
    return 0


def _check_saving(probe: str | None, save_probe: Path | None) -> None:
    if save_probe is None:
        return
    if probe is None:
        raise ConfigError(
            "a probe reads the hidden states of a model",
            key="--save-probe",
            remedy="name the model with --probe",
        )
    if save_probe.exists():
        raise ConfigError("the folder exists", key="--save-probe", given=str(save_probe))


def _length(folder: Path) -> int:
    """Most tokens of a completion of the set."""
    path = folder / SETTINGS_FILE
    if not path.is_file():
        raise ConfigError(
            "not the folder of an evaluated set",
            expected=f"a folder with {SETTINGS_FILE} and {COMPLETIONS_FOLDER}, which `rlent eval` writes for every set",
            given=str(folder),
        )
    settings = json.loads(path.read_text(encoding="utf-8"))
    if settings.get("budget") is not None:
        raise ConfigError(
            "completions under a budget are not cut at a length",
            given=str(folder),
            remedy="name the folder of a set without a budget",
        )
    if settings.get("difficulty") is not None:
        raise ConfigError(
            "the completions were drawn by difficulty already",
            given=str(folder),
            remedy="name the folder of an evaluation without evaluation.difficulty",
        )
    return settings["length"]


def _said(problems: Sequence[LabelledProblem], length: int) -> str:
    if not problems:
        return ""
    cut = cut_correct(problems, length)
    cost = "none is correct" if cut is None else f"{cut:.1%} of the correct completions are cut"
    return f": {kept_tokens(problems, length):.1%} of tokens are kept, {cost}"
