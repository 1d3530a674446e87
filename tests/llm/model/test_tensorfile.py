"""Safetensors files that lie: an error that names the file, never a crash or a large allocation."""

from __future__ import annotations

import contextlib
import json
import random
import resource
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from paceline.errors import ModelError
from paceline.llm.model.tensorfile import TensorFile
from tests.llm.folders import write_safetensors


def write_raw(path: Path, header: Any, data: bytes = bytes(64), *, length: int | None = None) -> Path:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes((len(text) if length is None else length).to_bytes(8, "little") + text + data)
    return path


def entry(dtype: str = "F32", shape: Any = (4, 4), offsets: Any = (0, 64)) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


def test_a_sound_file(tmp_path: Path) -> None:
    file = TensorFile(write_raw(tmp_path / "x", {"a": entry(), "__metadata__": {"format": "pt"}}))
    assert file.names == ("a",)
    assert file.tensor("a", (4, 4)).data.tolist() == [[0.0] * 4] * 4


def test_values_at_odd_addresses_are_readable(tmp_path: Path) -> None:
    values = np.arange(3, dtype=np.float32)
    tensors = {"byte": ("U8", (1,), b"\1"), "a": ("F32", (3,), values.tobytes())}
    write_safetensors(tmp_path / "x", tensors)
    data = TensorFile(tmp_path / "x").tensor("a", (3,)).data
    assert data.flags.aligned
    assert (data == values).all()


HOSTILE: dict[str, Any] = {
    "past the end": {"a": entry(shape=[8, 4], offsets=[0, 128])},
    "overflow": {"a": entry(shape=[2**62, 2**62, 16], offsets=[0, 64])},
    "overflow to zero": {"a": entry(shape=[2**32, 2**32], offsets=[0, 0])},
    "overlap": {"a": entry(), "b": entry(shape=[4], offsets=[16, 32])},
    "same range": {"a": entry(), "b": entry()},
    "gap": {"a": entry(shape=[4], offsets=[48, 64])},
    "rest": {"a": entry(shape=[4], offsets=[0, 16])},
    "negative shape": {"a": entry(shape=[-4, -4])},
    "negative offset": {"a": entry(offsets=[-64, 0])},
    "backwards": {"a": entry(offsets=[64, 0])},
    "float shape": {"a": entry(shape=[4.0, 4.0])},
    "bool shape": {"a": entry(shape=[True, 16])},
    "huge offsets": {"a": entry(offsets=[2**64, 2**64 + 64])},
    "wrong size": {"a": entry(dtype="F16")},
    "unknown dtype": {"a": entry(dtype="F33")},
    "dtype list": {"a": entry(dtype=["F32"])},  # type: ignore[arg-type]
    "one offset": {"a": entry(offsets=[0])},
    "no dtype": {"a": {"shape": [4, 4], "data_offsets": [0, 64]}},
    "extra key": {"a": entry() | {"strides": [1]}},
    "not an object": {"a": 3},
    "list": [1],
    "many dimensions": {"a": entry(shape=[1] * 1000 + [16])},
    "twice": b'{"a":{"dtype":"F32","shape":[4,4],"data_offsets":[0,64]},"a":{"dtype":"F32","shape":[4,4],"data_offsets":[0,64]}}',
    "not UTF-8": b'{"\xff":1}',
    "deep": b'{"a":' + b"[" * 100_000,
    "huge number": b'{"a":{"dtype":"F32","shape":[' + b"9" * 10_000 + b'],"data_offsets":[0,64]}}',
}


@pytest.mark.parametrize("case", HOSTILE)
def test_lies_are_refused(tmp_path: Path, case: str) -> None:
    with pytest.raises(ModelError, match="x"):
        TensorFile(write_raw(tmp_path / "x", HOSTILE[case]))


@pytest.mark.parametrize("length", [8 * 2**30, 2**63, 2**64 - 1, 200])
def test_a_header_longer_than_the_file(tmp_path: Path, length: int) -> None:
    with pytest.raises(ModelError, match="header claims"):
        TensorFile(write_raw(tmp_path / "x", {"a": entry()}, length=length))


@pytest.mark.parametrize("size", [0, 7, 8, 9])
def test_a_stub(tmp_path: Path, size: int) -> None:
    (tmp_path / "x").write_bytes(bytes(size))
    with pytest.raises(ModelError):
        TensorFile(tmp_path / "x")


def test_a_sparse_giant_costs_nothing(tmp_path: Path) -> None:
    """A file that pretends to hold an eight-gigabyte header is refused before anything is read."""
    with (tmp_path / "x").open("wb") as file:
        file.write((8 * 2**30).to_bytes(8, "little"))
        file.truncate(9 * 2**30)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ModelError, match="header claims"):
        TensorFile(tmp_path / "x")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 32 * 1024  # KiB


def sound_bytes(folder: Path) -> bytes:
    rng = random.Random(0)
    tensors = {f"t{i}": ("F16", (rng.randint(1, 9), 4), b"") for i in range(12)}
    sized = {name: (dtype, shape, bytes(shape[0] * 8)) for name, (dtype, shape, _) in tensors.items()}
    write_safetensors(folder / "sound", sized)
    return (folder / "sound").read_bytes()


def load_all(path: Path) -> None:
    file = TensorFile(path)
    for name in file.names:
        for shape in ((4, 4), file._entries[name].shape):
            try:
                float(file.tensor(name, shape).data.astype(np.float64).sum())
            except ModelError:
                continue


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_mutations_never_crash(tmp_path: Path, data: st.DataObject) -> None:
    content = bytearray(sound_bytes(tmp_path))
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, min(len(content), 1100) - 1))
        match data.draw(st.sampled_from(["flip", "digit", "cut", "insert"])):
            case "flip":
                content[place] ^= 1 << data.draw(st.integers(0, 7))
            case "digit":
                content[place] = data.draw(st.sampled_from(b'0123456789-"[]{},e.'))
            case "cut":
                del content[place : place + data.draw(st.integers(1, 200))]
            case _:
                content[place:place] = data.draw(st.binary(min_size=1, max_size=16))
        if not content:
            break
    (tmp_path / "mutant").write_bytes(content)
    with contextlib.suppress(ModelError):  # any other exception fails the test
        load_all(tmp_path / "mutant")


def test_indices_and_metadata(tmp_path: Path) -> None:
    header = {"a": entry("U16", [2, 16]), "__metadata__": {"made for": "tests"}}
    file = TensorFile(write_raw(tmp_path / "x", header, bytes([7, 1] * 32)))
    assert file.metadata == {"made for": "tests"}
    assert file.indices("a", (2, 16)).tolist() == [[263] * 16] * 2
    with pytest.raises(ModelError, match="has shape"):
        file.indices("a", (32,))
    with pytest.raises(ModelError, match="U16 or U32 is expected"):
        TensorFile(write_raw(tmp_path / "y", {"a": entry()})).indices("a", (4, 4))
    with pytest.raises(ModelError, match="__metadata__"):
        TensorFile(write_raw(tmp_path / "z", {"a": entry(), "__metadata__": {"version": 1}}))
