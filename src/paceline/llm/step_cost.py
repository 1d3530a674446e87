"""What a step costs: one model of seconds for everybody who plans steps. Pure.

A model says what a step of this size takes; what it says is corrected twice. *Slowly*, size by
size: a kernel has steps that no line knows. *Quickly*, in common: the machine is at times twice as
slow as a moment ago (a neighbour, a clock rate, cold caches after a long prefill), and the next
step is then slow as well.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final, NamedTuple, final

from paceline.decision.cost import CostModel, usable
from paceline.decision.rates import Average
from paceline.decision.table import Table
from paceline.llm.config import EngineConfig
from paceline.llm.load import StepLoad
from paceline.llm.model.config import ModelConfig
from paceline.llm.step_model import ByFeatures, LoadModel, StepModel

_REFRESH: Final = 64  # observations after which a curve is predicted anew
_MAX_CURVES: Final = 256
_STALE: Final = 0.03  # a pace that has changed by less leaves a curve as it is
_COUNTED: Final = 3  # errors of one step in this many are counted, after the first ones: it costs a microsecond
_CLIP: Final = 0.25  # how far off, as a share of the longer time, one step may seem
_FIRST: Final = 4  # steps that are believed more, for nothing is known yet
_PACE_WEIGHT: Final = 0.5  # of the newest step
_PREFILL_WEIGHT: Final = 0.3
_PACE_RANGE: Final = (0.1, 10.0)
_SIZE_WEIGHT: Final = 0.02
_SIZE_DOUBT: Final = 8  # steps of a size that are imagined to have been as predicted
_EXACT_ROWS: Final = 32  # sizes up to here are told apart row by row, larger ones four to a doubling
_SHIFT: Final = 8  # of the rows in the key of a size
_REST: Final = (1 << _SHIFT) - 1
_MEDIAN_STEP: Final = 1.05


class _Curve(NamedTuple):
    seconds: list[float]
    pace: float  # at which it was predicted


class _Size:
    """The slow correction, of one size of steps."""

    __slots__ = ("count", "factor")

    def __init__(self) -> None:
        self.count = _SIZE_DOUBT
        self.factor = 1.0

    def observe(self, off: float) -> None:
        self.count += 1
        self.factor *= 1.0 + off * max(_SIZE_WEIGHT, 1.0 / self.count)


class _Pace:
    """The quick correction, in common: actual over predicted, of late."""

    __slots__ = ("_count", "_surprise", "_weight", "factor")

    def __init__(self, weight: float) -> None:
        self._weight = weight
        self._count = 0
        self._surprise = 0.0  # the last error, if it was clipped
        self.factor = 1.0

    def observe(self, ratio: float, off: float) -> None:
        """``ratio``: actual over predicted. ``off``: the same, clipped, as the difference from 1."""
        if self._count < _FIRST:
            self._count += 1
            self.factor *= ratio ** max(self._weight, 1.0 / self._count)
        elif abs(off) < _CLIP:
            self._surprise = 0.0
            self.factor *= 1.0 + self._weight * off
            return
        else:
            believed = off == self._surprise  # two alike are no accident
            self._surprise = off
            self.factor *= math.sqrt(ratio) if believed else 1.0 + self._weight * off
        low, high = _PACE_RANGE
        self.factor = max(low, min(high, self.factor))


@final
class StepCost:
    """Predicts steps, follows what they took, and keeps whole curves over rows at hand.

    A cost model other than ``StepModel`` is taken at its word: it alone decides what it learns.

    >>> cost = StepCost(StepModel(max_rows=64, vocab_size=100))
    >>> for rows in (1, 9, 2, 17, 5, 33) * 20:
    ...     cost.observe(StepLoad(rows, 0, 1), 0.005 + 0.0001 * rows)
    >>> [round(seconds, 4) for seconds in cost.curve(StepLoad(1, 0, 1), 20)[::10]]
    [0.0051, 0.0061, 0.0071]
    """

    def __init__(self, model: StepModel | CostModel) -> None:
        self._follows = isinstance(model, StepModel)
        self._model: LoadModel = model if isinstance(model, StepModel) else ByFeatures(model)
        self._curves: dict[tuple[int, ...], _Curve] = {}
        self._num_observed = 0
        self._sizes: dict[int, _Size] = {}
        self._plain_pace = _Pace(_PACE_WEIGHT)
        self._prefill_pace = _Pace(_PREFILL_WEIGHT)
        self.error = Average(weight=0.01)  # |predicted - actual| / actual, outliers included
        self.predicted_sum_s = self.actual_sum_s = 0.0  # of the same steps
        self.median_error = 0.1  # of the same; half of the steps are nearer

    def predict_s(self, load: StepLoad) -> float:
        """Seconds that a step of ``load`` takes; 0 while nothing is known."""
        size = self._sizes.get(_size_key(load))
        pace = self._prefill_pace if load.num_prefill else self._plain_pace
        return self._model.seconds(load) * pace.factor * (size.factor if size else 1.0)

    def curve(self, load: StepLoad, num_extra: int) -> Sequence[float]:
        """Seconds of ``load`` with 0, 1, …, at least ``num_extra`` more rows; 0 where nothing is known.

        Steps of alike context share a curve, which is predicted anew now and then.
        """
        context = max(load.num_context, 1)
        grain = 1 << max(0, context.bit_length() - 4)  # eight to a doubling
        key = (load.num_rows, load.num_seqs, load.num_prefill, load.num_draws, context // grain * grain)
        pace = (self._prefill_pace if load.num_prefill else self._plain_pace).factor
        curve = self._curves.get(key)
        if curve is None or len(curve.seconds) <= num_extra:
            if len(self._curves) >= _MAX_CURVES:
                self._curves.clear()
            curve = self._curves[key] = _Curve(self._predicted(load, num_extra, pace), pace)
        elif not -_STALE < pace / curve.pace - 1.0 < _STALE:
            factor = pace / curve.pace
            curve = self._curves[key] = _Curve([seconds * factor for seconds in curve.seconds], pace)
        return curve.seconds

    def observe(self, load: StepLoad, seconds: float) -> None:
        """A step of ``load`` took ``seconds``."""
        if not usable(seconds):
            return
        pace = self._prefill_pace if load.num_prefill else self._plain_pace
        key = _size_key(load)
        size = self._sizes.get(key)
        predicted = self._model.seconds(load) * pace.factor * (size.factor if size else 1.0)
        self._num_observed += 1
        if predicted > 0.0:
            difference = seconds - predicted
            if self._num_observed % _COUNTED == 0 or self._num_observed < _REFRESH:
                self._count_error(predicted, seconds)
            if self._follows:
                off = max(-_CLIP, min(_CLIP, difference / (seconds if difference > 0.0 else predicted)))
                pace.observe(seconds / predicted, off)
                if size is None:
                    size = self._sizes[key] = _Size()
                size.observe(off)
        self._model.observe(load, seconds)
        if self._num_observed % _REFRESH == 0:
            self._curves.clear()

    def use(self, profile: Table) -> None:
        """Starts anew from measured cells (``profile.Profiler``)."""
        self._model.use(profile)
        self._curves.clear()
        self._sizes.clear()
        self._plain_pace = _Pace(_PACE_WEIGHT)
        self._prefill_pace = _Pace(_PREFILL_WEIGHT)

    def _predicted(self, load: StepLoad, num_extra: int, pace: float) -> list[float]:
        sizes, key = self._sizes, _size_key(load)
        rest = key & _REST
        factors = [
            size.factor * pace if (size := sizes.get(_step_of(load.num_rows + extra) << _SHIFT | rest)) else pace
            for extra in range(num_extra + 1)
        ]
        seconds = self._model.curve(load, num_extra)
        return [own * factor for own, factor in zip(seconds, factors, strict=True)]

    def _count_error(self, predicted: float, actual: float) -> None:
        self.predicted_sum_s += predicted
        self.actual_sum_s += actual
        error = abs(predicted - actual) / actual
        self.error.observe(error)
        self.median_error *= _MEDIAN_STEP if error > self.median_error else 1.0 / _MEDIAN_STEP


def _step_of(num_rows: int) -> int:
    """Which sizes share a correction."""
    if num_rows <= _EXACT_ROWS:
        return num_rows
    halvings = num_rows.bit_length() - 3  # until 4 to 7 are left
    return _EXACT_ROWS + 4 * halvings + (num_rows >> halvings)


def _size_key(load: StepLoad) -> int:
    return _step_of(load.num_rows) << _SHIFT | load.num_seqs.bit_length() << 1 | (load.num_prefill > 0)


def make_step_cost(config: EngineConfig, model: ModelConfig) -> StepCost:
    """The cost of this engine's steps, before anything is measured."""
    return StepCost(StepModel(config.max_batched_tokens, model.vocab_size))
