"""A probe that predicts a problem's difficulty from its prompt, before anything is written.

DiffAdapt (arXiv 2510.19669, read in an account alone): an MLP of two layers on the last layer's hidden state of the
prompt's last token, cross-entropy, AdamW at 1e-3, 100 epochs; the language model is frozen. Unverified and therefore
this file's: as many hidden units as the state has, ReLU, all problems in one batch, AdamW's own weight decay 0.01.

A saved probe is a folder::

    probe.safetensors    the network's weights, float32
    probe.json           model, revision, hidden_size, labels in the order of the outputs, thresholds of the labels
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, get_args

import torch
from jaxtyping import Float
from safetensors import SafetensorError
from safetensors.torch import load_file, save, save_file
from torch import Tensor, nn

from rlent.errors import ConfigError
from rlent.evaluation.difficulty import Difficulty, DifficultyThresholds

EPOCHS = 100
LEARNING_RATE = 1e-3
WEIGHTS_FILE = "probe.safetensors"
DESCRIPTION_FILE = "probe.json"

_LABELS: tuple[Difficulty, ...] = get_args(Difficulty)


def fit_probe(
    states: Float[Tensor, "n d"], labels: Sequence[Difficulty], *, seed: int = 0
) -> nn.Sequential:
    """The probe of these prompts' hidden states; ``seed`` is that of its first weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        probe = _network(states.shape[1])
    probe.to(states.dtype)
    targets = torch.tensor([_LABELS.index(label) for label in labels])
    optimizer = torch.optim.AdamW(probe.parameters(), lr=LEARNING_RATE, weight_decay=0.01)
    for _ in range(EPOCHS):
        optimizer.zero_grad()
        nn.functional.cross_entropy(probe(states), targets).backward()
        optimizer.step()
    return probe


def predict(probe: nn.Sequential, states: Float[Tensor, "n d"]) -> list[Difficulty]:
    """The most probable label of each prompt, in the type of the states whatever autocast says."""
    with torch.no_grad(), torch.autocast(states.device.type, enabled=False):
        return [_LABELS[place] for place in probe(states).argmax(-1).tolist()]


@dataclass(frozen=True, kw_only=True)
class DifficultyProbe:
    """A fitted probe, and what it was fitted on."""

    network: nn.Sequential
    thresholds: DifficultyThresholds
    """Of the labels that it was fitted to."""
    model: str
    """Name, or absolute folder, of the model whose states it reads. Of a folder only the name is known."""
    revision: str | None
    """Commit of the model on the hub."""

    @property
    def hidden_size(self) -> int:
        """Of the states that it reads."""
        return self.network[0].in_features  # pyright: ignore[reportReturnType]

    @property
    def description(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "model": self.model,
            "revision": self.revision,
            "hidden_size": self.hidden_size,
            "labels": list(_LABELS),
            "thresholds": asdict(self.thresholds),
        }

    @property
    def identity(self) -> dict[str, Any]:
        """What tells this probe from others."""
        weights = hashlib.sha256(save(self.network.state_dict())).hexdigest()
        return {**self.description, "weights": weights}

    def labels(self, states: Float[Tensor, "n d"]) -> list[Difficulty]:
        return predict(self.network, states)

    def save(self, folder: Path) -> None:
        """Write a new folder; the description last, without which it is no probe's."""
        folder.mkdir(parents=True)
        save_file(self.network.state_dict(), folder / WEIGHTS_FILE)
        text = json.dumps(self.description, indent=2)
        (folder / DESCRIPTION_FILE).write_text(text + "\n", encoding="utf-8")


def load_probe(folder: Path, *, key: str) -> DifficultyProbe:
    """A probe that was saved.

    Args:
        key: what named the folder.

    Raises:
        ConfigError: no such folder, or its files are not those of a probe.
    """
    described = _description(folder, key)
    return DifficultyProbe(
        network=_saved_network(folder, described["hidden_size"], key),
        thresholds=DifficultyThresholds(**described["thresholds"]),
        model=described["model"],
        revision=described["revision"],
    )


def _network(width: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, len(_LABELS)))


def _description(folder: Path, key: str) -> dict[str, Any]:
    """``probe.json``, with everything that is in it."""
    path = folder / DESCRIPTION_FILE
    if not path.is_file():
        raise ConfigError(
            "not the folder of a probe",
            key=key,
            expected=f"a folder with {DESCRIPTION_FILE} and {WEIGHTS_FILE}",
            given=str(folder),
            remedy="write one with rlent difficulty --probe MODEL --save-probe DIR",
        )
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ConfigError(f"{path} is not JSON: {error}", key=key) from error
    names = ("model", "revision", "hidden_size", "labels", "thresholds")
    _check_keys(found, names, path, key)
    thresholds = [field.name for field in fields(DifficultyThresholds)]
    _check_keys(found["thresholds"], thresholds, path, f"{key}: thresholds")
    width = found["hidden_size"]
    if type(width) is not int or width < 1:
        raise ConfigError(f"{path}: hidden_size is no size", key=key, given=width)
    if found["labels"] != list(_LABELS):
        raise ConfigError(
            f"{path}: the labels are not those of the outputs",
            key=key,
            expected=", ".join(_LABELS),
            given=found["labels"],
        )
    return found


def _check_keys(found: object, names: Sequence[str], path: Path, key: str) -> None:
    keys = set(found) if isinstance(found, dict) else set[str]()
    if missing := [name for name in names if name not in keys]:
        raise ConfigError(
            f"{path} has no {', '.join(missing)}",
            key=key,
            expected=", ".join(names),
            remedy="write the probe again with rlent difficulty --save-probe",
        )


def _saved_network(folder: Path, width: int, key: str) -> nn.Sequential:
    path, network = folder / WEIGHTS_FILE, _network(width)
    try:
        network.load_state_dict(load_file(path))
    except (OSError, SafetensorError, RuntimeError) as error:
        raise ConfigError(
            f"{path} does not hold the weights of a probe on {width} numbers: {error}", key=key
        ) from error
    return network
