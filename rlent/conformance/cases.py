"""Golden cases: the inputs of a method's released code and the outputs that it gave, one JSON file each.

A file holds ``method``, ``case``, ``hyperparameters``, ``inputs`` and ``outputs``. A tensor is written as
``{"shape", "dtype", "data"}``, a number that is not finite as "NaN", "Infinity" or "-Infinity".
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from rlent.errors import ConfigError

_TENSOR = {"shape", "dtype", "data"}
_REQUIRED = ("method", "case", "hyperparameters", "inputs", "outputs")


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """One golden file. Tensors are float64 or int64, text and plain numbers stay what they are."""

    path: Path
    method: str
    number: int
    hyperparameters: Mapping[str, Any]
    inputs: Mapping[str, Any]
    outputs: Mapping[str, Any]
    remarks: Mapping[str, Any]
    """Every other entry of the file, such as ``positions_tied_at_threshold``."""

    @property
    def mask(self) -> Tensor:
        """Positions that count, bool [b t]."""
        return self.inputs["mask"].bool()


def load_cases(folder: Path) -> list[Case]:
    """Every case of a folder, by method and number.

    Raises:
        ConfigError: the folder does not exist or holds no case, or a file in it is not one.
    """
    if not folder.is_dir():
        raise ConfigError(
            "the folder of golden cases does not exist",
            expected="a folder of <method>_<number>.json files",
            given=str(folder),
        )
    cases = [load_case(path) for path in folder.glob("*.json")]
    if not cases:
        raise ConfigError(
            "the folder holds no golden case",
            expected="files named <method>_<number>.json",
            given=str(folder),
        )
    return sorted(cases, key=lambda case: (case.method, case.number))


def load_case(path: Path) -> Case:
    """Read one golden file.

    Raises:
        ConfigError: the file is not JSON, or lacks an entry that every case has.
    """
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise ConfigError(f"not a JSON file: {error}", where=str(path)) from error
    missing = [name for name in _REQUIRED if name not in entries]
    if missing:
        raise ConfigError(
            "not a golden case",
            where=str(path),
            expected=f"the entries {', '.join(_REQUIRED)}",
            given=f"no {', '.join(missing)}",
        )
    return Case(
        path=path,
        method=entries["method"],
        number=entries["case"],
        hyperparameters=entries["hyperparameters"],
        inputs={name: _value(value) for name, value in entries["inputs"].items()},
        outputs=_outputs(entries["outputs"], ""),
        remarks={name: value for name, value in entries.items() if name not in _REQUIRED},
    )


def _outputs(entry: Any, name: str) -> dict[str, Any]:
    """Outputs by name. One inside a mapping or a list of mappings has the way to it for a name: ``steps.0.loss``."""
    if isinstance(entry, dict) and entry.keys() != _TENSOR:
        parts = entry.items()
    elif isinstance(entry, list) and entry and isinstance(entry[0], dict):
        parts = enumerate(entry)
    else:
        return {name: _value(entry)}
    found: dict[str, Any] = {}
    for key, value in parts:
        found |= _outputs(value, f"{name}.{key}" if name else str(key))
    return found


def _value(entry: Any) -> Any:
    if not isinstance(entry, dict) or entry.keys() != _TENSOR:
        return entry
    if not entry["dtype"].startswith("float"):
        return torch.tensor(entry["data"], dtype=torch.int64).reshape(entry["shape"])
    return torch.tensor(_numbers(entry["data"]), dtype=torch.float64).reshape(entry["shape"])


def _numbers(data: Any) -> Any:
    return [_numbers(item) for item in data] if isinstance(data, list) else float(data)
