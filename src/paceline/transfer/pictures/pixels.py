"""Where the pixels of many pictures lie, and what tells equal ones."""

from __future__ import annotations

import math
import mmap
import os
import tempfile
from hashlib import blake2b
from typing import Final

import numpy as np
from numpy.typing import NDArray

from paceline.errors import ResourceError

MAX_RESIDENT_BYTES: Final = 2**30  # more lies in a file, so that the system can take the memory back


def allocate(shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """Room for pixels, in memory or in a file without a name, which is gone with the array, however the process ends.

    Raises ResourceError if the room is not to be had.
    """
    num_bytes = math.prod(shape)
    try:
        if num_bytes <= MAX_RESIDENT_BYTES:
            return np.empty(shape, np.uint8)
        with tempfile.TemporaryFile() as file:
            os.posix_fallocate(file.fileno(), 0, num_bytes)  # a full disk shows here, not as SIGBUS at a later write
            return np.frombuffer(mmap.mmap(file.fileno(), num_bytes), np.uint8).reshape(shape)
    except MemoryError:
        raise ResourceError(f"no memory for {num_bytes / 2**20:.0f} MiB of pixels") from None
    except OSError as error:
        raise ResourceError(
            f"cannot set aside {num_bytes / 2**30:.1f} GiB for pixels in {tempfile.tempdir or 'a file'}: {error.strerror or error}; "
            "free some room or set TMPDIR to a folder with more"
        ) from error


def digest(pixels: NDArray[np.uint8]) -> bytes:
    """Equal for equal pixels, and, as far as anyone can tell, for those alone."""
    return blake2b(np.ascontiguousarray(pixels).data, digest_size=16).digest()
