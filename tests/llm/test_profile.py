"""Cells are measured one by one, only in blocks that hold nothing, and end up in what the cost predicts."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest
from numpy.typing import NDArray

from paceline.decision import Table
from paceline.llm.blocks import BlockPool
from paceline.llm.load import StepLoad
from paceline.llm.profile import Profiler, cells
from paceline.llm.rows import BLOCK_SIZE, RowBatch
from paceline.llm.step_cost import StepCost
from paceline.llm.step_model import StepModel
from tests.llm.test_step_model import forward_s


@dataclass
class Shape:
    max_model_len: int = 2048


@dataclass
class FakeRunner:
    """Takes virtual time, and checks that only borrowed blocks are written to."""

    pool: BlockPool
    config: Shape = field(default_factory=Shape)
    now_s: float = 0.0
    pace: float = 1.0
    hiccup_every: int = 0
    loads: list[StepLoad] = field(default_factory=list)
    written: set[int] = field(default_factory=set)

    def clock(self) -> float:
        return self.now_s

    def forward(self, batch: RowBatch) -> NDArray[np.float32]:
        counts = np.diff(batch.row_starts)
        ends = batch.num_cached + counts
        assert ends.max() <= self.config.max_model_len
        assert (batch.positions[batch.row_starts[:-1]] == batch.num_cached).all()
        assert batch.block_tables.shape[1] * BLOCK_SIZE >= ends.max()
        assert all(self.pool._references[block] == 1 for block in batch.block_tables.ravel())
        for table, cached, count in zip(batch.block_tables, batch.num_cached, counts, strict=True):
            self.written.update(
                table[p // BLOCK_SIZE] * BLOCK_SIZE + p % BLOCK_SIZE for p in range(cached, cached + count)
            )
        num_logits = len(batch.logit_rows)
        load = StepLoad(batch.num_rows, int(batch.num_cached.sum()), batch.num_seqs, batch.num_rows - num_logits)
        self.loads.append(load)
        slow = 10.0 if self.hiccup_every and len(self.loads) % self.hiccup_every == 0 else 1.0
        self.now_s += self.pace * slow * forward_s(load)
        return np.zeros((num_logits, 4), np.float32)

    def move(self, sources: NDArray[np.int32], targets: NDArray[np.int32]) -> None:
        assert sources.shape == targets.shape
        assert set(sources.tolist()) <= {int(slot) for slot in self.written}, "what is copied was computed"
        assert all(self.pool._references[slot // BLOCK_SIZE] == 1 for slot in targets.tolist())


def profiler(
    pool: BlockPool,
    runner: FakeRunner,
    *,
    max_rows: int = 512,
    max_num_seqs: int = 64,
    max_step_s: float = 10.0,
    known: Table | None = None,
) -> tuple[Profiler, StepCost]:
    cost = StepCost(StepModel(max_rows, vocab_size=4))
    made = Profiler(
        runner, pool, cost, max_rows=max_rows, max_num_seqs=max_num_seqs, max_step_s=max_step_s,
        known=known, clock=runner.clock,
    )  # fmt: skip
    return made, cost


def test_measures_a_cell_per_call_and_gives_every_block_back() -> None:
    pool = BlockPool(2000)
    runner = FakeRunner(pool)
    made, cost = profiler(pool, runner)
    seen = set()
    while made.measure_next():
        assert pool.num_used == 0
        pool.check()
        assert len(set(runner.loads)) == 1
        seen.update(runner.loads)
        runner.loads.clear()
    first, more = cells(512, 64, 2048)
    assert seen | set(runner.loads) == {cell.load for cell in (*first, *more)}
    assert made.done
    assert not made.measure_next()
    for load in (StepLoad(1, 64, 1), StepLoad(8, 512, 8), StepLoad(20, 700, 4)):
        assert cost.predict_s(load) == pytest.approx(forward_s(load), rel=0.1)


def test_the_first_cells_are_of_use_before_the_last() -> None:
    pool = BlockPool(2000)
    made, cost = profiler(pool, FakeRunner(pool))
    num_calls = 0
    while cost.predict_s(StepLoad(8, 64, 1)) == 0.0:
        assert made.measure_next()
        num_calls += 1
    assert num_calls == 3 * len(cells(512, 64, 2048)[0])


def test_a_budget_is_kept_and_what_was_measured_is_used() -> None:
    pool = BlockPool(2000)
    runner = FakeRunner(pool)
    made, cost = profiler(pool, runner)
    made.measure(budget_s=0.5)
    assert 0.5 <= runner.now_s < 1.0
    assert not made.done
    assert cost.predict_s(StepLoad(2, 64, 1)) == pytest.approx(forward_s(StepLoad(2, 64, 1)), rel=0.1)
    made.measure(budget_s=1000.0)
    assert made.done


def test_hiccups_do_not_count() -> None:
    pool = BlockPool(2000)
    made, _ = profiler(pool, FakeRunner(pool, hiccup_every=7))
    while made.measure_next():
        pass
    for point, estimate in made.table.cells():
        assert estimate.mean_s == pytest.approx(forward_s(StepLoad(*map(int, point))))


def test_cells_that_would_take_too_long_are_left_out() -> None:
    pool = BlockPool(2000)
    runner = FakeRunner(pool)
    made, _ = profiler(pool, runner, max_step_s=0.25)
    longest = 0.0
    more = True
    while more:
        before = runner.now_s
        more = made.measure_next()
        longest = max(longest, runner.now_s - before)
    assert longest < 0.4
    assert max(load.num_rows for load in runner.loads) < 512


def test_cached_blocks_stay_and_without_free_ones_nothing_is_measured() -> None:
    pool = BlockPool(8)
    blocks = [pool.allocate() for _ in range(6)]
    for block in blocks:
        pool.publish(block, bytes([block]))
    pool.release(blocks)
    made, cost = profiler(pool, FakeRunner(pool))
    assert not made.measure_next()
    assert (pool.num_cached, len(made.table)) == (6, 0)
    made.measure(budget_s=1.0)
    assert cost.predict_s(StepLoad(1, 64, 1)) == 0.0


def test_a_failing_runner_ends_the_profile_and_leaves_no_block_behind(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(batch: RowBatch) -> NDArray[np.float32]:
        raise RuntimeError("the device is gone")

    pool = BlockPool(2000)
    runner = FakeRunner(pool)
    made, cost = profiler(pool, runner)
    monkeypatch.setattr(runner, "forward", fail)
    assert not made.measure_next()
    assert made.done
    assert pool.num_used == 0
    assert "not measured" in caplog.text
    assert cost.predict_s(StepLoad(1, 64, 1)) == 0.0


def test_what_is_known_is_used_at_once_and_not_measured_again() -> None:
    pool = BlockPool(2000)
    runner = FakeRunner(pool)
    made, _ = profiler(pool, runner)
    made.measure(budget_s=1.5)
    known = dict(made.table.cells())
    assert 0 < len(known) < len(cells(512, 64, 2048)[0])
    runner.loads.clear()
    again, cost = profiler(pool, runner, known=made.table)
    assert cost.predict_s(StepLoad(2, 64, 1)) == pytest.approx(forward_s(StepLoad(2, 64, 1)), rel=0.1)
    while again.measure_next():
        pass
    assert again.num_measured == 3 * (sum(map(len, cells(512, 64, 2048))) - len(known))
    assert not {StepLoad(*map(int, point)) for point in known} & set(runner.loads)
    complete, _ = profiler(pool, runner, known=again.table)
    assert complete.done
    assert complete.num_measured == 0
    smaller, _ = profiler(pool, runner, max_rows=16, max_num_seqs=4, known=again.table)
    assert smaller.done
    assert len(smaller.table) == len(again.table)


@pytest.mark.parametrize(
    ("max_rows", "max_num_seqs", "max_model_len"), [(1, 1, 16), (16, 4, 64), (512, 64, 100), (64, 64, 2048)]
)
def test_cells_keep_within_the_limits(max_rows: int, max_num_seqs: int, max_model_len: int) -> None:
    first, more = cells(max_rows, max_num_seqs, max_model_len)
    assert first
    for cell in (*first, *more):
        assert cell.num_rows % cell.num_seqs == 0
        assert cell.num_rows <= max_rows
        assert cell.num_seqs <= max_num_seqs
        assert (cell.num_context + cell.num_rows) // cell.num_seqs <= max_model_len
        assert 0 <= cell.num_prefill < cell.num_rows


def test_borrowed_blocks_are_free_ones() -> None:
    pool = BlockPool(4)
    cached = pool.allocate()
    pool.publish(cached, b"a")
    pool.release([cached])
    assert pool.borrow(4) == []
    borrowed = pool.borrow(3)
    assert cached not in borrowed
    assert (len(borrowed), pool.num_cached) == (3, 1)
    pool.release(borrowed)
    pool.check()
    assert pool.num_used == 0
