"""Measures what a forward pass takes, cell by cell, in moments when nothing runs."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final, final

import numpy as np

from paceline.decision.table import Table
from paceline.errors import ExecutionError
from paceline.llm.blocks import BlockPool, num_blocks_for
from paceline.llm.cost_file import save_profile
from paceline.llm.rows import BLOCK_SIZE, RowBatch
from paceline.llm.runner import Runner
from paceline.llm.step_cost import StepCost
from paceline.llm.step_model import ProfiledCell

_log = logging.getLogger(__name__)

_SHORT: Final = 64  # stored positions of a sequence; one seldom has fewer
_LONG: Final = 1024
_NUM_SAMPLES: Final = 5
_NUM_ROUNDS: Final = 3
_SHARE: Final = 0.4  # of the longest step that a forward pass, or all samples of a call, may take


def cells(max_rows: int, max_num_seqs: int, max_model_len: int) -> tuple[list[ProfiledCell], list[ProfiledCell]]:
    """What to measure within these limits, most useful first; the first list is a profile in itself."""
    long = min(_LONG, max_model_len // 2)
    short = min(_SHORT, long)
    first = [_alone(rows, short) for rows in (1, 2, 4, 8, 16, 32, 64)]
    first += [
        ProfiledCell(8, short, 1, 0),
        ProfiledCell(1, long, 1, 0),
        ProfiledCell(8, 8 * short, 8, 0),
    ]
    more = [_alone(rows, short) for rows in (3, 6, 12, 24, 48)]
    more += [
        ProfiledCell(8, 4 * long, 8, 0),
        ProfiledCell(8, long, 1, 0),
        ProfiledCell(32, 32 * short, 32, 0),
        ProfiledCell(32, 8 * short, 8, 0),
        ProfiledCell(2, 2 * short, 2, 0),
        ProfiledCell(4, 4 * short, 4, 0),
        ProfiledCell(16, 16 * short, 16, 0),
        ProfiledCell(64, 64 * short, 64, 0),
    ]
    more += [_alone(rows, short) for rows in (128, 256, 512)]

    def fits(cell: ProfiledCell) -> bool:
        positions = cell.num_context // cell.num_seqs + cell.num_rows // cell.num_seqs
        return cell.num_rows <= max_rows and cell.num_seqs <= max_num_seqs and positions <= max_model_len

    return [cell for cell in first if fits(cell)], [cell for cell in more if fits(cell)]


def _alone(num_rows: int, num_context: int) -> ProfiledCell:
    """Rows of one sequence, of which the last alone has logits."""
    return ProfiledCell(num_rows, num_context, 1, num_rows - 1)


@final
class Profiler:
    """Fills a table for a ``StepCost``, a cell per call; to be called only while no step runs.

    A cell is measured three times, some time apart, and its shortest time counts: neighbours on the machine only add.
    Blocks are borrowed from those that hold nothing, for the time of a cell. A cell for which there
    are too few, or that would take too long, is left out. What is ``known`` from an earlier run is not measured again.
    """

    def __init__(
        self,
        runner: Runner,
        pool: BlockPool,
        cost: StepCost,
        *,
        max_rows: int,
        max_num_seqs: int,
        max_step_s: float,
        known: Table | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._runner = runner
        self._pool = pool
        self._cost = cost
        self._limit_s = _SHARE * max_step_s
        self._clock = clock
        self._best_s = dict(_cells_of(known)) if known else {}
        first, more = cells(max_rows, max_num_seqs, runner.config.max_model_len)
        points = [*first, *more, *self._best_s]
        first, more = ([cell for cell in part if cell not in self._best_s] for part in (first, more))
        self._pending = [*_NUM_ROUNDS * first, *_NUM_ROUNDS * more][::-1]
        self._num_more = _NUM_ROUNDS * len(more)
        self.num_measured = 0
        self.table = Table([sorted({float(cell[axis]) for cell in points}) for axis in range(4)])
        for cell, best_s in self._best_s.items():
            self.table.profile(cell, [best_s])
        if self.table:
            cost.use(self.table)

    @property
    def done(self) -> bool:
        """Whether no cell is left to measure."""
        return not self._pending

    def measure_next(self) -> bool:
        """Measures a cell; False when there is none left. The cost is told after the first ones and at the end."""
        num_before, measured = len(self._pending), False
        while self._pending and not measured:
            cell = self._pending.pop()
            measured = self._expected_s(cell) <= self._limit_s and self._measure(cell)
        self.num_measured += measured
        if self.num_measured and num_before and (self.done or len(self._pending) <= self._num_more < num_before):
            self._cost.use(self.table)
        return not self.done

    def measure(self, budget_s: float) -> None:
        """Measures cells for about ``budget_s`` seconds, and tells the cost."""
        end = self._clock() + budget_s
        while self._clock() < end and self.measure_next():
            pass
        if self.num_measured and not self.done:
            self._cost.use(self.table)

    def _expected_s(self, cell: ProfiledCell) -> float:
        """In proportion to the largest cell that was measured of no more rows; 0 if there is none."""
        smaller = [(known.num_rows, best) for known, best in self._best_s.items() if known.num_rows <= cell.num_rows]
        num_rows, seconds = max(smaller, default=(1, 0.0))
        return seconds * cell.num_rows / num_rows

    def _measure(self, cell: ProfiledCell) -> bool:
        num_cached, num_rows = cell.num_context // cell.num_seqs, cell.num_rows // cell.num_seqs
        num_each = num_blocks_for(num_cached + num_rows)
        blocks = self._pool.borrow(num_each * cell.num_seqs)
        if not blocks:
            return False
        try:
            batch = _batch(cell, num_cached, num_rows, np.array(blocks, np.int32).reshape(cell.num_seqs, num_each))
            self._runner.forward(batch)  # writes a first position, and makes what is made only once
            self._touch(blocks, num_cached)
            self._best_s[cell] = min(self._best_s.get(cell, math.inf), *self._samples(batch))
            self.table.profile(cell, [self._best_s[cell]])
        except (ExecutionError, MemoryError, RuntimeError):
            _log.warning("step times are not measured any further", exc_info=True)
            self._pending.clear()
            return False
        finally:
            self._pool.release(blocks)
        return True

    def _touch(self, blocks: Sequence[int], num_cached: int) -> None:
        """Fills the blocks with numbers that were computed: memory never written is read too quickly."""
        slots = (np.array(blocks, np.int32)[:, None] * BLOCK_SIZE + np.arange(BLOCK_SIZE, dtype=np.int32)).ravel()
        self._runner.move(np.full(len(slots), slots[num_cached], np.int32), np.ascontiguousarray(slots, np.int32))

    def _samples(self, batch: RowBatch) -> list[float]:
        samples: list[float] = []
        while len(samples) < _NUM_SAMPLES and math.fsum(samples) < self._limit_s:
            start = self._clock()
            self._runner.forward(batch)
            samples.append(self._clock() - start)
        return samples


@final
class KeptProfile:
    """A profiler and the file that keeps what it measures for the next start."""

    def __init__(self, profiler: Profiler, path: Path | None) -> None:
        self._profiler = profiler
        self._path = path

    def measure_next(self) -> bool:
        """Measures a cell; False, and the file is written, when there is none left."""
        if self._profiler.done:
            return False
        more = self._profiler.measure_next()
        if not more:
            self._save()
        return more

    def measure(self, budget_s: float) -> None:
        """Measures for about ``budget_s`` seconds, and writes the file."""
        if not self._profiler.done:
            self._profiler.measure(budget_s)
            self._save()

    def _save(self) -> None:
        if self._profiler.num_measured:
            save_profile(self._path, self._profiler.table)


def _cells_of(table: Table) -> Iterator[tuple[ProfiledCell, float]]:
    for point, estimate in table.cells():
        yield ProfiledCell(*map(int, point)), estimate.mean_s


def _batch(cell: ProfiledCell, num_cached: int, num_rows: int, tables: np.ndarray) -> RowBatch:
    row_starts = np.arange(cell.num_seqs + 1, dtype=np.int32) * num_rows
    each = np.arange(num_cached, num_cached + num_rows, dtype=np.int32)
    return RowBatch(
        token_ids=np.zeros(cell.num_rows, np.int32),
        positions=np.tile(each, cell.num_seqs),
        row_starts=row_starts.astype(np.int32),
        num_cached=np.full(cell.num_seqs, num_cached, np.int32),
        block_tables=tables,
        ancestors=np.zeros(cell.num_rows, np.uint64),
        logit_rows=np.arange(cell.num_prefill, cell.num_rows, dtype=np.int32),
    )
