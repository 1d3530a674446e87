"""What the runtime itself costs: time per request and per launch beyond the launches and an empty front end."""

from __future__ import annotations

import asyncio
import time
from typing import Any, Final

import numpy as np
import torch

from benchmarks.common.cells import Cells
from benchmarks.multiplex.arms import Arm, Paceline, undisturbed
from benchmarks.multiplex.nets import make
from benchmarks.multiplex.peers import Echo, FrontEnd
from benchmarks.multiplex.protocol import Protocol

SIZES: Final = (1, 2, 4, 8, 16, 32)  # requests that come together
_WIDTH: Final = 8  # of the models: what they compute is nothing
_ROUND_S: Final = 0.04


def measure_overhead(cells: Cells, protocol: Protocol) -> None:
    """Groups of 1 to 32 requests, each for a tenant of its own, one group after another through both front ends in turns."""
    if cells.get("overhead") is not None:
        return
    models = make("mlp", _WIDTH, SIZES[-1])
    ours, empty = Paceline(models, torch.zeros(1, _WIDTH)), FrontEnd([Echo()], patience_s=float("inf"))
    points = []
    try:
        with undisturbed():
            for turn in range(1 + protocol.num_rounds):
                for size in SIZES:
                    hop_s = asyncio.run(_group_s(empty, size))[0]
                    before = ours.runtime.stats()
                    seconds, num_groups = asyncio.run(_group_s(ours, size))
                    after = ours.runtime.stats()
                    launches = (after.num_launches - before.num_launches) / num_groups
                    launch_s = (after.launch_time_s - before.launch_time_s) / num_groups
                    if turn:
                        points.append(
                            {"size": size, "launches": launches, "own_s": seconds - launch_s - hop_s, "hop_s": hop_s}
                        )
    finally:
        ours.close()
        empty.close()
    cells.put("overhead", points)


async def _group_s(arm: Arm, size: int) -> tuple[float, int]:
    """Seconds of a group, and how many there were."""
    x = torch.zeros(1, _WIDTH)
    tenants = range(size)
    await asyncio.gather(*(arm.infer(tenant, x) for tenant in tenants))
    count, began = 0, time.perf_counter()
    while time.perf_counter() < began + _ROUND_S:
        await asyncio.gather(*(arm.infer(tenant, x) for tenant in tenants))
        count += 1
    return (time.perf_counter() - began) / count, count


def overhead(cells: Cells) -> dict[str, Any] | None:
    """Microseconds; a plane through the medians of the groups."""
    points = cells.get("overhead")
    if not points:
        return None
    medians = []
    for size in SIZES:
        own = [point for point in points if point["size"] == size]
        medians.append([float(np.median([point[key] for point in own])) for key in ("launches", "own_s", "hop_s")])
    launches, own_s, hop_s = np.array(medians).T
    columns = np.column_stack([launches, SIZES])
    (per_launch, per_request), *_ = np.linalg.lstsq(columns, own_s, rcond=None)
    hop = np.polyfit(SIZES, hop_s, 1)[0]
    return {
        "us_per_request": round(1e6 * float(per_request), 2),
        "us_per_launch": round(1e6 * float(per_launch), 2),
        "hop_us_per_request": round(1e6 * float(hop), 2),
        "launches_per_group": {str(size): round(float(count), 3) for size, count in zip(SIZES, launches, strict=True)},
    }
