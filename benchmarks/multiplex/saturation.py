"""Behind the front end at saturation: requests per second of every arm, in turns."""

from __future__ import annotations

import statistics
from typing import Any, Final

from benchmarks.common.cells import Cells
from benchmarks.common.intervals import bootstrap_ratio
from benchmarks.common.rounds import interleaved
from benchmarks.multiplex.arms import opened
from benchmarks.multiplex.drive import check, closed_loop, closed_loop_many, make_inputs
from benchmarks.multiplex.nets import example, make
from benchmarks.multiplex.protocol import NUM_TENANTS, OURS, SATURATED, Protocol

HOWS: Final = ("infer", "infer_many")
_WARM_UP: Final = 0.3  # of a round's time
_WIDTHS: Final = {"resnet": 16}


def measure_saturation(cells: Cells, protocol: Protocol) -> None:
    """One row in flight per tenant. Only throughput counts here, so the peers' answers wait as long as there is more to do."""
    for net in SATURATED:
        if cells.get(f"saturation/{net}") is None:
            cells.put(f"saturation/{net}", _measure(net, protocol))


def _measure(net: str, protocol: Protocol) -> dict[str, Any]:
    width = _WIDTHS.get(net, 64)
    models, shown = make(net, width, NUM_TENANTS), example(net, width)
    inputs = make_inputs(models, shown)
    found: dict[str, dict[str, list[float]]] = {how: {} for how in HOWS}
    with opened(models, shown, patience_s=float("inf")) as arms:
        differences = {name: check(arm, inputs) for name, arm in arms.items()}
        for arm in arms.values():
            closed_loop(arm, inputs, in_flight=1, seconds=_WARM_UP * protocol.serve_s)
        for _, name in interleaved(list(arms), protocol.serve_rounds):
            rates = (
                closed_loop(arms[name], inputs, in_flight=1, seconds=protocol.serve_s),
                closed_loop_many(arms[name], inputs, seconds=protocol.serve_s),
            )
            for how, rate in zip(HOWS, rates, strict=True):
                found[how].setdefault(name, []).append(rate)
    return {"rates": found, "max_diff": differences}


def saturation_rows(cells: Cells) -> list[dict[str, Any]]:
    """``requests_per_s``: the median over rounds; ``over_best_peer`` with its interval in our rows."""
    rows = []
    for net, cell in cells.having("saturation/").items():
        for how, rates in cell["rates"].items():
            for arm, taken in rates.items():
                row = {"net": net, "how": how, "arm": arm, "requests_per_s": round(statistics.median(taken), 1)}
                rows.append(row | (_over_best(rates) if arm == OURS else {}))
    return rows


def _over_best(rates: dict[str, list[float]]) -> dict[str, Any]:
    peers = {arm: statistics.median(taken) for arm, taken in rates.items() if arm != OURS}
    best = max(peers, key=peers.__getitem__)
    ratio = bootstrap_ratio(rates[OURS], rates[best])
    return {
        "best_peer": best,
        "over_best_peer": round(ratio.value, 4),
        "low": round(ratio.low, 4),
        "high": round(ratio.high, 4),
    }
