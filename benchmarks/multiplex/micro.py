"""The paper's kernels: R matrix products of one shape, each with matrices of its own, or with one matrix for all."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.common.cells import Cells
from benchmarks.multiplex.offline import compare, median_seconds
from benchmarks.multiplex.protocol import GEMMS, LOOP, OURS, SHARED, Protocol

_ARMS = (LOOP, "threads", "vmap", OURS)


def measure_micro(cells: Cells, protocol: Protocol) -> None:
    """A cell for each shape and number of products; on a CPU in float32."""
    for shape in GEMMS:
        for ending in ("", SHARED):
            for num in protocol.nums:
                name = f"micro/{shape}{ending}/{num}"
                if cells.get(name) is None:
                    cells.put(name, _measure(shape, num, shared=bool(ending), protocol=protocol))


def _measure(shape: str, num: int, *, shared: bool, protocol: Protocol) -> dict[str, Any]:
    models, inputs = products(shape, num, shared=shared)
    arms = (*_ARMS, "batching") if shared else _ARMS
    found = compare(models, inputs, arms, num_rounds=protocol.num_rounds, round_s=protocol.round_s)
    return found.as_cell()


def products(shape: str, num: int, *, shared: bool = False) -> tuple[list[nn.Module], list[Tensor]]:
    """M × N × K as a linear layer from K to M features for N rows."""
    features, rows, inner = GEMMS[shape]
    torch.manual_seed(0)
    models: list[nn.Module] = [nn.Linear(inner, features, bias=False).eval() for _ in range(1 if shared else num)]
    return models * num if shared else models, [torch.randn(rows, inner) for _ in range(num)]


def micro_rows(cells: Cells) -> list[dict[str, Any]]:
    """``seconds`` are those of all R products together, the median over rounds."""
    rows = []
    for name, cell in cells.having("micro/").items():
        shape, _, num = name.rpartition("/")
        rows += [
            {"shape": shape, "R": int(num), "arm": arm, "seconds": median_seconds(cell, arm)} for arm in cell["seconds"]
        ]
    return rows
