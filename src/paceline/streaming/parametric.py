"""Detectors without pixels: what they would find is drawn from truth, so that hundreds of logs take minutes.

A recall that is logistic in the logarithm of an object's area, and falls with poor light and with what hides it; boxes that are off by a
share of their size; false alarms that stay for some frames. What one detector misses the others are likely to miss, and to
miss again in the next frame. Everything follows from (seed, log, frame, detector).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Final
from zlib import crc32

import numpy as np
from numpy.typing import NDArray
from scipy.signal import lfilter
from scipy.special import expit, logit, ndtr

from paceline.errors import ConfigError
from paceline.streaming.frame import Detections, Floats, Ints, Log, Size
from paceline.streaming.stray import Strays, strays

NOMINAL_AREA: Final = 1280 * 720  # pixels of the picture that areas are given for
MIN_SCORE: Final = 0.4  # the score at which recall is logistic
LEAST: Final = 0.05  # detections of a lower score are not given out
FADE_S: Final = 0.4  # in which a spell of bad luck with one object passes
OWN, SPELL, MOMENT = 0.55, 0.45, 0.5  # parts of luck that all detectors share: the object's, its spells, the frame's
APART: Final = math.sqrt(1 - OWN**2 - SPELL**2 - MOMENT**2)  # and what each has for itself
CONTRAST: Final = {"dusk": -0.4, "night": -1.0, "rain": -0.5}  # added to the logit of recall
HIDDEN: Final = 1.2  # logits lost for each e-fold of what shows
PIXELS_OFF: Final = 0.7  # standard deviation of an edge that does not depend on size, nominal pixels


@dataclass(frozen=True, slots=True, kw_only=True)
class ParametricDetector:
    """One model. Areas are those of a picture of 1280 x 720."""

    name: str
    runtime_s: float
    half_area: float  # px², of which one in two is found
    slope: float = 2.0  # logits for each e-fold of area
    ceiling: float = 3.5  # logits, however large the object
    off: float  # standard deviation of an edge, share of the size
    strictness: float  # logits below which an average stray thing lies
    jitter: float = 0.04  # standard deviation of the logarithm of runtimes


# Runtimes as Octopus (ECCV 2022) measured them; areas halve with the square of EfficientDet's input (896 … 1536 pixels).
LADDER: Final[Mapping[str, ParametricDetector]] = {
    detector.name: detector
    for detector in (
        ParametricDetector(name="D3", runtime_s=0.053, half_area=1000, off=0.060, strictness=1.5),
        ParametricDetector(name="D4", runtime_s=0.074, half_area=700, off=0.055, strictness=1.6),
        ParametricDetector(name="D5", runtime_s=0.125, half_area=380, off=0.050, strictness=1.8),
        ParametricDetector(name="D6", runtime_s=0.159, half_area=300, off=0.048, strictness=1.9),
        ParametricDetector(name="D7", runtime_s=0.212, half_area=200, off=0.045, strictness=2.0),
        ParametricDetector(name="D7x", runtime_s=0.254, half_area=155, off=0.043, strictness=2.1),
    )
}


class ParametricDetections:
    """What every detector of a ladder finds in a log, and how long it takes.

    >>> from paceline.streaming.render import Drive
    >>> found = ParametricDetections(Drive(seed=3, duration_s=1.0).log, seed=0)
    >>> seconds, detections = found("D4", 5)
    >>> 0.06 < seconds < 0.09, len(detections) == len(detections.classes)
    (True, True)
    """

    def __init__(self, log: Log, *, seed: int = 0, ladder: Mapping[str, ParametricDetector] = LADDER) -> None:
        self._ladder = ladder
        self._key = (seed, crc32(log.name.encode()))
        self._scene = _Scene(log, self._key)
        self._size = log.size
        self._kept: dict[str, tuple[Floats, list[Detections]]] = {}

    def __call__(self, detector: str, frame_index: int) -> tuple[float, Detections]:
        """Seconds and detections of one frame."""
        if detector not in self._kept:
            self._kept[detector] = self._all(detector)
        seconds, detections = self._kept[detector]
        return float(seconds[frame_index]), detections[frame_index]

    def _all(self, name: str) -> tuple[Floats, list[Detections]]:
        if name not in self._ladder:
            raise ConfigError(f"unknown detector {name!r}; known: {', '.join(self._ladder)}")
        detector, scene = self._ladder[name], self._scene
        rng = np.random.default_rng([*self._key, crc32(name.encode())])
        seconds = detector.runtime_s * np.exp(detector.jitter * rng.normal(size=scene.num_frames))
        objects = _off(rng, detector, scene.boxes, scene.scale), scene.logits(rng, detector), scene.classes
        found = scene.strays.logits(rng, detector.strictness)
        other = _off(rng, detector, scene.strays.boxes, scene.scale), found, scene.strays.classes
        boxes, logits, classes = (np.concatenate(pair) for pair in zip(objects, other, strict=True))
        scores = expit(logits + logit(MIN_SCORE))
        frames = np.concatenate((scene.frames, scene.strays.frames))
        boxes, inside = _clipped(boxes, self._size)
        kept = np.flatnonzero((scores > LEAST) & inside)
        kept = kept[np.argsort(frames[kept], kind="stable")]
        borders = np.searchsorted(frames[kept], np.arange(scene.num_frames + 1)).tolist()
        rows = [kept[start:end] for start, end in pairwise(borders)]
        return seconds, [Detections(boxes[row], scores[row], classes[row]) for row in rows]


class _Scene:
    """All objects of all frames in one table of M rows, and the luck that all detectors share."""

    def __init__(self, log: Log, key: tuple[int, int]) -> None:
        self.num_frames, self._log, self._key = len(log.truths), log, key
        counts = [len(truth) for truth in log.truths]
        self.frames: Ints = np.repeat(np.arange(self.num_frames), counts)  # [M]
        self.boxes: Floats = np.concatenate([truth.boxes for truth in log.truths] or [np.zeros((0, 4))])
        self.classes: Ints = _joined([truth.classes for truth in log.truths])
        self._ids = _joined([truth.ids for truth in log.truths])
        self._visible = np.concatenate([truth.visible for truth in log.truths] or [np.zeros(0)])
        self.scale = math.sqrt(log.size[0] * log.size[1] / NOMINAL_AREA)

    @cached_property
    def strays(self) -> Strays:
        return strays(self._log, np.random.default_rng([*self._key, 1]))

    @cached_property
    def _shared_luck(self) -> Floats:
        """Luck that all detectors share.  # [M]"""
        known, row = np.unique(self._ids, return_inverse=True)
        rng = np.random.default_rng([*self._key, 0])
        own = rng.normal(size=len(known))
        gap_s = float(np.median(np.diff(self._log.times_us))) / 1e6 if self.num_frames > 1 else 1.0
        keep = math.exp(-gap_s / FADE_S)
        spells = lfilter([math.sqrt(1 - keep**2)], [1, -keep], rng.normal(size=(len(known), self.num_frames + 20)))
        lasting = OWN * own[row] + SPELL * spells[row, 20 + self.frames]
        return np.asarray(lasting + MOMENT * rng.normal(size=len(self.frames)))

    @cached_property
    def _log_area(self) -> Floats:
        extent = np.maximum(self.boxes[:, 2:] - self.boxes[:, :2], 1.0) / self.scale
        return np.asarray(np.log(extent).sum(1))

    @cached_property
    def _clearness(self) -> Floats:
        contrast = sum(CONTRAST.get(tag, 0.0) for tag in self._log.tags)
        return np.asarray(contrast + HIDDEN * np.log(np.clip(self._visible, 0.02, 1.0)))

    def logits(self, rng: np.random.Generator, detector: ParametricDetector) -> Floats:
        """Above 0 an object is found.  # [M]"""
        grown = np.minimum(detector.slope * (self._log_area - math.log(detector.half_area)), detector.ceiling)
        luck = self._shared_luck + APART * rng.normal(size=len(self.frames))
        return np.asarray(grown + self._clearness + logit(np.clip(ndtr(luck), 1e-9, 1 - 1e-9)))


def _off(rng: np.random.Generator, detector: ParametricDetector, boxes: Floats, scale: float) -> Floats:
    """The boxes as the detector draws them."""
    extent = np.tile(boxes[:, 2:] - boxes[:, :2], 2)
    deviation = np.hypot(detector.off * extent, np.minimum(PIXELS_OFF * scale, 0.15 * extent))
    return np.asarray(boxes + deviation * np.clip(rng.normal(size=boxes.shape), -3, 3))


def _clipped(boxes: Floats, size: Size) -> tuple[Floats, NDArray[np.bool_]]:
    """Within the picture, and which of them still have an area."""
    clipped = np.clip(boxes, 0.0, np.tile(np.asarray(size, float), 2))
    return clipped, np.asarray((clipped[:, 2:] - clipped[:, :2] > 1.0).all(1))


def _joined(parts: list[Ints]) -> Ints:
    return np.concatenate(parts) if parts else np.zeros(0, np.int64)
