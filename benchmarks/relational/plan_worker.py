"""Plans one table by one planner, in a process of its own so that its memory can be told."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa

from benchmarks.common.child import resident_bytes, serve
from benchmarks.relational import tables
from paceline.sql.items import Items, Order
from paceline.sql.order import OrderOptions, bounds, encode, evaluate, plan
from paceline.sql.order.baselines import Plan, as_is, ggr, sorted_rows, v1_rule
from paceline.sql.order.encoding import cell_text

PREVIOUS_ROW: Final = OrderOptions(cache_tokens=0)


def prepare(table: str, rows: int, path: str) -> dict[str, Any]:
    """Makes the table and stores its items; planning starts from there."""
    made = tables.make(table, rows)
    began = time.perf_counter()
    encoded = encode(made, made.column_names)
    seconds = time.perf_counter() - began
    items = encoded.items
    simple, neighbour = bounds(items)
    weights = {f"weights_{f}": w for f, w in enumerate(items.weights)}
    np.savez(path, codes=items.codes, first_of=encoded.first_of, fields=np.array(encoded.fields), **weights)
    return {"encode_s": seconds, "columns": items.num_fields, "bound": min(simple, neighbour) / items.total}


def run(table: str, rows: int, planner: str, path: str, rounds: int) -> dict[str, Any]:
    """Hit share, median seconds and growth of memory; just-in-time compilation apart."""
    with np.load(path) as stored:
        items = Items(stored["codes"], tuple(stored[f"weights_{f}"] for f in range(stored["codes"].shape[1])))
        fields, first_of = stored["fields"].tolist(), stored["first_of"]
    dependent = [[fields.index(name) for name in group] for group in tables.DEPENDENT.get(table, ())]
    planners: dict[str, Callable[[], Order | Plan]] = {
        "as_is": lambda: as_is(items),
        "sorted": lambda: sorted_rows(items),
        "v1": lambda: v1_rule(items),
        "ggr": lambda: ggr(items, dependent),
        "paceline": lambda: plan(items),
    }
    began = time.perf_counter()
    plan(_warm_up())
    compile_s = time.perf_counter() - began
    resident = resident_bytes()
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    seconds, planned = _timed(planners[planner], rounds)
    growth = max(0, _peak_bytes() - resident)
    hits = evaluate(items, *_arrays(planned), PREVIOUS_ROW)
    found = {"hit": hits / items.total, "seconds": seconds, "rss_mb": growth / 2**20, "compile_s": compile_s}
    if planner == "ggr":
        found |= {
            "seconds": _published_seconds(tables.make(table, rows).take(first_of), table),
            "lean_seconds": seconds,
        }
    return found


def _timed(planner: Callable[[], Order | Plan], rounds: int) -> tuple[float, Order | Plan]:
    seconds = []
    for _ in range(rounds):
        began = time.perf_counter()
        planned = planner()
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds), planned


def _warm_up() -> Items:
    """So small that every policy runs on it, and no bound is near."""
    codes = np.random.default_rng(0).integers(0, 3, (9, 4)).astype(np.int32)
    return Items(codes, tuple(np.array([3.0, 5.0, 9.0]) for _ in range(4)))


def _arrays(planned: Order | Plan) -> tuple[Any, Any, Any]:
    if isinstance(planned, Order):
        return planned.rows, planned.permutations, planned.permutation_of
    rows, fields_of = planned
    number = {fields: i for i, fields in enumerate(dict.fromkeys(fields_of))}
    permutation_of = np.fromiter((number[fields] for fields in fields_of), np.int32, len(fields_of))
    return np.array(rows), np.array(list(number), np.int16), permutation_of


def _published_seconds(made: pa.Table, table: str) -> float:
    """Of the published steps, from a frame of texts that is at hand."""
    from benchmarks.relational.published import frame_of, published_ggr  # pandas is no part of the other planners

    texts = {name: [cell_text(name, value) for value in made[name].to_pylist()] for name in made.column_names}
    frame = frame_of(texts, tables.DEPENDENT.get(table, ()))
    began = time.perf_counter()
    published_ggr(frame)
    return time.perf_counter() - began


def _peak_bytes() -> int:
    status = Path("/proc/self/status").read_text()
    return 1024 * int(status.partition("VmHWM:")[2].split()[0])


if __name__ == "__main__":
    serve({"prepare": prepare, "run": run})
