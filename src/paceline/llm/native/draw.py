"""Drawing a token in one call: ``noise.coupled_argmax`` over all of a row, without its hundred microseconds."""

from __future__ import annotations

from functools import cache
from typing import final

import numpy as np
from numpy.typing import NDArray

from paceline.llm.native import library

_ROOM = 16  # near ties; more are left to others


@final
class Drawing:
    """The kernel and its buffer; one thread at a time."""

    def __init__(self) -> None:
        self._call = library.load().paceline_draw
        self._nearest = np.empty(_ROOM, np.int32)
        self._address = self._nearest.ctypes.data

    def nearest(self, logits: NDArray[np.float32], leader: int, temperature: float, key: int) -> list[int] | None:
        """Tokens whose logit / temperature + noise is the largest, or within 1e-6 of it; None if there are many.

        ``leader`` has the largest logit; none is NaN or +inf; logits [V] are contiguous.
        """
        count = self._call(logits.ctypes.data, len(logits), leader, temperature, key, self._address, _ROOM)
        return sorted(self._nearest[:count].tolist()) if count > 0 else None


@cache
def drawing() -> Drawing | None:
    """None where the kernels cannot run."""
    return Drawing() if library.obstacle() is None else None
