"""The made tables have the rows, fields, dependencies, lengths and repetition that they claim."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from benchmarks.common.cells import Cells
from benchmarks.relational.plans import Case, measure_plans, plan_rows
from benchmarks.relational.published import frame_of, published_ggr
from benchmarks.relational.tables import CONTEXTS, DEPENDENT, NUM_ROWS, make
from paceline.sql.order import OrderOptions, encode, evaluate
from paceline.sql.order.baselines import as_is, ggr
from paceline.sql.order.encoding import cell_text

SHAPES = {  # fields, mean data tokens of a row
    "movies": (8, 225),
    "products": (8, 300),
    "bird": (4, 670),
    "pdmx": (57, 500),
    "beer": (9, 66),
    "contributions": (10, 64),
    "fever": (5, 1190),
    "squad": (6, 1000),
    "scale": (20, 145),
}


@pytest.mark.parametrize("name", NUM_ROWS)
def test_shape_lengths_and_no_luck_in_the_order(name: str) -> None:
    table = make(name, 1500)
    num_fields, tokens = SHAPES[name]
    assert table.shape == (1500, num_fields)
    assert make(name, 1500).equals(table)
    items = encode(table, table.column_names).items
    assert items.total / items.num_rows == pytest.approx(tokens, rel=0.15)
    rows, fields = as_is(items)
    order = np.array(rows), np.array(fields[:1], np.int16), np.zeros(len(rows), np.int32)
    assert evaluate(items, *order, OrderOptions(cache_tokens=0)) < 0.03 * items.total


@pytest.mark.parametrize("name", DEPENDENT)
def test_dependent_fields_determine_each_other(name: str) -> None:
    table = make(name, 1500)
    for group in DEPENDENT[name]:
        pairs = {tuple(row.values()) for row in table.select(group).to_pylist()}
        assert all(len(pairs) == len({pair[k] for pair in pairs}) for k in range(len(group)))


@pytest.mark.parametrize("name", CONTEXTS)
def test_contexts_are_distinct_and_come_in_many_orders(name: str) -> None:
    rows = [tuple(row.values()) for row in make(name, 1500).select(CONTEXTS[name]).to_pylist()]
    assert all(len(set(row)) == len(row) for row in rows)
    assert len({frozenset(row) for row in rows}) < 0.9 * len(set(rows))


def test_levels_of_scale_lie_above_each_other() -> None:
    table = make("scale", 3000)
    for lower, upper in (("level_0", "level_1"), ("level_1", "level_2"), ("level_2", "level_3")):
        pairs = set(zip(table[lower].to_pylist(), table[upper].to_pylist(), strict=True))
        assert len(pairs) == len({low for low, _ in pairs})


def test_published_steps_find_the_plan_of_the_baseline() -> None:
    table = make("movies", 900)
    encoded = encode(table, table.column_names)
    table = table.take(pa.array(encoded.first_of))
    texts = {name: [cell_text(name, value) for value in table[name].to_pylist()] for name in table.column_names}
    rows, columns_of = published_ggr(frame_of(texts, DEPENDENT["movies"]))
    bundles = [(0, 1, 2), (3,), (4,), (5,), (6,), (7,)]
    fields_of = [[f for c in columns for f in bundles[c]] for columns in columns_of]
    found = [
        evaluate(encoded.items, np.array(r), np.array(f, np.int16), np.arange(len(r), dtype=np.int32))
        for r, f in ((rows, fields_of), ggr(encoded.items, [(0, 1, 2)]))
    ]
    assert found[0] == pytest.approx(found[1], rel=0.01)


def test_cells_of_the_plans_section_are_measured_once(tmp_path: Path) -> None:
    cells = Cells(tmp_path / "cells.json", {})
    case = Case("bird", 300, ("ggr", "paceline"))
    measure_plans(cells, (case,), tmp_path / "log")
    rows = plan_rows(cells)
    assert [row["planner"] for row in rows] == ["ggr", "paceline"]
    assert {"table", "rows", "columns", "planner", "hit", "bound", "seconds", "rss_mb"} <= set(rows[0])
    assert rows[0]["hit"] - 0.001 <= rows[1]["hit"] <= rows[1]["bound"]
    measure_plans(cells, (case,), tmp_path / "no" / "log")  # would fail if it started a worker
