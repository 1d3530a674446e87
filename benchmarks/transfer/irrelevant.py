"""Channels that are known to say nothing of the class, see ``training.vision.planted``: which criteria find them?"""

from __future__ import annotations

import statistics
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.common.cells import Cells
from benchmarks.transfer.accuracy import base, options
from benchmarks.transfer.data import pictures
from benchmarks.transfer.intervals import mean_interval
from benchmarks.transfer.protocol import GATED, Protocol
from benchmarks.transfer.work import Job, Work
from paceline.transfer.backbone.load import Base, fingerprint
from paceline.transfer.batches import Labelled
from paceline.transfer.criteria import CRITERIA
from paceline.transfer.embedded.targets import Split, load_target
from paceline.transfer.evaluate import evaluate
from paceline.transfer.fit.trainer import fit
from paceline.transfer.methods import METHODS
from paceline.transfer.pictures.pictures import Pictures
from paceline.transfer.rank import rank
from paceline.transfer.ranking import Ranking
from training.vision.planted import PREPROCESSING, plant, recall, with_distractor

TARGET = "procedural"
SHARES = {"half": 1 / 2, "third": 1 / 3}  # of a unit's channels, the lowest ones; a third of them is planted
_SPLITS: tuple[Split, ...] = ("train", "val", "test")


def measure_irrelevant(work: Work) -> None:
    seeds = work.protocol.planted_seeds
    work.fill(Job(f"irrelevant/{seed}", find, (work.protocol, seed)) for seed in seeds)


def find(protocol: Protocol, seed: int) -> dict[str, Any]:
    """Adapts the network with planted channels, and looks for them by every criterion."""
    planted = plant(base().backbone, seed, protocol.num_measured)
    wide = Base(planted.backbone, "planted", fingerprint(planted.backbone), PREPROCESSING)
    train, val, test = (_drawn(protocol, seed, split) for split in _SPLITS)
    method = METHODS[GATED]
    net = method.make(wide, len(train.classes), seed=seed)
    fit(net, train, val, method, options(protocol, seed), preprocessing=PREPROCESSING)
    batches = Labelled(train, PREPROCESSING)
    return {
        "top1": evaluate(net, test, PREPROCESSING).top1,
        "recall": {
            name: {
                key: recall(_arrays(rank(net, batches, name, seed=seed)), planted, share)
                for key, share in SHARES.items()
            }
            for name in CRITERIA
        },
    }


def _drawn(protocol: Protocol, seed: int, split: Split) -> Pictures:
    shots = {"train": protocol.net_shots, "val": protocol.val_shots, "test": protocol.test_shots}
    target = load_target(TARGET, shots[split], seed, split)
    place = _SPLITS.index(split)
    images = with_distractor(target.images, seed=3 * seed + place)
    return pictures(target._replace(images=images), f"planted/{split}/{seed}")


def _arrays(ranking: Ranking) -> dict[str, NDArray[np.float64]]:
    return {unit: np.array(scores) for unit, scores in ranking.scores.items()}


def irrelevant_recall(cells: Cells) -> dict[str, Any] | None:
    """By criterion, means over seeds with their intervals, of the lowest half and the lowest third; by chance that share itself."""
    found = list(cells.having("irrelevant/").values())
    if not found:
        return None
    by_criterion = {
        name: {key: mean_interval([cell["recall"][name][key] for cell in found]) for key in SHARES}
        for name in found[0]["recall"]
    }
    top1 = statistics.fmean(cell["top1"] for cell in found)
    return {"by_criterion": by_criterion, "test_top1": top1, "num_seeds": len(found)}
