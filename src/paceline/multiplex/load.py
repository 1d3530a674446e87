"""What a launch takes: learned for every segment while it runs. Pure.

A launch of R slots with n rows each takes about ``a + b*R + c*R*n``. A line with forgetting learns that, a ratio per (R, n)
corrects it where kernels make steps, and medians keep pauses of the machine out of both.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from statistics import median
from typing import NamedTuple, final

from paceline.clock import MICROSECONDS
from paceline.decision import Average, Calibrated, CostModel, Explorer, Linear, Option, best

_SCALES = (8.0, 32.0)  # slots and rows of a middling launch
_EAGER = 8  # this many launches are learned one by one; from then on medians
_MEDIAN_OF = 5  # odd; also what makes learning cheap: a fifth of it
_Z = 0.674  # 75 % of the launches end within ``upper``: to be surer costs more answers than it saves
_MOST_SPREAD = 0.2  # a noisier machine than that cannot be planned for
_MIN_GAIN = 0.03  # a larger group must gain this much; a smaller one answers sooner
_ASKS = 32  # launches between two thoughts of a trial
_SIZES_KEPT = 8  # updates for which a choice of size is kept: it changes slowly, and costs a prediction per size


def row_bucket(rows: int) -> int:
    """Rows per slot after padding: the next power of two.

    >>> [row_bucket(rows) for rows in (1, 2, 3, 17)]
    [1, 2, 4, 32]
    """
    return 1 << (rows - 1).bit_length()


def features(num_slots: int, rows_each: int) -> tuple[float, float]:
    """Of a launch, for a cost model: slots, and rows with their padding."""
    return float(num_slots), float(num_slots * rows_each)


def _exactly(features: Sequence[float]) -> tuple[float, ...]:
    return tuple(features)


def segment_model() -> CostModel:
    """A line over slots and rows, corrected for each pair that was seen."""
    return Calibrated(Linear(_SCALES), bucket=_exactly)


class Cost(NamedTuple):
    """Microseconds of a launch: in the mean, and what three of four launches stay below. Both 0 before anything is known."""

    mean: int
    upper: int


_NOTHING = Cost(0, 0)


@final
class SegmentCost:
    """What launches of one segment take. All answers are kept until something new was learned.

    >>> cost = SegmentCost(segment_model())
    >>> for num_slots in (1, 2, 4, 8, 16, 1):
    ...     cost.observe(num_slots, 1, 100e-6 + num_slots * 10e-6)
    >>> 178 < cost.predict(8, 1).mean < 182, cost.best_size(16)
    (True, 16)
    """

    def __init__(self, model: CostModel) -> None:
        self._model = model
        self._num_updates = 0
        self._num_asked = 0
        self._cells: dict[tuple[int, int], Cost] = {}
        self._sizes: dict[int, int] = {}
        self._shares: dict[tuple[int, int], int] = {}
        self._fresh: dict[tuple[int, int], list[float]] = {}  # launches that wait for their median
        self._trials: Explorer[int] = Explorer()
        self.ratio = Average(weight=0.05)  # of launches: what they took over what was predicted

    @property
    def known(self) -> bool:
        return self._num_updates > 0

    def predict(self, num_slots: int, rows_each: int) -> Cost:
        """Of a launch of ``num_slots`` slots with ``rows_each`` rows, padding included."""
        cost = self._cells.get((num_slots, rows_each))
        return cost if cost is not None else self._computed(num_slots, rows_each)

    def _computed(self, num_slots: int, rows_each: int) -> Cost:
        mean_s = self._model.predict(features(num_slots, rows_each)).mean_s
        cost = _NOTHING
        if math.isfinite(mean_s):
            spread = min(_Z * self.ratio.std, _MOST_SPREAD) if self.ratio.count >= _EAGER else 0.0
            mean = mean_s * MICROSECONDS
            cost = Cost(max(1, round(mean)), max(1, math.ceil(mean * (1.0 + spread))))
        self._cells[num_slots, rows_each] = cost
        return cost

    def observe(self, num_slots: int, rows_each: int, seconds: float, *, at_once: bool = False) -> None:
        """A launch took ``seconds``; ``at_once``: what was expected is doubtful, so there is no waiting for a median."""
        predicted = self.predict(num_slots, rows_each).mean
        if predicted:
            self.ratio.observe(seconds * MICROSECONDS / predicted)
        if at_once or self._num_updates < _EAGER:
            self._learn(num_slots, rows_each, seconds)
            return
        fresh = self._fresh.setdefault((num_slots, rows_each), [])
        fresh.append(seconds)
        if len(fresh) == _MEDIAN_OF:
            del self._fresh[num_slots, rows_each]
            self._learn(num_slots, rows_each, median(fresh))

    def _learn(self, num_slots: int, rows_each: int, seconds: float) -> None:
        self._model.observe(features(num_slots, rows_each), seconds)
        self._cells.clear()
        self._shares.clear()
        self._num_updates += 1
        if self._num_updates <= _EAGER or self._num_updates % _SIZES_KEPT == 0:
            self._sizes.clear()

    # ── how many at once ─────────────────────────────────────────────────────────────────────

    def best_size(self, most: int) -> int:
        """Slots of the group that does the most per second, up to ``most``; 1 before anything is known.

        Among sizes that gain nearly the same, the smallest.
        """
        if most < 2 or not self._num_updates:
            return 1
        size = self._sizes.get(most)
        if size is None:
            options = [self._option(size, self.predict(size, 1).mean) for size in _sizes(most)]
            enough = best(options).option.goodput / (1.0 + _MIN_GAIN)
            size = self._sizes[most] = next(option.value for option in options if option.goodput >= enough)
        return size

    def trial_size(self, size: int, available: int) -> int | None:
        """A larger group than ``size`` to try once in a while, since only launches show what coalescing gains.

        Spends a hundredth of the time, ever more rarely while nothing is gained.
        """
        self._num_asked += 1
        if self._num_asked % _ASKS:
            return None
        alone = self.predict(1, 1).mean
        self._trials.earn(alone / MICROSECONDS, _ASKS)
        to_beat = size / max(1, self.predict(size, 1).mean)
        larger = [
            self._option(each, alone) for each in _sizes(available) if each > size
        ]  # most hopeful: they cost nothing
        return self._trials.pick(larger, to_beat * MICROSECONDS)

    def tried(self, num_slots: int, rows_each: int, usual: int, seconds: float) -> None:
        """A trial of ``num_slots`` slots took ``seconds``; groups of ``usual`` slots were the best before it."""
        usual_s = num_slots / usual * self.predict(usual, rows_each).mean / MICROSECONDS
        self._learn(num_slots, rows_each, seconds)
        self._trials.pay(num_slots, seconds - usual_s, gained=seconds < usual_s)

    def _option(self, size: int, microseconds: int) -> Option[int]:
        return Option(size, float(size), max(1, microseconds) / MICROSECONDS)

    def share(self, most: int, rows_each: int) -> int:
        """Microseconds of the device that one slot accounts for when groups are as large as is best."""
        share = self._shares.get((most, rows_each))
        if share is None:
            size = self.best_size(most)
            share = self._shares[most, rows_each] = self.predict(size, rows_each).mean // size
        return share


def _sizes(most: int) -> list[int]:
    """Powers of two below ``most``, and ``most``.

    >>> _sizes(12)
    [1, 2, 4, 8, 12]
    """
    return [*(1 << power for power in range((most - 1).bit_length())), most]


@final
class Costs:
    """Of all segments by their keys; an unknown key begins empty."""

    def __init__(self, model: Callable[[], CostModel] = segment_model) -> None:
        self._model = model
        self._segments: dict[str, SegmentCost] = {}

    def __getitem__(self, key: str) -> SegmentCost:
        cost = self._segments.get(key)
        if cost is None:
            cost = self._segments[key] = SegmentCost(self._model())
        return cost
