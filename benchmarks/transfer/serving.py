"""Eight adapters over one base: mixed in one batch, in eight batches, the base alone; and folding, which must change no answer."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.common.cells import Cells
from benchmarks.transfer.accuracy import base
from benchmarks.transfer.clock import seconds_of
from benchmarks.transfer.intervals import ratio
from benchmarks.transfer.protocol import GATED, NUM_MIXED
from benchmarks.transfer.work import Work
from paceline.errors import ConfigError
from paceline.transfer.adapted import AdaptedNet
from paceline.transfer.backbone.backbone import Backbone, build
from paceline.transfer.fold import fold
from paceline.transfer.gates.gate import GATES
from paceline.transfer.tables import AdapterTables

NUM_CLASSES = 20
_MOVE = 0.1  # standard deviation by which made-up gates are off their start: as much as a training moves them


def moved(backbone: Backbone, gate: str | None, seed: int, num_classes: int = NUM_CLASSES) -> AdaptedNet:
    """An adapted network over the tensors of ``backbone`` whose gates do something."""
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        net = AdaptedNet(backbone.copied(), num_classes, gate)
        for parameter in net.gates.parameters():
            parameter.add_(_MOVE * torch.randn_like(parameter))
    return net.eval().requires_grad_(False)


def relative(found: Tensor, right: Tensor) -> float:
    """The largest difference over the largest number."""
    return float((found - right).abs().max() / right.abs().max())


def measure_serving(work: Work) -> None:
    if work.cells.get("serving") is None:
        work.cells.put("serving", serve(base().backbone, work.protocol.batch_size, work.protocol.num_rounds))


def serve(backbone: Backbone, batch_size: int, num_rounds: int) -> dict[str, Any]:
    """All arms answer the same rows in float32, channels last; the base has norms of its own, which are not folded.

    ``separate``: eight batches through the adapted networks, over one base. ``folded``: through eight folded copies of it, which is quicker
    and takes eight times the memory of a base.
    """
    backbone = backbone.copied().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    nets = [moved(backbone, GATED, seed) for seed in range(NUM_MIXED)]
    names = [str(place % NUM_MIXED) for place in range(batch_size)]
    mixed = AdapterTables(backbone)
    for name, net in enumerate(nets):
        mixed.add(str(name), net)
    plain = moved(backbone, None, 0)
    x = _rows(backbone, batch_size)
    parts = [x[place::NUM_MIXED].contiguous(memory_format=torch.channels_last) for place in range(NUM_MIXED)]
    folded = [fold(net).to(memory_format=torch.channels_last) for net in nets]  # type: ignore[call-overload]
    arms: dict[str, Callable[[], object]] = {
        "base": lambda: plain(x),
        "mixed": lambda: mixed(x, names),
        "separate": lambda: [net(part) for net, part in zip(nets, parts, strict=True)],
        "folded": lambda: [net(part) for net, part in zip(folded, parts, strict=True)],
    }
    with torch.inference_mode():
        right = torch.stack([nets[int(name)](row[None])[0] for name, row in zip(names, x, strict=True)])
        difference = relative(torch.stack(mixed(x, names)), right)
        return {"seconds": seconds_of(arms, num_rounds), "max_rel_diff": difference}


def measure_fold(work: Work) -> None:
    if work.cells.get("fold") is None:
        large = (build("resnet50"), work.protocol.large_size, [GATED])
        small = (base().backbone, base().preprocessing.size, list(GATES))
        work.cells.put("fold", {name: found for each in (small, large) for name, found in _folded(*each)})


def _folded(backbone: Backbone, size: int, gates: list[str]) -> Iterator[tuple[str, float]]:
    """How far the folded network is from the other, by network and kind of gate, of those that can be folded."""
    for gate in gates:
        net: nn.Module = moved(backbone, gate, 0)
        x = _rows(backbone, 4, size)
        try:
            found = fold(net)  # type: ignore[arg-type]
        except ConfigError:  # it depends on its input
            continue
        with torch.inference_mode():
            yield f"{backbone.arch} {gate}", relative(found(x), net(x))


def _rows(backbone: Backbone, num: int, size: int = 64) -> Tensor:
    x = torch.randn(num, backbone.units[0].conv.in_channels, size, size, generator=torch.Generator().manual_seed(1))
    return x.contiguous(memory_format=torch.channels_last)


# -- what the cells say --------------------------------------------------------------------------------------------------


def serving_of(cells: Cells) -> dict[str, Any] | None:
    cell = cells.get("serving")
    if cell is None:
        return None
    ms = {arm: 1e3 * statistics.median(taken) for arm, taken in cell["seconds"].items()}
    return {
        "base_ms": ms["base"],
        "mixed8_ms": ms["mixed"],
        "separate8_ms": ms["separate"],
        "max_rel_diff": cell["max_rel_diff"],
        "separate8_folded_ms": ms["folded"],
        "mixed_over_base": ratio(cell["seconds"]["mixed"], cell["seconds"]["base"]),
        "separate_over_mixed": ratio(cell["seconds"]["separate"], cell["seconds"]["mixed"]),
        "folded_over_mixed": ratio(cell["seconds"]["folded"], cell["seconds"]["mixed"]),
    }


def fold_of(cells: Cells) -> dict[str, Any] | None:
    found = cells.get("fold")
    return found and {"max_rel_diff": max(found.values()), "by_net": found}
