from __future__ import annotations

import errno
import os
import tempfile
from pathlib import Path

import numpy as np
import pytest

from paceline.errors import ResourceError
from paceline.transfer.pictures import pixels
from paceline.transfer.pictures.pixels import allocate, digest


@pytest.fixture
def small_memory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setattr(pixels, "MAX_RESIDENT_BYTES", 100)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_room_in_memory_and_in_a_file_without_a_name(small_memory: Path) -> None:
    for shape in ((2, 1, 4, 4), (9, 3, 8, 8)):
        array = allocate(shape)
        array[:] = 7
        assert array.shape == shape
        assert array.flags.writeable
        assert (array == 7).all()
    assert os.listdir(small_memory) == []


def test_a_full_disk(small_memory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(descriptor: int, start: int, num_bytes: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", fail)
    with pytest.raises(ResourceError, match=f"in {small_memory}: No space left on device; .* TMPDIR"):
        allocate((101,))
    assert os.listdir(small_memory) == []


def test_a_file_larger_than_any_disk(small_memory: Path) -> None:
    with pytest.raises(ResourceError, match="cannot set aside"):
        allocate((2**61,))


def test_no_temporary_folder(small_memory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(small_memory / "missing"))
    with pytest.raises(ResourceError, match="No such file or directory"):
        allocate((101,))


def test_no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pixels, "MAX_RESIDENT_BYTES", 2**62)
    with pytest.raises(ResourceError, match="no memory for"):
        allocate((2**61,))


def test_digests_tell_pixels_apart() -> None:
    image = np.arange(16, dtype=np.uint8).reshape(1, 4, 4)
    assert digest(image) == digest(image.copy()) == digest(np.asfortranarray(image))
    assert digest(image) != digest(image[:, ::-1])
