"""Every section on a tiny protocol; the result has every key whatever was measured."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.common.cells import Cells
from benchmarks.streaming.protocol import CAP_S, FULL, QUICK, SEEDS
from benchmarks.streaming.report import tables
from benchmarks.streaming.result import collect
from benchmarks.streaming.scenes import CONFIGURATIONS, TRAITS, allowed, groups, scenes
from benchmarks.streaming.tier_b import measure_b
from benchmarks.streaming.work import Work

pytest.importorskip("sklearn")

DEVICE = {"cpu": "c", "num_cores": 2, "commit": "x"}
TINY = replace(QUICK, name="tiny", seeds=(0, 1), num_test=5, num_train=5, num_visited=2, duration_s=3.0)
KEYS = {
    "policies",
    "statics",
    "fits",
    "decision_us_p99",
    "age_violations",
    "live",
    "parity",
    "device",
    "commit",
    "protocol",
    "goals",
}
ROW = {"tier", "seed", "forecast", "closed_loop", "policy", "s_mota", "oracle_gap_closed", "worst5"}


def test_the_result_has_every_key_where_nothing_was_measured(tmp_path: Path) -> None:
    result = collect(DEVICE, Cells(tmp_path / "cells.json", {}), FULL)
    assert result.keys() == KEYS
    assert result["policies"] == []
    assert {goal["verdict"] for goal in result["goals"]} == {"not measured"}
    assert next(iter(tables(result))).title == "Goals"


@pytest.mark.timeout(300)
def test_all_policies_are_measured_and_kept(tmp_path: Path) -> None:
    cells = Cells(tmp_path / "cells.json", {})
    work = Work(cells, TINY, tmp_path / "sweeps")
    measure_b(work)
    result = json.loads(json.dumps(collect(DEVICE, cells, TINY), allow_nan=False))
    rows = result["policies"]
    assert all(row.keys() >= ROW for row in rows)
    named = {(row["policy"], row["closed_loop"]) for row in rows if row["tier"] == "B"}
    assert named >= {(name, closed) for name in ("static", "rule", "forest", "paceline") for closed in (False, True)}
    assert named >= {("previous_oracle", False), ("oracle", False)}
    crossed = {(row["seed"], row["policy"], row["forecast"]) for row in rows if row["tier"] == "B2"}
    assert crossed == {(seed, name, on) for seed in (0, 1) for name in ("static", "paceline") for on in (False, True)}
    for row in rows:
        if row["policy"] == "static":
            assert row["worst5"] == pytest.approx(0, abs=1e-12)
        if row["tier"] == "B" and not row["closed_loop"]:
            best = next(other for other in rows if other["policy"] == "oracle" and _same(row, other))
            assert row["s_mota"] <= best["s_mota"] + 1e-12
            assert row["split"]["gain"] == pytest.approx(row["split"]["accuracy"] - row["split"]["degradation"])
    assert result["age_violations"] == 0
    assert all(table.rows for table in tables(result))
    before = dict(cells.having("b/"))
    measure_b(work)  # what is there is not measured again
    assert cells.having("b/") == before


def _same(row: dict[str, object], other: dict[str, object]) -> bool:
    return all(row[key] == other[key] for key in ("tier", "seed", "forecast"))


def test_nobody_learns_from_logs_that_he_is_tested_on() -> None:
    for protocol in (QUICK, FULL):
        seen = set()
        for seed in SEEDS:
            train, test = groups(protocol, seed)
            assert test not in train
            seen.add(test)
        assert len(seen) == len(SEEDS)
    learned = {log.name for log, _ in scenes("train", 0, 3, 2.0)}
    tested = {log.name for log, _ in scenes("test", 0, 3, 2.0)}
    assert not learned & tested
    assert QUICK.num_train == QUICK.num_test * (len(SEEDS) - 1)


def test_the_modes_have_the_same_configurations_and_all_end_in_time() -> None:
    names = [tuple(each.name for each in table) for table in CONFIGURATIONS.values()]
    assert names[0] == names[1] == tuple(TRAITS)
    assert len(names[0]) == 18
    assert set(allowed()) == set(TRAITS)
    assert max(seconds for seconds, _ in TRAITS.values()) < CAP_S
