"""Things that a detector may take for an object: signs, bins, reflections. They stand still in the world and drift as the car passes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from paceline.streaming.frame import CLASSES, Floats, Ints, Log

AT_ONCE: Final = 4.0  # that are seen in an average log
FULLER: Final = 0.6  # deviation of the logarithm of how many a log has
STAYS_S: Final = (0.3, 4.0)
ALIKE: Final = 0.9  # deviation in logits of how much one looks like an object,
MOMENT: Final = 0.6  # of how much it does in one frame,
APART: Final = 0.6  # and to one detector
DEPTH_M: Final = (15.0, 80.0)
NEAREST: Final = 0.3  # share of its first distance at which it is passed
AREA: Final = (500.0, 1.0)  # px² of 1280 x 720, and deviation of its logarithm
_VANISHING: Final = (0.5, 0.46)  # shares of the picture


@dataclass(frozen=True, slots=True, eq=False)
class Strays:
    """S sightings in all frames of a log."""

    frames: Ints  # [S]
    boxes: Floats  # [S, 4]
    classes: Ints  # [S]
    alike: Floats  # [S], logits

    def logits(self, rng: np.random.Generator, strictness: float) -> Floats:
        """Above 0 a sighting is taken for an object.  # [S]"""
        return np.asarray(self.alike + APART * rng.normal(size=len(self.frames)) - strictness)


def strays(log: Log, rng: np.random.Generator) -> Strays:
    """All sightings of a log."""
    times_s = log.times_us / 1e6
    duration_s = float(times_s[-1] - times_s[0]) if len(times_s) else 0.0
    mean_stay_s = sum(STAYS_S) / 2
    count = rng.poisson(AT_ONCE * np.exp(FULLER * rng.normal()) * (duration_s + mean_stay_s) / mean_stay_s)
    stay_s = rng.uniform(*STAYS_S, count)
    begin_s = (times_s[0] if len(times_s) else 0.0) - stay_s + rng.random(count) * (duration_s + stay_s)
    thing, frames = np.nonzero((times_s >= begin_s[:, None]) & (times_s < (begin_s + stay_s)[:, None]))
    speed = np.zeros(len(times_s)) if log.ego_speed is None else log.ego_speed
    gone_m = np.concatenate(([0.0], np.cumsum(speed[1:] * np.diff(times_s))))
    passed = gone_m[frames] - np.interp(begin_s, times_s, gone_m)[thing] if count else np.zeros(0)
    left = 1 - passed / rng.uniform(*DEPTH_M, count)[thing]
    centre, extent = _looks(rng, count, log.size)
    vanishing = np.array(_VANISHING) * log.size
    grown = (1 / np.maximum(left, NEAREST))[:, None]
    middle, half = vanishing + (centre[thing] - vanishing) * grown, extent[thing] * grown / 2
    seen = left > NEAREST
    boxes = np.concatenate((middle - half, middle + half), 1)
    classes, alike = rng.integers(0, len(CLASSES), count), ALIKE * rng.normal(size=count)
    alike = alike[thing] + MOMENT * rng.normal(size=len(thing))
    return Strays(frames[seen], boxes[seen], classes[thing][seen], alike[seen])


def _looks(rng: np.random.Generator, count: int, size: tuple[int, int]) -> tuple[Floats, Floats]:
    """Where each is first seen, and how large.  # [N, 2], [N, 2]"""
    scale = np.asarray(size) / (1280, 720)
    centre = rng.uniform((0, 0.4), (1, 0.75), (count, 2)) * size
    side = np.exp((np.log(AREA[0]) + AREA[1] * rng.normal(size=count)) / 2)
    aspect = np.exp(0.3 * rng.normal(size=count))
    return centre, np.stack((side * aspect, side / aspect), 1) * scale
