"""Networks cut to a share of their multiplications: what is lost before and after healing, and what is gained in time."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any

import torch
from torch import nn

from benchmarks.common.cells import Cells
from benchmarks.transfer.accuracy import base, kept_net, make_nets
from benchmarks.transfer.clock import seconds_of
from benchmarks.transfer.data import data, some
from benchmarks.transfer.intervals import ratio
from benchmarks.transfer.protocol import GOAL_TARGET, Protocol
from benchmarks.transfer.work import Job, Work
from paceline.transfer.batches import Labelled
from paceline.transfer.evaluate import evaluate
from paceline.transfer.fold import fold
from paceline.transfer.prune.cost import num_macs, num_parameters
from paceline.transfer.prune.cut import PruneOptions
from paceline.transfer.prune.gradual import prune_further, rounds
from paceline.transfer.prune.pruned import PrunedInfo, load_pruned, save_pruned
from paceline.transfer.shrink import healed

WHOLE = 1.0
_FILE = "pruned.safetensors"


def measure_pruning(work: Work) -> None:
    make_nets(work)
    jobs = [
        Job(f"pruning/{share:g}/{seed}", whole if share == WHOLE else cut, (work.protocol, share, seed, work.folder))
        for seed in work.protocol.cut_seeds
        for share in (*sorted(work.protocol.cut_shares), WHOLE)
    ]
    work.fill(jobs)
    if work.cells.get("pruned-latency") is None:  # on a machine that does nothing else
        work.cells.put("pruned-latency", _latencies(work))


def cut(protocol: Protocol, share: float, seed: int, folder: Path) -> dict[str, Any]:
    """One network cut to ``share`` of its multiplications, in rounds; before and after it has learned back from the last."""
    sets, preprocessing = data(protocol, GOAL_TARGET, protocol.net_shots, seed), base().preprocessing
    net = fold(kept_net(protocol, seed, folder))
    batches = Labelled(some(sets.train, protocol.num_ranked), preprocessing)
    before, after = 0.0, net
    for part in rounds(share):
        after = prune_further(after, net, batches, PruneOptions(macs=part))
        before = evaluate(after, sets.test, preprocessing).top1
        healed(after, net, sets.train, preprocessing, num_epochs=protocol.heal_epochs, seed=seed)
    return {
        "whole": evaluate(net, sets.test, preprocessing).top1,
        "before": before,
        "after": evaluate(after, sets.test, preprocessing).top1,
        **_kept(protocol, after, share, seed, folder),
    }


def whole(protocol: Protocol, share: float, seed: int, folder: Path) -> dict[str, Any]:
    """The network that nothing is cut from, beside which the others are timed."""
    net = fold(kept_net(protocol, seed, folder))
    top1 = evaluate(net, data(protocol, GOAL_TARGET, protocol.net_shots, seed).test, base().preprocessing).top1
    return {"whole": top1, "before": top1, "after": top1, **_kept(protocol, net, share, seed, folder)}


def _kept(protocol: Protocol, net: nn.Module, share: float, seed: int, folder: Path) -> dict[str, Any]:
    """Saves it, and says how large it is."""
    place, preprocessing = _place(folder, share, seed), base().preprocessing
    classes = data(protocol, GOAL_TARGET, protocol.net_shots, seed).train.classes
    save_pruned(place, net, PrunedInfo(arch=base().backbone.arch, classes=classes, preprocessing=preprocessing))
    return {
        "macs": num_macs(net, _example(1)),
        "parameters": num_parameters(net),
        "bytes": (place / _FILE).stat().st_size,
    }


def _place(folder: Path, share: float, seed: int) -> Path:
    return folder / f"pruned-{share:g}-{seed}"


def _example(num_rows: int) -> torch.Tensor:
    preprocessing = base().preprocessing
    size = (preprocessing.size, preprocessing.size)
    return torch.randn(num_rows, preprocessing.channels, *size, generator=torch.Generator().manual_seed(0))


def _latencies(work: Work) -> dict[str, list[float]]:
    """Seconds of a batch by share, round by round, of the networks of the first seed."""
    protocol = work.protocol
    shares = (WHOLE, *protocol.cut_shares)
    nets = {f"{share:g}": load_pruned(_place(work.folder, share, protocol.cut_seeds[0]))[0] for share in shares}
    x = _example(protocol.batch_size)
    with torch.inference_mode():
        return seconds_of({name: lambda net=net: net(x) for name, net in nets.items()}, protocol.num_rounds)  # type: ignore[misc]


def pruning_rows(cells: Cells) -> list[dict[str, Any]]:
    """One for each share of multiplications, means over seeds; ``speed_up`` is the whole network's time over its own."""
    by_share: dict[str, list[dict[str, Any]]] = {}
    for name, cell in cells.having("pruning/").items():
        by_share.setdefault(name.split("/")[0], []).append(cell)
    timed = cells.get("pruned-latency") or {}
    rows = []
    for share, some_ in sorted(by_share.items(), reverse=True):
        means = {key: statistics.fmean(cell[key] for cell in some_) for key in ("whole", "before", "after")}
        own = timed.get(share)
        rows.append(
            {
                "macs": float(share),
                "before_heal": means["before"],
                "after_heal": means["after"],
                "latency_ms": own and 1e3 * statistics.median(own),
                "bytes": round(statistics.fmean(cell["bytes"] for cell in some_)),
                "lost": means["whole"] - means["after"],
                "speed_up": own and ratio(timed[f"{WHOLE:g}"], own),
                "num_macs": round(statistics.fmean(cell["macs"] for cell in some_)),
                "num_seeds": len(some_),
            }
        )
    return rows
