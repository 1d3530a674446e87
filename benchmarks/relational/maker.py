"""Columns of made-up values: popular ones, texts of words, numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

_TEXT: Final = (
    "the of and to in is that it was for on are with as his they at be this from have or by one had not but what "
    "all were when we there can an your which their said if do will each about how up out them then she many some "
    "so these would other into has more her two like him see time could no make than first been its who now people "
    "my made over did down only way find use may water long little very after words called just where most know get "
    "through back much before go good new write our used me man too any day same right look think also around "
    "another came come work three word must because does part even place well such here take why things help put "
    "years different away again off went old number great tell men say small every found still between name should "
    "home big give air line set own under read last never us left end along while might next sound below saw "
    "something thought both few those always"
)
_WORDS: Final = _TEXT.split()

Codes = NDArray[np.int64]


class Maker:
    """Draws columns of one table."""

    def __init__(self, rng: np.random.Generator, num_rows: int, share: float) -> None:
        self.rng = rng
        self.num_rows = num_rows
        self._share = share

    def count(self, num_values: int) -> int:
        """How many of ``num_values`` a table of this size has."""
        return max(2, round(num_values * self._share))

    def popular(self, num_values: int, skew: float, size: int | None = None) -> Codes:
        """Numbers below ``num_values``, the k-th drawn in proportion to k^-skew."""
        shares = np.arange(1, num_values + 1) ** -skew
        return self.rng.choice(num_values, size or self.num_rows, p=shares / shares.sum())

    def texts(self, num_texts: int, mean_chars: float, prefix: str = "") -> list[str]:
        """Distinct texts of words; lengths are log-normal with sigma 0.4 around their mean."""
        lengths = np.maximum(2, self.rng.lognormal(np.log(mean_chars) - 0.08, 0.4, num_texts)).astype(int)
        words = iter(self.rng.integers(0, len(_WORDS), int(lengths.sum() / 2) + 8 * num_texts).tolist())
        drawn: dict[str, None] = {}
        for length in lengths.tolist():
            text = prefix
            while len(text) < length:
                text += _WORDS[next(words)] + " "
            text = text[:length].strip()
            drawn[f"{text} {len(drawn)}" if text in drawn else text] = None
        return list(drawn)

    def column(self, codes: Codes, values: Sequence[object]) -> pa.Array:
        """A column that holds ``values[code]``."""
        return pa.DictionaryArray.from_arrays(pa.array(codes.astype(np.int32)), pa.array(values))

    def drawn(self, values: Sequence[object], skew: float) -> pa.Array:
        """A column of values drawn by popularity."""
        return self.column(self.popular(len(values), skew), values)

    def unique_texts(self, mean_chars: float) -> pa.Array:
        return pa.array(self.texts(self.num_rows, mean_chars))

    def unique_numbers(self, low: int, step: int) -> pa.Array:
        """Whole numbers without repetition, in no order."""
        return pa.array(low + step * self.rng.permutation(self.num_rows))
