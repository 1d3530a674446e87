"""Weights by name: single files, shards, and folders that promise what they do not hold."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from paceline.errors import ModelError
from paceline.llm.model.checkpoint import DecoderWeights, open_weights
from paceline.llm.model.families import read_config
from tests.llm.folders import FAMILIES, encode, random_weights, tiny_config, write_folder, write_safetensors


def opened(folder: Path) -> DecoderWeights:
    return open_weights(folder, read_config(folder))


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("shards", [1, 3])
def test_values_are_the_stored_ones(tmp_path: Path, family: str, shards: int) -> None:
    weights = opened(write_folder(tmp_path, family, shards=shards))
    expected = random_weights(tiny_config(family))
    assert (weights.embed.data == expected["model.embed_tokens.weight"]).all()
    assert (weights.layers[1].down.data == expected["model.layers.1.mlp.down_proj.weight"]).all()
    assert (weights.layers[0].q_bias is not None) == (family == "qwen2")
    assert (weights.layers[0].q_norm is not None) == (family == "qwen3")
    assert (weights.head is None) == (family == "qwen3")
    assert weights.num_bytes == sum(array.nbytes for array in expected.values())
    weights.drop_pages()
    assert (weights.layers[0].q.data == expected["model.layers.0.self_attn.q_proj.weight"]).all()


def test_bfloat16_is_held_as_bits(tmp_path: Path) -> None:
    weights = opened(write_folder(tmp_path, "llama", "bfloat16"))
    assert weights.embed.dtype == "bfloat16"
    widened = (weights.embed.data.astype(np.uint32) << 16).view(np.float32)
    expected = random_weights(tiny_config("llama"))["model.embed_tokens.weight"]
    np.testing.assert_allclose(widened, expected, rtol=2**-8)
    assert not weights.embed.data.flags.writeable


def rewritten(folder: Path, **changes: np.ndarray | None) -> Path:
    """The folder with tensors replaced (dots written as double underscores) or left out."""
    write_folder(folder, "llama")
    tensors = random_weights(tiny_config("llama"))
    for name, value in changes.items():
        tensors.pop(name.replace("__", "."), None)
        if value is not None:
            tensors[name.replace("__", ".")] = value
    write_safetensors(folder / "model.safetensors", {name: encode(a, "float32") for name, a in tensors.items()})
    return folder


def test_a_missing_tensor_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"model\.norm\.weight is missing"):
        opened(rewritten(tmp_path, model__norm__weight=None))


def test_a_missing_head_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"lm_head\.weight is missing"):
        opened(rewritten(tmp_path, lm_head__weight=None))


def test_a_wrong_shape_is_shown(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"model\.norm\.weight has shape \[65\], config\.json asks for \[64\]"):
        opened(rewritten(tmp_path, model__norm__weight=np.zeros(65, np.float32)))


def test_integers_are_no_weights(tmp_path: Path) -> None:
    write_folder(tmp_path, "llama")
    tensors = {name: encode(a, "float32") for name, a in random_weights(tiny_config("llama")).items()}
    tensors["model.norm.weight"] = ("I64", (64,), bytes(512))
    write_safetensors(tmp_path / "model.safetensors", tensors)
    with pytest.raises(ModelError, match=r"model\.norm\.weight is stored as I64"):
        opened(tmp_path)


def test_pickled_weights_are_refused(tmp_path: Path) -> None:
    write_folder(tmp_path, "llama")
    (tmp_path / "model.safetensors").rename(tmp_path / "pytorch_model.bin")
    with pytest.raises(ModelError, match=r"pytorch_model\.bin.*convert them to safetensors"):
        opened(tmp_path)


def test_no_weights_at_all(tmp_path: Path) -> None:
    write_folder(tmp_path, "llama")
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(ModelError, match=r"no model\.safetensors"):
        opened(tmp_path)


@pytest.mark.parametrize(
    "name", ["../x.safetensors", "/tmp/x.safetensors", "x.bin", "", "gone.safetensors", "a\0.safetensors"]
)
def test_shards_outside_the_folder(tmp_path: Path, name: str) -> None:
    folder = write_folder(tmp_path / "model", "llama", shards=2)
    write_safetensors(tmp_path / "x.safetensors", {})
    index = json.loads((folder / "model.safetensors.index.json").read_text())
    index["weight_map"]["model.norm.weight"] = name
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(ModelError):
        opened(folder)


def test_a_shard_that_does_not_hold_its_tensor(tmp_path: Path) -> None:
    folder = write_folder(tmp_path, "llama", shards=2)
    index = json.loads((folder / "model.safetensors.index.json").read_text())
    files = sorted(set(index["weight_map"].values()))
    other = {files[0]: files[1], files[1]: files[0]}
    index["weight_map"]["model.norm.weight"] = other[index["weight_map"]["model.norm.weight"]]
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(ModelError, match="does not hold"):
        opened(folder)


@pytest.mark.parametrize("weight_map", [None, [], {"a": 1}, "x"])
def test_a_broken_index(tmp_path: Path, weight_map: object) -> None:
    folder = write_folder(tmp_path, "llama", shards=2)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    with pytest.raises(ModelError, match="weight_map"):
        opened(folder)
