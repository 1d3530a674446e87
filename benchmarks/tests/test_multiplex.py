"""Arrivals, peers behind the front end, ratios and goals on made-up cells; the result has every key whatever was measured."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import torch
from torch import Tensor, nn

from benchmarks.common.cells import Cells
from benchmarks.multiplex.alarm import Alarm
from benchmarks.multiplex.arms import Arm
from benchmarks.multiplex.drive import check, closed_loop, make_inputs, open_loop
from benchmarks.multiplex.figures import goodput_figure, products_figure
from benchmarks.multiplex.nets import example, make
from benchmarks.multiplex.offline import compare, max_diff
from benchmarks.multiplex.overhead import SIZES, overhead
from benchmarks.multiplex.peers import MAX_BATCH, Ensemble, Fifo, FrontEnd, PerModel
from benchmarks.multiplex.protocol import (
    FULL,
    GOAL_CELLS,
    GOAL_MIX,
    GOAL_SLO,
    LOOP,
    MIXES,
    OURS,
    QUICK,
    SERVED_ARMS,
    SHARED,
)
from benchmarks.multiplex.report import tables
from benchmarks.multiplex.result import collect
from benchmarks.multiplex.traffic import LARGE_ROWS, NOISY, calls

DEVICE = {"cpu": "c", "num_cores": 2, "memory_gib": 1.0, "os": "o", "python": "3", "commit": "x", "load_average": 0.1}
KEYS = {"micro", "coalesce", "open_loop", "overhead_us_per_request", "goals"}
NUM = 4
PEERS: dict[str, Callable[[Sequence[nn.Module], Tensor], FrontEnd]] = {
    "loop": lambda models, shown: FrontEnd([Fifo(models)], patience_s=0.0),
    "threads": lambda models, shown: FrontEnd([Fifo(models) for _ in models], patience_s=0.0),
    "batching": lambda models, shown: FrontEnd([PerModel(models)], patience_s=0.0),
    "vmap": lambda models, shown: FrontEnd([Ensemble(models, shown)], patience_s=0.0),
}


@pytest.mark.parametrize("mix", MIXES)
def test_arrivals_have_the_rate_that_was_asked_for(mix: str) -> None:
    found = calls(mix, 2000.0, 10.0, 16, seed=3)
    counted = [call for call in found if not call.noise]
    assert found == calls(mix, 2000.0, 10.0, 16, seed=3)
    assert [call.at_s for call in found] == sorted(call.at_s for call in found)
    assert len(counted) == pytest.approx(20_000, rel=0.15)
    assert {call.tenant for call in found} == set(range(16))


def test_the_first_of_zipf_sends_most_and_the_noisy_neighbour_ten_times_as_much() -> None:
    zipf = Counter(call.tenant for call in calls("zipf", 2000.0, 10.0, 16))
    assert zipf[0] == pytest.approx(4 * zipf[3], rel=0.2)
    noisy = calls("noisy", 2000.0, 10.0, 16)
    by_tenant = Counter(call.tenant for call in noisy)
    assert by_tenant[NOISY] == pytest.approx(10 * by_tenant[5], rel=0.2)
    assert {call.tenant for call in noisy if call.noise} == {NOISY}
    large = sum(call.rows == LARGE_ROWS for call in noisy)
    assert large == pytest.approx(by_tenant[NOISY] / 10, abs=1)


@pytest.mark.parametrize("name", PEERS)
def test_peers_answer_right(name: str) -> None:
    models, shown = make("mlp", 8, NUM), example("mlp", 8)
    inputs = make_inputs(models, shown)
    arm = PEERS[name](models, shown)
    try:
        assert check(arm, inputs) < 1e-5
        assert closed_loop(arm, inputs, in_flight=3, seconds=0.02) > 0.0
        run = open_loop(arm, calls("noisy", 400.0, 0.1, NUM), inputs, slo_s=20.0, seconds=0.1)
    finally:
        arm.close()
    assert run.num_in_time == run.num_calls == len(run.latencies_s) > 0
    assert run.num_wrong == 0


@pytest.mark.parametrize("name", ["batching", "vmap"])
def test_late_requests_are_turned_away(name: str) -> None:
    models, shown = make("mlp", 8, NUM), example("mlp", 8)
    arm = PEERS[name](models, shown)

    async def ask() -> list[Any]:
        return await asyncio.gather(*(arm.infer(0, shown, late) for late in (-1.0, 60.0)), return_exceptions=True)

    try:
        refused, answer = asyncio.run(ask())
    finally:
        arm.close()
    assert "deadline" in str(refused)
    assert answer.shape == (1, 8)


def test_a_batch_holds_no_more_than_its_rows_and_gives_everybody_their_own() -> None:
    models, shown = make("mlp", 8, 1), example("mlp", 8)
    arm = PEERS["batching"](models, shown)
    inputs = [torch.randn(1 + place % 3, 8) for place in range(MAX_BATCH)]

    async def ask(arm: Arm) -> list[Tensor]:
        return await asyncio.gather(*(arm.infer(0, x) for x in inputs))

    try:
        answers = asyncio.run(ask(arm))
    finally:
        arm.close()
    for x, answer in zip(inputs, answers, strict=True):
        torch.testing.assert_close(answer, models[0](x).detach())


def test_weights_differ_in_every_number_or_are_one_object() -> None:
    first, second = (dict(model.named_parameters()) for model in make("resnet", 4, 2))
    assert not any(torch.equal(first[name], second[name]) for name in first)
    one, other = make("mlp", 8, 2, weights="shared")
    assert one is other


def test_arms_that_cannot_take_part_say_why_and_wrong_shapes_are_found() -> None:
    models, inputs = make("mlp", 8, 2), [example("mlp", 8) for _ in range(2)]
    found = compare(models, inputs, (LOOP, "batching", "vmap"), num_rounds=2, round_s=0.0)
    assert list(found.seconds) == [LOOP, "vmap"]
    assert found.max_diff[LOOP] == 0.0
    assert "one model" in found.missing["batching"]
    with pytest.raises(ValueError, match="shape"):
        max_diff([torch.zeros(1, 2)], [torch.zeros(2, 2)])


def test_the_alarm_rings_not_before_its_time() -> None:
    async def sleep() -> list[float]:
        import time

        with Alarm() as alarm:
            late = []
            for delay_s in (0.0, 0.002, 0.0005):
                at_s = time.perf_counter() + delay_s
                await alarm.until(at_s)
                late.append(time.perf_counter() - at_s)
        return late

    assert min(asyncio.run(sleep())) >= -1e-4


def empty(tmp_path: Path) -> Cells:
    return Cells(tmp_path / "cells.json", {})


def test_the_result_has_every_key_whatever_was_measured(tmp_path: Path) -> None:
    result = collect(DEVICE, empty(tmp_path), QUICK)
    assert result.keys() >= KEYS
    assert {goal["verdict"] for goal in result["goals"]} == {"not measured"}
    assert next(table for table in tables(result) if table.rows).title == "Goals"
    assert goodput_figure(result) is None
    assert products_figure(result) is None


def filled(tmp_path: Path) -> Cells:
    """Ours is ten times as fast as everybody, and holds its goodput."""
    cells = empty(tmp_path)
    timed = {"seconds": {LOOP: [10.0, 10.0], "vmap": [10.0, 10.0], OURS: [1.0, 1.0]}, "missing": {}}
    right = {"max_diff": {arm: 1e-6 for arm in timed["seconds"]}}
    for shape in ("512x1x512", "512x1x512" + SHARED):
        cells.put(f"micro/{shape}/16", {**timed, **right})
    for cell in GOAL_CELLS:
        cells.put(f"coalesce/{cell.name}", {**timed, **right})
    cells.put("adapters", {"seconds": {LOOP: [2.0], "base": [1.0], OURS: [1.0]}, **right, "missing": {}})
    cells.put("large", {**timed, **right})
    rates = {arm: [1000.0, 1100.0] for arm in SERVED_ARMS[:-1]} | {OURS: [5000.0, 5500.0]}
    for net in ("mlp", "lstm", "encoder"):
        cells.put(f"saturation/{net}", {"rates": {"infer": rates, "infer_many": rates}, "max_diff": {}})
    cells.put("open/capacity", {"solo_s": 0.001, "requests_per_s": {arm: 1.0 for arm in SERVED_ARMS}})
    head = {"seed": 0, "attainment": 1.0, "p99_s": 0.001, "num_wrong": 0, "lag_p99_s": 0.0001}
    sweep = [
        {**head, "rate": rate, "arm": arm, "goodput": (rate if rate < 500 else 480.0) if arm == OURS else 100.0}
        for rate in (100.0, 500.0, 750.0)
        for arm in SERVED_ARMS
    ]
    cells.put(f"open/run/{GOAL_MIX}/{GOAL_SLO:g}", sweep)
    points = [{"size": n, "launches": 1.0, "own_s": 1e-6 * (15 + 8 * n), "hop_s": 6e-6 * n} for n in SIZES]
    cells.put("overhead", points)
    for num, resident in ((0, 400 * 2**20), (500, 600 * 2**20)):
        cells.put(f"memory/{num}", {"resident": resident, "register_s": 5.0})
    cells.put("exact/mlp", {"num_compared": 10, "num_equal": 10})
    return cells


def test_goals_are_found_in_what_was_measured(tmp_path: Path) -> None:
    cells = filled(tmp_path)
    result = collect(DEVICE, cells, QUICK)
    assert {goal["verdict"] for goal in result["goals"]} == {"aim"}
    assert result["overhead_us_per_request"] == 8.0
    assert overhead(cells) == {
        "us_per_request": 8.0, "us_per_launch": 15.0, "hop_us_per_request": 6.0,
        "launches_per_group": {str(size): 1.0 for size in SIZES},
    }  # fmt: skip
    assert set(result["micro"][0]) == {"shape", "R", "arm", "seconds"}
    assert set(result["coalesce"][0]) == {"net", "width", "R", "weights", "arm", "seconds", "max_diff"}
    assert set(result["open_loop"][0]) == {"mix", "slo_x", "rate", "arm", "goodput", "p99_s"}
    ours = {row["arm"]: row for row in result["overload"]}[OURS]
    assert (ours["goodput"], ours["peak"], ours["share_of_peak"]) == (480.0, 480.0, 1.0)
    for text in (goodput_figure(result), products_figure(result)):
        assert text is not None
        ElementTree.fromstring(text)
    assert all(len(row) == len(table.header) for table in tables(result) for row in table.rows)


@pytest.mark.parametrize("protocol", [QUICK, FULL])
def test_both_forms_have_every_cell_that_the_goals_name(protocol: Any) -> None:
    assert set(GOAL_CELLS) <= set(protocol.cells)
    assert 16 in protocol.nums
    assert protocol.num_adapters == 500
    assert GOAL_MIX in MIXES
    assert protocol.own_rates[-1] == max(protocol.own_rates) == 1.5
