"""Pictures per second in training: our gates beside learning everything, and our loop beside a plain one."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from msgspec.structs import replace

from benchmarks.common.cells import Cells
from benchmarks.common.rounds import interleaved
from benchmarks.transfer.accuracy import base
from benchmarks.transfer.data import drawn, some
from benchmarks.transfer.intervals import ratio
from benchmarks.transfer.plain import PlainTraining
from benchmarks.transfer.protocol import GATED, GOAL_SHOTS, GOAL_TARGET, Protocol
from benchmarks.transfer.serving import NUM_CLASSES
from benchmarks.transfer.work import Work
from paceline.transfer.backbone.backbone import Preprocessing, build
from paceline.transfer.backbone.load import Base
from paceline.transfer.compare import CEILING
from paceline.transfer.fit.numerics import Numerics
from paceline.transfer.fit.options import FitOptions
from paceline.transfer.fit.trainer import fit
from paceline.transfer.methods import METHODS
from paceline.transfer.pictures.pictures import Pictures

LARGE_BATCH = 16
PLAIN = "plain torch"


def measure_speed(work: Work) -> None:
    if work.cells.get("speed/small") is None:
        work.cells.put("speed/small", _small(work.protocol))
    if work.cells.get("speed/large") is None:
        work.cells.put("speed/large", _large(work.protocol))


def _small(protocol: Protocol) -> dict[str, list[float]]:
    train = some(drawn(GOAL_TARGET, GOAL_SHOTS, 0, "train"), protocol.speed_pictures)
    arms = {name: lambda name=name: _rate(base(), train, name, 64) for name in (GATED, CEILING)}
    return _rates(arms, protocol.speed_rounds)


def _large(protocol: Protocol) -> dict[str, list[float]]:
    """ResNet-50 with random weights. The plain loop has tensors, ours pictures of bytes that it crops and varies."""
    num, size = protocol.large_pictures, protocol.large_size
    preprocessing = Preprocessing(size=size, resize=size + size // 7)  # 224 of 256
    large = Base(build("resnet50"), "random", "", preprocessing)
    train = _noise(num, preprocessing.resize)
    plain = PlainTraining(NUM_CLASSES, bfloat16=Numerics().bfloat16)
    x = torch.randn(num, 3, size, size).contiguous(memory_format=torch.channels_last)
    labels = torch.from_numpy(train.labels)

    def plain_rate() -> float:
        began = time.monotonic()
        plain.epoch(x, labels, LARGE_BATCH)
        return num / (time.monotonic() - began)

    arms = {
        GATED: lambda: _rate(large, train, GATED, LARGE_BATCH),
        CEILING: lambda: _rate(large, train, CEILING, LARGE_BATCH),
        PLAIN: plain_rate,
    }
    return _rates(arms, protocol.large_rounds)


def _rate(base: Base, train: Pictures, name: str, batch_size: int) -> float:
    """Pictures per second in one epoch of ``fit``, without the head's own, which is the same for all."""
    net = METHODS[name].make(base, len(train.classes))
    val = train.take(np.arange(2))
    options = FitOptions(epochs=1, batch_size=batch_size, check_learning_rate=False)
    without_head = replace(METHODS[name], pretrained=False)
    history = fit(net, train, val, without_head, options, preprocessing=base.preprocessing)
    return len(train) / sum(record.seconds for record in history.epochs)


def _rates(arms: Mapping[str, Callable[[], float]], num_rounds: int) -> dict[str, list[float]]:
    for rate in arms.values():
        rate()  # the first call chooses kernels
    found: dict[str, list[float]] = {name: [] for name in arms}
    for _, name in interleaved(list(arms), num_rounds):
        found[name].append(arms[name]())
    return found


def _noise(num: int, size: int) -> Pictures:
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (num, 3, size, size), np.uint8)
    labels = np.arange(num) % NUM_CLASSES
    classes = tuple(map(str, range(NUM_CLASSES)))
    return Pictures(images, labels, classes, tuple(Path(str(row)) for row in range(num)))


def speed_of(cells: Cells) -> dict[str, Any] | None:
    """Ratios of pictures per second over rounds, and the rates themselves."""
    small, large = cells.get("speed/small"), cells.get("speed/large")
    if small is None or large is None:
        return None
    return {
        "affine_over_full": ratio(small[GATED], small[CEILING]),
        "resnet50_affine_over_full": ratio(large[GATED], large[CEILING]),
        "resnet50_over_plain": ratio(large[GATED], large[PLAIN]),
        "pictures_per_s": {
            **{f"glyphnet {name}": statistics.median(rates) for name, rates in small.items()},
            **{f"resnet50 {name}": statistics.median(rates) for name, rates in large.items()},
        },
    }
