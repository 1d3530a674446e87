"""``exact``: a request's bits alone in the runtime, and again among others at random."""

from __future__ import annotations

import asyncio
import random
from typing import Any, Final

import torch

from benchmarks.common.cells import Cells
from benchmarks.multiplex.arms import Paceline
from benchmarks.multiplex.nets import example, make
from benchmarks.multiplex.protocol import SATURATED, Protocol

_NUM_TENANTS: Final = 8
_ROWS: Final = (1, 2, 3)
_WIDTHS: Final = {"resnet": 16}


def measure_exact(cells: Cells, protocol: Protocol) -> None:
    for net in SATURATED:
        if cells.get(f"exact/{net}") is None:
            cells.put(f"exact/{net}", _measure(net, protocol.num_exact))


def _measure(net: str, num: int) -> dict[str, Any]:
    width = _WIDTHS.get(net, 64)
    models, rng = make(net, width, _NUM_TENANTS), random.Random(5)
    inputs = {(t, rows): example(net, width, rows=rows) for t in range(_NUM_TENANTS) for rows in _ROWS}
    ours = Paceline(models, example(net, width), numerics="exact", max_rows=_ROWS[-1])
    names = list(inputs)
    try:
        alone = {key: asyncio.run(_ask(ours, [(key[0], x)]))[0] for key, x in inputs.items()}
        num_compared = num_equal = 0
        while num_compared < num:
            chosen = rng.sample(names, rng.randint(2, len(names)))
            for key, answer in zip(
                chosen, asyncio.run(_ask(ours, [(key[0], inputs[key]) for key in chosen])), strict=True
            ):
                num_compared += 1
                num_equal += torch.equal(answer, alone[key])
    finally:
        ours.close()
    return {"num_compared": num_compared, "num_equal": num_equal}


async def _ask(arm: Paceline, requests: list[tuple[int, torch.Tensor]]) -> list[Any]:
    return list(await asyncio.gather(*(arm.infer(tenant, x) for tenant, x in requests)))


def exact_rows(cells: Cells) -> list[dict[str, Any]]:
    return [{"net": net, **cell} for net, cell in cells.having("exact/").items()]
