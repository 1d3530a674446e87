"""Seconds of an engine's step as a line over what it weighs, with the rows' part measured. Pure.

    seconds = c + w W(rows) + r rows + l (rows - prefill) + a context + p context rows / seqs + s seqs + d draws

``W`` is what a profile measured for that many rows of one sequence, staircase and all; without a
profile it is the number of rows. The other terms: logits, reading the KV cache once and once per
row, Python per step and sequence, drawing at random. All coefficients are learned, none is negative.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Final, NamedTuple, Protocol, final

from paceline.decision.cost import CostModel, usable
from paceline.decision.linear import Linear
from paceline.decision.table import Table
from paceline.llm.load import StepLoad

# Typical work in Python around a forward pass: only where learning starts from.
_STEP_S: Final = 1e-4
_SEQUENCE_S: Final = 2e-5
_DRAW_S: Final = 2e-5
_DRAW_TOKEN_S: Final = 1.2e-8  # per token of the vocabulary

_FIXED_ROWS: Final = 8.0  # before anything is known, a step costs as much as this many rows more
_SCALES: Final = (32.0, 8.0, 2000.0, 8000.0, 8.0, 8.0)  # rows, logit rows, context, pairs, sequences, draws
_FORGETTING: Final = 0.999
_LOOSE: Final = 3.0  # the first guess may be off by this many of the smallest steps, at the scales
_LOOSE_PROFILED: Final = 10.0  # measured cells are believed, not the guess
_ENOUGH: Final = 3  # numbers of rows that make a profile
_EAGER: Final = 256  # observations that are all learned from; later only some, for learning takes 40 µs
_STRIDE: Final = 32  # plain steps for one that is learned from


class ProfiledCell(NamedTuple):
    """A cell of the profile; the fields are the axes of its table."""

    num_rows: int
    num_context: int
    num_seqs: int
    num_prefill: int

    @property
    def load(self) -> StepLoad:
        return StepLoad(*self)


class LoadModel(Protocol):
    """A cost model that is asked by loads."""

    def curve(self, load: StepLoad, num_extra: int) -> list[float]:
        """Seconds of ``load`` with 0, 1, …, ``num_extra`` rows more, in the same sequences; 0: unknown."""
        ...

    def seconds(self, load: StepLoad) -> float: ...

    def observe(self, load: StepLoad, seconds: float) -> None: ...

    def use(self, profile: Table) -> None:
        """Starts anew from measured cells (axes: ``ProfiledCell``)."""
        ...


@final
class StepModel:
    """The line of this module, for steps of up to ``max_rows`` rows that are drawn from ``vocab_size`` logits.

    >>> model = StepModel(max_rows=64, vocab_size=100)
    >>> for rows in (1, 64, 20, 5, 33, 2) * 8:
    ...     model.observe(StepLoad(rows, 0, 1), 0.005 + 0.0001 * rows)
    >>> round(model.seconds(StepLoad(50, 0, 1)), 4)
    0.01
    """

    def __init__(self, max_rows: int, vocab_size: int) -> None:
        self._draw_s = _DRAW_S + _DRAW_TOKEN_S * vocab_size
        self._measured: Sequence[float] = [float(rows) for rows in range(max_rows + 1)]
        self._line: Linear | None = None
        self._weights: tuple[float, ...] = (0.0,) * 8
        self._num_observed = 0

    def seconds(self, load: StepLoad) -> float:
        """0 while nothing is known."""
        fixed, forward, rows, logits, context, pairs, seqs, draws = self._weights
        num_rows = load.num_rows
        per_position = context + pairs * num_rows / (load.num_seqs or 1)
        return (
            fixed
            + forward * self._rows(num_rows)
            + rows * num_rows
            + logits * (num_rows - load.num_prefill)
            + per_position * load.num_context
            + seqs * load.num_seqs
            + draws * load.num_draws
        )

    def curve(self, load: StepLoad, num_extra: int) -> list[float]:
        first = load.num_rows
        _, forward, rows, logits, _, pairs, _, _ = self._weights
        slope = rows + logits + pairs * load.num_context / (load.num_seqs or 1)
        base = self.seconds(load) - forward * self._rows(first)
        measured = self._measured[first : first + num_extra + 1]
        if len(measured) <= num_extra:
            measured = [self._rows(first + extra) for extra in range(num_extra + 1)]
        return [base + forward * own + slope * extra for extra, own in enumerate(measured)]

    def observe(self, load: StepLoad, seconds: float) -> None:
        """Learns from a step; once much was seen, from all with prefill and from some plain ones."""
        self._num_observed += 1
        if self._num_observed > _EAGER and self._num_observed % _STRIDE and not load.num_prefill:
            return
        if not usable(seconds):
            return
        if self._line is None:
            row_s = seconds / (load.num_rows + _FIXED_ROWS)
            guess = (_FIXED_ROWS * row_s, row_s, 0.0, 0.0, 0.0, 0.0, 0.0, self._draw_s)
            self._line = self._start(guess, _LOOSE)
        self._learn(self._line, load, seconds)

    def use(self, profile: Table) -> None:
        """Starts anew from a profile, unless it hardly holds anything."""
        cells = [(ProfiledCell(*map(int, point)), estimate.mean_s) for point, estimate in profile.cells()]
        column = _column(cells)
        if len(column) < _ENOUGH:
            return
        self._measured = _interpolated(column, len(self._measured) - 1)
        self._num_observed = 0
        line = self._start((_STEP_S, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, self._draw_s), _LOOSE_PROFILED)
        for cell, mean_s in cells:
            self._learn(line, cell.load, mean_s + _STEP_S + _SEQUENCE_S * cell.num_seqs)
        # Steps spread more than cells do, and are off by what Python takes: they are judged by themselves.
        self._line = self._start(line.coefficients, _LOOSE)

    def _start(self, weights: Sequence[float], loose: float) -> Linear:
        smallest_s = weights[0] + weights[1] * self._rows(1)
        scales = [self._rows(int(_FIXED_ROWS)), *_SCALES]
        return Linear(scales, prior=weights, prior_std_s=loose * smallest_s, forgetting=_FORGETTING)

    def _learn(self, line: Linear, load: StepLoad, seconds: float) -> None:
        num_rows, num_seqs = load.num_rows, load.num_seqs
        line.observe(
            (
                self._rows(num_rows),
                num_rows,
                num_rows - load.num_prefill,
                load.num_context,
                load.num_context * num_rows / (num_seqs or 1),
                num_seqs,
                load.num_draws,
            ),
            seconds,
        )
        self._weights = line.coefficients

    def _rows(self, num_rows: int) -> float:
        measured = self._measured
        last = len(measured) - 1
        return measured[num_rows] if num_rows <= last else measured[last] * num_rows / last


@final
class ByFeatures:
    """Any other cost model, over ``StepLoad.features``."""

    def __init__(self, model: CostModel) -> None:
        self._model = model

    def seconds(self, load: StepLoad) -> float:
        mean_s = self._model.predict(load.features).mean_s
        return mean_s if usable(mean_s) else 0.0

    def curve(self, load: StepLoad, num_extra: int) -> list[float]:
        rows, context, seqs = load.num_rows, load.num_context, load.num_seqs
        return [self.seconds(StepLoad(rows + extra, context, seqs)) for extra in range(num_extra + 1)]

    def observe(self, load: StepLoad, seconds: float) -> None:
        self._model.observe(load.features, seconds)

    def use(self, profile: Table) -> None:
        for point, estimate in profile.cells():
            self._model.observe(point[:3], estimate.mean_s)


def _column(cells: Sequence[tuple[ProfiledCell, float]]) -> dict[int, float]:
    """By number of rows, the cells of one sequence with the shortest context and a single row of logits."""
    alone = [(cell, seconds) for cell, seconds in cells if cell.num_seqs == 1 and cell.num_prefill == cell.num_rows - 1]
    shortest = min((cell.num_context for cell, _ in alone), default=0)
    return {cell.num_rows: seconds for cell, seconds in alone if cell.num_context == shortest}


def _interpolated(column: dict[int, float], last: int) -> list[float]:
    """A value for 0, 1, …, ``last`` rows: straight between the measured ones, and on along the last of them.

    Nothing makes a measurement too short, so no number of rows is believed to take longer than a larger one.

    >>> _interpolated({1: 5.0, 2: 5.5, 3: 5.0, 5: 7.0}, 7)
    [5.0, 5.0, 5.0, 5.0, 6.0, 7.0, 8.0, 9.0]
    """
    points = [(rows, min(other for more, other in column.items() if more >= rows)) for rows in sorted(column)]
    first_rows, first = points[0]
    values = [first] * (first_rows + 1)
    slope = 0.0
    for (rows, seconds), (next_rows, next_seconds) in pairwise(points):
        slope = (next_seconds - seconds) / (next_rows - rows)
        values.extend(seconds + slope * step for step in range(1, next_rows - rows + 1))
    end = len(values) - 1
    values.extend(values[end] + max(slope, 0.0) * step for step in range(1, last - end + 1))
    return values
