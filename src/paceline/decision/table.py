"""A profiled table: measured cells on a grid, straight lines between them.

Step times are staircases (a kernel for 8 rows costs what 5 rows cost, 9 rows twice that), so what
was measured is returned as it is, and only gaps are filled.
"""

from __future__ import annotations

import itertools
import math
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from statistics import median, pstdev
from typing import final

import msgspec

from paceline.decision.cost import UNKNOWN, Axes, CostModel, Estimate, usable
from paceline.errors import ConfigError

_MEMORY = 64  # observations after which a cell forgets


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The table as JSON: axes, and per cell its features, mean, spread and count."""

    axes: tuple[tuple[float, ...], ...]
    cells: tuple[tuple[tuple[float, ...], float, float, int], ...]
    version: int = 1


@final
class Table:
    """Seconds by cell of the grid ``axes``, multilinear between cells.

    Where the corners around a point are not all measured, ``gaps`` answers if it was given and
    knows something; it learns every observation too. Otherwise the answer is conservative, and
    its ``num_observations`` is 0: the cheapest measured cell that is at least as large in every feature;
    beyond all cells, the largest one times the greatest ratio of a feature to its own (no less
    than the truth for every cost that is a non-negative constant plus non-negative slopes).

    >>> table = Table([[1, 2, 4]])
    >>> table.profile([1], [0.010]); table.profile([2], [0.010]); table.profile([4], [0.030])
    >>> [round(table.predict([rows]).mean_s, 4) for rows in (1, 2, 3, 4, 8)]
    [0.01, 0.01, 0.02, 0.03, 0.06]
    """

    def __init__(self, axes: Axes, gaps: CostModel | None = None) -> None:
        self.axes = tuple(tuple(float(value) for value in axis) for axis in axes)
        for axis in self.axes:
            if not axis or any(not low < high for low, high in itertools.pairwise(axis)):
                raise ConfigError(f"an axis must hold ascending values, got {list(axis)}")
        sizes = [len(axis) for axis in self.axes]
        self._strides = [math.prod(sizes[i + 1 :]) for i in range(len(sizes))]
        self._gaps = gaps
        self._cells: dict[int, Estimate] = {}  # by the sum of index * stride: one number is quicker than a tuple

    def __len__(self) -> int:
        return len(self._cells)

    def cells(self) -> Iterator[tuple[tuple[float, ...], Estimate]]:
        """Every measured cell: its features and what was measured."""
        for key, cell in self._cells.items():
            yield tuple(axis[self._index(key, i)] for i, axis in enumerate(self.axes)), cell

    def profile(self, features: Sequence[float], samples: Sequence[float]) -> None:
        """Sets a cell to the median of ``samples`` (seconds); ConfigError off the grid or without samples."""
        key = self._key(features)
        if key is None:
            raise ConfigError(f"{list(features)} is not a point of the grid")
        samples = [seconds for seconds in samples if usable(seconds)]
        if not samples:
            raise ConfigError("a cell needs a positive, finite duration")
        mean_s = median(samples)
        self._cells[key] = Estimate(mean_s, pstdev(samples), len(samples))
        if self._gaps is not None:
            self._gaps.observe(features, mean_s)

    def observe(self, features: Sequence[float], seconds: float) -> None:
        """Moves the cell at ``features``; off the grid only ``gaps`` learns."""
        if not usable(seconds):
            return
        if self._gaps is not None:
            self._gaps.observe(features, seconds)
        key = self._key(features)
        if key is None:
            return
        old = self._cells.get(key, Estimate(seconds, 0.0, 0))
        weight = 1.0 / min(old.num_observations + 1, _MEMORY)
        deviation = seconds - old.mean_s
        variance = (1.0 - weight) * (old.std_s**2 + weight * deviation**2)
        self._cells[key] = Estimate(old.mean_s + weight * deviation, math.sqrt(variance), old.num_observations + 1)

    def predict(self, features: Sequence[float]) -> Estimate:
        measured = self._between(features)
        if measured is not None:
            return measured
        if self._gaps is not None:
            guess = self._gaps.predict(features)
            if guess.num_observations:
                return Estimate(guess.mean_s, guess.std_s, 0)
        return self._conservative(features)

    def monotone(self, axis: int) -> None:
        """Raises every cell to at least its smaller neighbours along ``axis``.

        For devices whose cost cannot fall with size (captured graphs); elsewhere a measured fall is real.
        """
        highest: dict[int, Estimate] = {}
        for key in sorted(self._cells, key=lambda key: self._index(key, axis)):
            line = key - self._index(key, axis) * self._strides[axis]
            best = highest.get(line)
            if best is not None and best.mean_s > self._cells[key].mean_s:
                self._cells[key] = best
            highest[line] = self._cells[key]

    def to_json(self) -> bytes:
        cells = tuple((point, cell.mean_s, cell.std_s, cell.num_observations) for point, cell in self.cells())
        return msgspec.json.encode(_File(axes=self.axes, cells=cells))

    @classmethod
    def from_json(cls, data: bytes, gaps: CostModel | None = None) -> Table:
        """The table that ``to_json`` wrote; ``gaps`` learns its cells. ConfigError if it is none."""
        try:
            file = msgspec.json.decode(data, type=_File)
        except (msgspec.MsgspecError, ValueError) as error:
            raise ConfigError(f"not a cost table: {error}") from error
        table = cls(file.axes, gaps)
        for point, mean_s, std_s, num_observations in file.cells:
            key = table._key(point) if len(point) == len(table.axes) else None
            if key is None or not (usable(mean_s) and std_s >= 0.0 and num_observations > 0):
                raise ConfigError(f"not a cost table: the cell at {list(point)} is wrong")
            table._cells[key] = Estimate(mean_s, std_s, num_observations)
            if gaps is not None:
                gaps.observe(point, mean_s)
        return table

    def _index(self, key: int, axis: int) -> int:
        return key // self._strides[axis] % len(self.axes[axis])

    def _key(self, features: Sequence[float]) -> int | None:
        """The cell at exactly ``features``, measured or not; None off the grid."""
        key = 0
        for value, axis, stride in zip(features, self.axes, self._strides, strict=True):
            i = bisect_left(axis, value)
            if i == len(axis) or axis[i] != value:
                return None
            key += i * stride
        return key

    def _between(self, features: Sequence[float]) -> Estimate | None:
        """The cell itself or multilinear interpolation; None if a corner that counts is not measured."""
        corners = [(0, 1.0)]  # keys and weights
        for value, axis, stride in zip(features, self.axes, self._strides, strict=True):
            i = bisect_left(axis, value)
            if i == len(axis):
                return None
            upper = i * stride
            if axis[i] == value:
                corners = [(key + upper, weight) for key, weight in corners]
                continue
            if i == 0:
                return None
            share = (value - axis[i - 1]) / (axis[i] - axis[i - 1])
            lower, rest = upper - stride, 1.0 - share
            corners = [(key + lower, weight * rest) for key, weight in corners] + [
                (key + upper, weight * share) for key, weight in corners
            ]
        if len(corners) == 1:
            return self._cells.get(corners[0][0])
        mean_s = std_s = 0.0
        count = _MEMORY
        for key, weight in corners:
            cell = self._cells.get(key)
            if cell is None:
                return None
            mean_s += weight * cell.mean_s
            std_s += weight * cell.std_s
            count = min(count, cell.num_observations)
        return Estimate(mean_s, std_s, count)

    def _conservative(self, features: Sequence[float]) -> Estimate:
        cells = list(self.cells())
        if not cells:
            return UNKNOWN
        covering = [cell for point, cell in cells if all(p >= value for p, value in zip(point, features, strict=True))]
        if covering:
            cheapest = min(covering, key=lambda cell: cell.mean_s)
            return Estimate(cheapest.mean_s, cheapest.std_s, 0)
        point, dearest = max(cells, key=lambda pair: pair[1].mean_s)
        ratios = (value / p for p, value in zip(point, features, strict=True) if p > 0.0)
        ratio = max(1.0, max(ratios, default=1.0))
        return Estimate(dearest.mean_s * ratio, dearest.std_s * ratio, 0)
