"""Methods, targets, shots and seeds: how right each network is in the end, and what that took."""

from __future__ import annotations

import functools
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.common.cells import Cells
from benchmarks.transfer.data import data
from benchmarks.transfer.intervals import bootstrap_gap, mean_interval
from benchmarks.transfer.protocol import GATED, GOAL_SHOTS, GOAL_TARGET, Protocol, Run
from benchmarks.transfer.work import Job, Work
from paceline.transfer.adapted import AdaptedNet
from paceline.transfer.adapter import DESCRIPTION, AdapterInfo, load_adapter, save_adapter
from paceline.transfer.backbone.load import Base, load_backbone
from paceline.transfer.compare import CEILING, FLOOR, gap_closed
from paceline.transfer.evaluate import evaluate
from paceline.transfer.fit.options import FitOptions
from paceline.transfer.fit.trainer import fit
from paceline.transfer.methods import METHODS


@functools.cache
def base() -> Base:
    """The packaged network; nobody changes it."""
    return load_backbone()


def options(protocol: Protocol, seed: int) -> FitOptions:
    """What a user gets who says nothing, for every method."""
    return FitOptions(epochs=protocol.epochs, seed=seed)


def measure_accuracy(work: Work) -> None:
    work.fill(Job(run.name, learn, (work.protocol, run, work.folder)) for run in work.protocol.runs())


def make_nets(work: Work) -> None:
    """Sees to it that the networks which are masked and cut are there, also if accuracy was not asked for."""
    runs = [net_run(work.protocol, seed) for seed in work.protocol.net_seeds]
    missing = [run for run in runs if not (place_of(work.folder, run) / DESCRIPTION).exists()]
    for _ in work.done([Job(run.name, learn, (work.protocol, run, work.folder)) for run in missing]):
        pass


def net_run(protocol: Protocol, seed: int) -> Run:
    return Run(GOAL_TARGET, protocol.net_shots, seed, GATED)


def place_of(folder: Path, run: Run) -> Path:
    return folder / f"{run.target}-{run.shots}-{run.seed}-{run.method}"


def learn(protocol: Protocol, run: Run, folder: Path) -> dict[str, Any]:
    """Trains one network and judges it; keeps it if others need it."""
    sets = data(protocol, run.target, run.shots, run.seed)
    method, own = METHODS[run.method], options(protocol, run.seed)
    net = method.make(base(), len(sets.train.classes), seed=run.seed)
    history = fit(net, sets.train, sets.val, method, own, preprocessing=base().preprocessing)
    judged = evaluate(net, sets.test, base().preprocessing)
    if run == net_run(protocol, run.seed):
        save_adapter(place_of(folder, run), net, _info(net, sets.train.classes), dtype="float32")
    return {
        "top1": judged.top1,
        "macro_f1": judged.macro_f1,
        "ece": judged.ece,
        "num_trained": history.num_trained,
        "seconds": history.seconds,
        "learning_rate": history.learning_rate,
        "best_epoch": history.best_epoch,
        "head_epochs": own.head_epochs if method.pretrained else 0,
        "val_top1": [record.val_top1 for record in history.epochs],
    }


def _info(net: AdaptedNet, classes: tuple[str, ...]) -> AdapterInfo:
    return AdapterInfo(
        arch=base().backbone.arch,
        base_name=base().name,
        base_sha256=base().sha256,
        gate=net.gate,
        from_stage=net.from_stage,
        preprocessing=base().preprocessing,
        classes=classes,
    )


def kept_net(protocol: Protocol, seed: int, folder: Path) -> AdaptedNet:
    """One that ``make_nets`` made."""
    return load_adapter(place_of(folder, net_run(protocol, seed)), base())[0]


# -- what the cells say --------------------------------------------------------------------------------------------------


def accuracy_rows(cells: Cells) -> list[dict[str, Any]]:
    """One for each run. ``gap_closed`` is within the run's own seed; the goals use that of the means, see ``gap_rows``."""
    found = {_run(name): cell for name, cell in cells.having("accuracy/").items()}
    rows = []
    for run, cell in sorted(found.items()):
        ends = [found.get(run._replace(method=name)) for name in (FLOOR, CEILING)]
        gap = None if None in ends else gap_closed(cell["top1"], ends[0]["top1"], ends[1]["top1"])  # type: ignore[index]
        rows.append(
            {
                "target": run.target,
                "shots": run.shots,
                "seed": run.seed,
                "method": run.method,
                "test_top1": cell["top1"],
                "trainable": cell["num_trained"],
                "seconds": cell["seconds"],
                "gap_closed": gap,
            }
        )
    return rows


def gap_rows(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """One for each target, shots and method: means over seeds with 95 % intervals, and the gap that the means close.

    ``over_probe`` and ``over_full`` are mean differences of the same seeds (Student's interval, as of the mean).
    """
    by: dict[tuple[str, int, str], dict[int, dict[str, Any]]] = {}
    for row in rows:
        by.setdefault((row["target"], row["shots"], row["method"]), {})[row["seed"]] = row
    made = []
    for (target, shots, method), seeds in by.items():
        ends = [by.get((target, shots, name), {}) for name in (FLOOR, CEILING)]
        common = sorted(seeds.keys() & ends[0].keys() & ends[1].keys())
        own, floor, ceiling = ([each[seed]["test_top1"] for seed in common] for each in (seeds, *ends))
        made.append(
            {
                "target": target,
                "shots": shots,
                "method": method,
                "num_seeds": len(seeds),
                "trainable": next(iter(seeds.values()))["trainable"],
                "seconds": statistics.fmean(row["seconds"] for row in seeds.values()),
                "test_top1": mean_interval([row["test_top1"] for row in seeds.values()]),
                "gap_closed": bootstrap_gap(own, floor, ceiling),
                "over_probe": mean_interval([a - b for a, b in zip(own, floor, strict=True)]),
                "over_full": mean_interval([a - b for a, b in zip(own, ceiling, strict=True)]),
            }
        )
    return made


@dataclass(frozen=True, slots=True)
class Reached:
    """Epochs until validation is at ``SHARE`` of its accuracy in the end: for the first time, and for good."""

    first: int
    stays: int


SHARE = 0.95


def reached(val_top1: Sequence[float], best_epoch: int, head_epochs: int) -> Reached:
    """Passes over the pictures, the head's included. The end is the epoch whose weights are kept.

    >>> reached([0.7, 0.5, 0.6, 0.71, 0.72], best_epoch=4, head_epochs=2)
    Reached(first=2, stays=5)
    >>> reached([0.1, 0.6, 0.72], best_epoch=3, head_epochs=0)  # without a head of its own, the first is epoch 1
    Reached(first=3, stays=3)
    """
    before = 0 if head_epochs else 1
    level = SHARE * val_top1[best_epoch - before]
    good = [place for place, value in enumerate(val_top1) if value >= level]
    bad = [place for place, value in enumerate(val_top1[: best_epoch - before]) if value < level]
    stays = bad[-1] + 1 if bad else 0
    return Reached(good[0] + head_epochs + before, stays + head_epochs + before)


def epochs_rows(cells: Cells) -> dict[str, dict[str, float]]:
    """Means over the seeds of the goal's target and shots, by method."""
    found: dict[str, list[Reached]] = {}
    for name, cell in cells.having(f"accuracy/{GOAL_TARGET}/{GOAL_SHOTS}/").items():
        one = reached(cell["val_top1"], cell["best_epoch"], cell["head_epochs"])
        found.setdefault(name.split("/")[1], []).append(one)
    return {
        method: {key: statistics.fmean(getattr(one, key) for one in each) for key in ("first", "stays")}
        for method, each in found.items()
    }


def _run(name: str) -> Run:
    target, shots, seed, method = name.split("/")
    return Run(target, int(shots), int(seed), method)
