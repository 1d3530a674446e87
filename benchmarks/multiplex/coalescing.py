"""``coalesce``: whole models without a scheduler, adapters over one base, and a model that has nothing to gain."""

from __future__ import annotations

from typing import Any

import torch

from benchmarks.common.cells import Cells
from benchmarks.common.intervals import bootstrap_ratio
from benchmarks.multiplex.nets import RESNET_50, example, make, own
from benchmarks.multiplex.offline import Compared, compare, max_diff, median_seconds, paceline, time_arms
from benchmarks.multiplex.protocol import LOOP, OURS, Cell, Protocol
from paceline.multiplex.architectures import Network, build

NUM_ADAPTED = 8
BASE = "base"  # one batch of all rows through the base alone
_PIXELS, _LARGE_PIXELS = 32, 224


def measure_coalesce(cells: Cells, protocol: Protocol) -> None:
    for cell in protocol.cells:
        if cells.get(f"coalesce/{cell.name}") is None:
            cells.put(f"coalesce/{cell.name}", _measure(cell, protocol))


def _measure(cell: Cell, protocol: Protocol) -> dict[str, Any]:
    models = make(cell.net, cell.width, cell.num, weights=cell.weights)
    inputs = [example(cell.net, cell.width) for _ in models]
    arms = [LOOP, "vmap", OURS]
    if cell.weights == "shared":
        arms.append("batching")
    if protocol.compiled:
        arms.append("compile")
    return compare(models, inputs, arms, num_rounds=protocol.num_rounds, round_s=protocol.round_s).as_cell()


def measure_adapters(cells: Cells, protocol: Protocol) -> None:
    """Eight tenants with an adapter each over one ResNet, one row each: one after another, together, the base alone."""
    if cells.get("adapters") is not None:
        return
    torch.manual_seed(0)
    base = own(build("resnet"))
    assert isinstance(base, Network)
    models = [build("adapted", base=base) for _ in range(NUM_ADAPTED)]
    inputs = [torch.randn(1, 3, _PIXELS, _PIXELS) for _ in models]
    found = Compared()
    with torch.inference_mode():
        together, batch = paceline(models, inputs[0]), torch.cat(inputs)
        expected = [model(x) for model, x in zip(models, inputs, strict=True)]
        found.max_diff = {OURS: max_diff(together(inputs), expected)}
        calls = {
            LOOP: lambda: [model(x) for model, x in zip(models, inputs, strict=True)],
            BASE: lambda: base(batch),
            OURS: lambda: together(inputs),
        }
        time_arms(calls, found, 2 * protocol.num_rounds, 5 * protocol.round_s)
    cells.put("adapters", found.as_cell())


def measure_large(cells: Cells, protocol: Protocol) -> None:
    """ResNet-50 with different weights at 224 pixels: the cores have all they can do already."""
    if cells.get("large") is not None:
        return
    torch.manual_seed(0)
    models = [own(build("resnet", **RESNET_50)) for _ in range(protocol.num_large)]
    inputs = [torch.randn(1, 3, _LARGE_PIXELS, _LARGE_PIXELS) for _ in models]
    cells.put(
        "large", compare(models, inputs, (LOOP, OURS), num_rounds=protocol.num_large_rounds, round_s=0.0).as_cell()
    )


def coalesce_rows(cells: Cells) -> list[dict[str, Any]]:
    """``seconds`` are those of all R models together, the median over rounds."""
    rows = []
    for name, cell in cells.having("coalesce/").items():
        net, width, num, weights = name.split("/")
        head = {"net": net, "width": int(width), "R": int(num), "weights": weights}
        rows += [
            {**head, "arm": arm, "seconds": median_seconds(cell, arm), "max_diff": cell["max_diff"][arm]}
            for arm in cell["seconds"]
        ]
    return rows


def gains(cells: Cells) -> list[dict[str, Any]]:
    """Every other arm's time over ours, with the interval over rounds."""
    found = []
    for section in ("micro/", "coalesce/"):
        found += [
            {"cell": section + name, **gain} for name, cell in cells.having(section).items() for gain in over(cell)
        ]
    for name in ("adapters", "large"):
        found += [{"cell": name, **gain} for gain in over(cells.get(name) or {"seconds": {}})]
    return found


def over(cell: dict[str, Any]) -> list[dict[str, Any]]:
    ours = cell["seconds"].get(OURS)
    ratios = {arm: bootstrap_ratio(taken, ours) for arm, taken in cell["seconds"].items() if ours and arm != OURS}
    return [
        {"arm": arm, "ratio": round(ratio.value, 4), "low": round(ratio.low, 4), "high": round(ratio.high, 4)}
        for arm, ratio in ratios.items()
    ]


def single_row(cells: Cells, name: str) -> dict[str, Any] | None:
    """Seconds by arm and differences of the adapters or of the large model."""
    cell = cells.get(name)
    if cell is None:
        return None
    return {"seconds": {arm: median_seconds(cell, arm) for arm in cell["seconds"]}, "max_diff": cell["max_diff"]}
