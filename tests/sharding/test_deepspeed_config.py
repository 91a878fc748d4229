"""The engine section as DeepSpeed's JSON: generated, or from a file."""

import json
from pathlib import Path
from typing import Any

import pytest

from rlent.config import Engine
from rlent.errors import ConfigError
from rlent.sharding import deepspeed_config

SHIPPED = Path(__file__).parents[2] / "recipes" / "deepspeed"
SAME: dict[str, dict[str, Any]] = {
    "zero1": {"zero": 1},
    "zero2": {"zero": 2},
    "zero2_offload": {"zero": 2, "offload": "optimizer"},
    "zero3": {"zero": 3},
    "zero3_offload": {"zero": 3, "offload": "all"},
}


def test_without_zero_there_is_no_deepspeed() -> None:
    assert deepspeed_config(Engine(), "float32") is None
    assert not Engine().uses_deepspeed


@pytest.mark.parametrize("name", SAME)
def test_shipped_files_say_what_the_engine_section_says(name: str) -> None:
    path = SHIPPED / f"{name}.json"
    from_file = deepspeed_config(Engine(deepspeed=str(path)), "bfloat16")
    generated = deepspeed_config(Engine(**SAME[name]), "bfloat16")
    assert from_file is not None
    assert generated is not None
    assert from_file | {"bf16": None, "fp16": None} == generated | {"bf16": None, "fp16": None}
    assert generated["bf16"] == {"enabled": True}
    assert from_file["bf16"] == {"enabled": "auto"}


def test_all_shipped_files_are_compared() -> None:
    assert {path.stem for path in SHIPPED.iterdir()} == set(SAME)


def test_every_setting_reaches_deepspeed() -> None:
    section = Engine(
        zero=3, offload="all", bucket_size=7, overlap_communication=False, keep_gathered=11
    )
    config = deepspeed_config(section, "float16")
    assert config is not None
    assert config["zero_optimization"] == {
        "stage": 3,
        "contiguous_gradients": True,
        "overlap_comm": False,
        "reduce_bucket_size": 7,
        "allgather_bucket_size": 7,
        "offload_optimizer": {"device": "cpu", "pin_memory": True},
        "offload_param": {"device": "cpu", "pin_memory": True},
        "stage3_gather_16bit_weights_on_model_save": True,
        "stage3_param_persistence_threshold": 11,
    }
    assert config["fp16"] == {"enabled": True}


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"offload": "optimizer"}, "offload needs zero: 1 or above"),
        ({"zero": 2, "offload": "all"}, "offload needs zero: 3 or above"),
        ({"zero": 2, "keep_gathered": 5}, "keep_gathered needs zero: 3"),
        ({"zero": 0, "bucket_size": 5}, "bucket_size needs zero: 1"),
        ({"overlap_communication": True}, "overlap_communication needs zero: 1"),
        ({"zero": 1, "bucket_size": 0}, "bucket_size must be at least 1"),
        ({"zero": 3, "keep_gathered": -1}, "keep_gathered must not be negative"),
        ({"timeout": 0}, "timeout must be at least 1 second"),
        ({"deepspeed": "a.json", "zero": 2}, "zero has no effect beside a deepspeed file"),
        ({"deepspeed": "a.json", "offload": "all"}, "offload has no effect beside"),
    ],
)
def test_settings_without_effect_are_refused(settings: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        Engine(**settings)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (None, "no such file"),
        ("{", "cannot be read as JSON"),
        ("{}", "not a DeepSpeed configuration"),
        ('{"zero_optimization": {}, "gradient_clipping": 1.0}', "sets gradient_clipping"),
        ('{"zero_optimization": {}, "bf16": {"enabled": true}}', "sets bf16.enabled"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused(
    tmp_path: Path, text: str | None, problem: str
) -> None:
    path = tmp_path / "ds.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        deepspeed_config(Engine(deepspeed=str(path)), "float32")
    assert problem in str(caught.value)
    assert caught.value.key == "engine.deepspeed"


def test_a_file_is_given_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "ds.json"
    config = {"zero_optimization": {"stage": 2, "round_robin_gradients": True}}
    path.write_text(json.dumps(config))
    assert deepspeed_config(Engine(deepspeed=str(path)), "float32") == config
