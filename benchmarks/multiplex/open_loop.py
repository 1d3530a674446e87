"""Goodput over offered rate: the same arrivals for every arm, deadlines from the intended arrival."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from typing import Any, Final

from benchmarks.common.cells import Cells
from benchmarks.common.intervals import percentile
from benchmarks.common.rounds import interleaved, rotated
from benchmarks.multiplex.arms import Arm, opened
from benchmarks.multiplex.drive import Inputs, Run, check, closed_loop, make_inputs, open_loop
from benchmarks.multiplex.nets import example, make
from benchmarks.multiplex.protocol import GOAL_SLO, LOOP, MIXES, NUM_TENANTS, OURS, SERVED_NET, SLOS, Protocol
from benchmarks.multiplex.traffic import LARGE_ROWS, calls

IN_FLIGHT: Final = 4  # per tenant, where capacity is measured: queues are never empty, batches of one model form
_WIDTH: Final = 64
_SOLO_S: Final = 0.3  # of measuring a request alone
_WARM_UP: Final = 0.2


def measure_open_loop(cells: Cells, protocol: Protocol) -> None:
    """First what every arm can do at most and what a request alone takes, then every mix, SLO and rate."""
    missing = [place for place in _places(protocol) if cells.get(_name(*place)) is None]
    if not missing:
        return
    models, shown = make(SERVED_NET, _WIDTH, NUM_TENANTS), example(SERVED_NET, _WIDTH)
    inputs = make_inputs(models, shown)
    with opened(models, shown, max_rows=LARGE_ROWS) as arms:
        for arm in arms.values():
            check(arm, inputs)
        if cells.get("open/capacity") is None:
            cells.put("open/capacity", _capacity(arms, inputs, protocol))
        capacity = cells.get("open/capacity")
        for turn, (mix, slo_x) in enumerate(missing):
            cells.put(_name(mix, slo_x), _sweep(arms, inputs, mix, slo_x, capacity, protocol, turn))


def _places(protocol: Protocol) -> Iterator[tuple[str, float]]:
    for mix in MIXES:
        for slo_x in SLOS if mix in protocol.every_slo else (GOAL_SLO,):
            yield mix, slo_x


def _name(mix: str, slo_x: float) -> str:
    return f"open/run/{mix}/{slo_x:g}"


def _capacity(arms: dict[str, Arm], inputs: Inputs, protocol: Protocol) -> dict[str, Any]:
    rates: dict[str, list[float]] = {name: [] for name in arms}
    for arm in arms.values():
        closed_loop(arm, inputs, in_flight=IN_FLIGHT, seconds=_WARM_UP)
    for _, name in interleaved(list(arms), protocol.serve_rounds):
        rates[name].append(closed_loop(arms[name], inputs, in_flight=IN_FLIGHT, seconds=protocol.serve_s))
    alone = Inputs(inputs.one[:1], inputs.right[:1], {})
    solo_s = 1.0 / closed_loop(arms[LOOP], alone, in_flight=1, seconds=_SOLO_S)
    return {"solo_s": solo_s, "requests_per_s": {name: statistics.median(taken) for name, taken in rates.items()}}


def _sweep(
    arms: dict[str, Arm],
    inputs: Inputs,
    mix: str,
    slo_x: float,
    capacity: dict[str, Any],
    protocol: Protocol,
    turn: int,
) -> list[dict[str, Any]]:
    """A row for each rate, seed and arm."""
    slo_s, most = slo_x * capacity["solo_s"], capacity["requests_per_s"]
    rates = sorted(
        [share * most[LOOP] for share in protocol.rates] + [share * most[OURS] for share in protocol.own_rates]
    )
    rows = []
    for rate in rates:
        for seed in protocol.seeds:
            arrivals = calls(mix, rate, protocol.run_s, NUM_TENANTS, seed=seed)
            for name in rotated(list(arms), turn + seed):
                run = open_loop(arms[name], arrivals, inputs, slo_s=slo_s, seconds=protocol.run_s)
                rows.append({"rate": rate, "seed": seed, "arm": name, **_figures(run)})
    return rows


def _figures(run: Run) -> dict[str, Any]:
    return {
        "goodput": run.goodput,
        "attainment": run.num_in_time / max(1, run.num_calls),
        "p99_s": run.latency_s(0.99),
        "num_wrong": run.num_wrong,
        "lag_p99_s": percentile(sorted(run.lags_s), 0.99) if run.lags_s else 0.0,
    }


def open_loop_rows(cells: Cells) -> list[dict[str, Any]]:
    """Medians over seeds. ``p99_s`` is over the answers that came, None if none did."""
    rows = []
    for name, measured in cells.having("open/run/").items():
        mix, slo_x = name.split("/")
        for rate, arm in dict.fromkeys((row["rate"], row["arm"]) for row in measured):
            found = [row for row in measured if (row["rate"], row["arm"]) == (rate, arm)]
            came = [row["p99_s"] for row in found if row["p99_s"] is not None]
            rows.append(
                {
                    "mix": mix,
                    "slo_x": float(slo_x),
                    "rate": round(rate, 1),
                    "arm": arm,
                    "goodput": round(statistics.median(row["goodput"] for row in found), 1),
                    "p99_s": round(statistics.median(came), 6) if came else None,
                }
            )
    return rows


def overload_rows(cells: Cells) -> list[dict[str, Any]]:
    """At the highest rate of each mix and SLO: goodput, and its share of the most that the arm had at any rate."""
    rows = open_loop_rows(cells)
    found = []
    for mix, slo_x, arm in dict.fromkeys((row["mix"], row["slo_x"], row["arm"]) for row in rows):
        own = [row for row in rows if (row["mix"], row["slo_x"], row["arm"]) == (mix, slo_x, arm)]
        last, peak = max(own, key=lambda row: row["rate"]), max(row["goodput"] for row in own)
        share = round(last["goodput"] / peak, 4) if peak else 0.0
        found.append(
            {"mix": mix, "slo_x": slo_x, "arm": arm, "goodput": last["goodput"], "peak": peak, "share_of_peak": share}
        )
    return found


def serving(cells: Cells) -> dict[str, Any] | None:
    """What the sweep stands on, and whether its generator and all checked answers were right."""
    capacity = cells.get("open/capacity")
    if capacity is None:
        return None
    rows = [row for measured in cells.having("open/run/").values() for row in measured]
    return {
        **capacity,
        "lag_p99_s": statistics.median(row["lag_p99_s"] for row in rows) if rows else None,
        "worst_lag_p99_s": max((row["lag_p99_s"] for row in rows), default=None),
        "num_wrong": sum(row["num_wrong"] for row in rows),
    }
