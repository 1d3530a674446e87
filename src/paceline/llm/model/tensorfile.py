"""Reading one safetensors file that may be hostile, by a memory map.

The format: eight bytes with the header's length, a JSON header that gives each tensor's dtype, shape and byte range,
then the bytes. Every claim of the header is checked against the file's true size before anything is mapped, so a lie
costs no memory.
"""

from __future__ import annotations

import math
import mmap
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from paceline.errors import ModelError
from paceline.llm.model.config import DType
from paceline.llm.model.folder import parse_object

MAX_HEADER_BYTES = 32 * 2**20
MAX_DIMS = 8

_ITEM_BITS = {
    "BOOL": 8, "U8": 8, "I8": 8, "U16": 16, "I16": 16, "U32": 32, "I32": 32, "U64": 64, "I64": 64,
    "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6, "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8, "F8_E4M3FNUZ": 8,
    "F8_E5M2FNUZ": 8, "F16": 16, "BF16": 16, "F32": 32, "F64": 64, "C64": 64,
}  # fmt: skip
_LOADABLE: dict[str, tuple[DType, type[np.generic]]] = {
    "F32": ("float32", np.float32),
    "F16": ("float16", np.float16),
    "BF16": ("bfloat16", np.uint16),
}
_INDICES: dict[str, type[np.generic]] = {"U16": np.uint16, "U32": np.uint32}


class Tensor(NamedTuple):
    """A read-only view of stored values; bfloat16 is held as its bits in uint16."""

    data: NDArray[Any]
    dtype: DType


def wide(tensor: Tensor) -> NDArray[np.float32]:
    """The values in float32, contiguous: the map itself where the file holds them so."""
    if tensor.dtype == "bfloat16":
        return np.ascontiguousarray((tensor.data.astype(np.uint32) << 16).view(np.float32))
    return np.ascontiguousarray(tensor.data, np.float32)


class _Entry(NamedTuple):
    dtype: str
    shape: tuple[int, ...]
    start: int
    end: int


class TensorFile:
    """One safetensors file, its header checked, its values mapped lazily."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            with path.open("rb") as file:
                size = file.seek(0, 2)
                self._base, header = _read_header(path, file, size)
                self._entries = {
                    name: _entry(path, name, value) for name, value in header.items() if name != "__metadata__"
                }
                _check_ranges(path, self._entries, size - self._base)
                self.metadata = _metadata(path, header.get("__metadata__", {}))
                self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except OSError as error:
            raise ModelError(f"{path}: cannot be read ({error.strerror or error})") from None

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._entries)

    def tensor(self, name: str, shape: tuple[int, ...]) -> Tensor:
        """The tensor ``name``, which must have ``shape`` and a floating dtype of 16 or 32 bits."""
        entry = self._entries[name]
        if entry.dtype not in _LOADABLE:
            raise ModelError(
                f"{self.path}: {name} is stored as {entry.dtype}; only F32, F16 and BF16 weights can be loaded"
            )
        dtype, scalar = _LOADABLE[entry.dtype]
        return Tensor(self._values(name, scalar, shape), dtype)

    def indices(self, name: str, shape: tuple[int, ...]) -> NDArray[np.unsignedinteger[Any]]:
        """The tensor ``name``, which must have ``shape`` and be of unsigned integers of 16 or 32 bits."""
        dtype = self._entries[name].dtype
        if dtype not in _INDICES:
            raise ModelError(f"{self.path}: {name} is stored as {dtype}; U16 or U32 is expected")
        return self._values(name, _INDICES[dtype], shape)

    def _values(self, name: str, scalar: type[np.generic], shape: tuple[int, ...]) -> NDArray[Any]:
        entry = self._entries[name]
        if entry.shape != shape:
            raise ModelError(f"{self.path}: {name} has shape {list(entry.shape)}, config.json asks for {list(shape)}")
        data = np.frombuffer(self._map, scalar, math.prod(shape), self._base + entry.start).reshape(shape)
        return np.require(data, requirements="A")

    def num_bytes(self, name: str) -> int:
        entry = self._entries[name]
        return entry.end - entry.start

    def drop_pages(self) -> None:
        """Give back the memory of pages read so far; they are read again when needed."""
        self._map.madvise(mmap.MADV_DONTNEED)


def _read_header(path: Path, file: Any, size: int) -> tuple[int, dict[str, Any]]:
    if size < 10:
        raise ModelError(f"{path}: {size} bytes are too few for a safetensors file")
    file.seek(0)
    length = int.from_bytes(file.read(8), "little")
    if length > min(size - 8, MAX_HEADER_BYTES):
        raise ModelError(
            f"{path}: the header claims {length} bytes, the file has {size} and a header at most {MAX_HEADER_BYTES}"
        )
    return 8 + length, parse_object(file.read(length), f"{path}: header")


def _metadata(path: Path, value: Any) -> dict[str, str]:
    if not isinstance(value, dict) or not all(isinstance(text, str) for text in value.values()):
        raise ModelError(f"{path}: __metadata__ must be an object of strings")
    return value


def _entry(path: Path, name: str, value: Any) -> _Entry:
    def whole(number: object) -> bool:
        return isinstance(number, int) and not isinstance(number, bool) and 0 <= number < 2**63

    where = f"{path}: {name[:80]!r}"
    if not isinstance(value, dict) or set(value) != {"dtype", "shape", "data_offsets"}:
        raise ModelError(f"{where}: expected dtype, shape and data_offsets")
    dtype, shape, offsets = value["dtype"], value["shape"], value["data_offsets"]
    if not isinstance(dtype, str) or dtype not in _ITEM_BITS:
        raise ModelError(f"{where}: unknown dtype {str(dtype)[:40]!r}")
    if not isinstance(shape, list) or len(shape) > MAX_DIMS or not all(map(whole, shape)):
        raise ModelError(f"{where}: shape must be at most {MAX_DIMS} sizes, got {str(shape)[:80]}")
    if not isinstance(offsets, list) or len(offsets) != 2 or not all(map(whole, offsets)):
        raise ModelError(f"{where}: data_offsets must be two offsets, got {str(offsets)[:80]}")
    start, end = offsets
    if (end - start) * 8 != math.prod(shape) * _ITEM_BITS[dtype]:
        raise ModelError(f"{where}: {dtype} of shape {shape} does not fill the bytes {start} to {end}")
    return _Entry(dtype, tuple(shape), start, end)


def _check_ranges(path: Path, entries: dict[str, _Entry], size: int) -> None:
    """Ranges must follow each other without a gap up to the end of the file, as the format demands."""
    reached = 0
    for name, entry in sorted(entries.items(), key=lambda item: (item[1].start, item[1].end)):
        if entry.end > size:
            raise ModelError(f"{path}: {name[:80]!r} ends at byte {entry.end}, the data has {size}; is it truncated?")
        if entry.start != reached:
            problem = "overlaps the tensor before it" if entry.start < reached else "leaves a gap before it"
            raise ModelError(f"{path}: {name[:80]!r} starts at byte {entry.start} and {problem}")
        reached = entry.end
    if reached != size:
        raise ModelError(f"{path}: {size - reached} bytes at the end belong to no tensor")
