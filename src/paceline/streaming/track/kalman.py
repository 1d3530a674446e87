"""Constant velocity in seconds, for all tracks at once.

Coordinates (centre across, centre down, logarithms of width and height) do not depend on each other, so each has a variance of its place, one
of its velocity, and their covariance, and a step for N tracks is a handful of operations on [N, 4]. Accelerations are white noise. All
noise of the centre is in shares of the box: near objects move by more pixels, and are drawn with larger errors.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from paceline.streaming.frame import Floats, Ints

MEASURED: Final = np.array((0.05, 0.05, 0.07, 0.07))  # standard deviation of a detection, shares of the box or of e
ACCELERATION: Final = np.array((1.0, 0.6, 0.5, 0.4))  # per s² in the same, for white noise of a second
SPEED: Final = np.array((1.2, 0.25, 0.5, 0.4))  # standard deviation of the velocity of something new, per s


@dataclass(slots=True, eq=False)
class Kalman:
    """The state of N tracks. Arrays are replaced, never written to, so a shallow copy is a copy."""

    mean: Floats  # [N, 4]
    velocity: Floats  # [N, 4], per second
    place_variance: Floats  # [N, 4]
    covariance: Floats  # [N, 4], of place and velocity
    velocity_variance: Floats  # [N, 4]

    @staticmethod
    def empty() -> Kalman:
        return Kalman(*(np.zeros((0, 4)) for _ in range(5)))

    @staticmethod
    def of(boxes: Floats) -> Kalman:
        """Tracks that begin at these boxes and may move anywhere.  # [N, 4]"""
        mean = measured(boxes)
        scale = _scale(mean)
        return Kalman(mean, np.zeros_like(mean), (MEASURED * scale) ** 2, np.zeros_like(mean), (SPEED * scale) ** 2)

    def at(self, seconds: float) -> Kalman:
        """The same so much later; sooner is the same."""
        if seconds <= 0 or not len(self.mean):
            return self
        power = (ACCELERATION * _scale(self.mean)) ** 2
        both, speed = self.covariance, self.velocity_variance
        return Kalman(
            self.mean + self.velocity * seconds,
            self.velocity,
            self.place_variance + 2 * seconds * both + seconds**2 * speed + power * (seconds**3 / 3),
            both + seconds * speed + power * (seconds**2 / 2),
            speed + power * seconds,
        )

    def seen(self, rows: Ints, boxes: Floats) -> Kalman:
        """With a detection for each of these rows.  # [M], [M, 4]"""
        mean, velocity = self.mean.copy(), self.velocity.copy()
        place, both, speed = self.place_variance.copy(), self.covariance.copy(), self.velocity_variance.copy()
        noise = (MEASURED * _scale(mean[rows])) ** 2
        surprise = measured(boxes) - mean[rows]
        trust = place[rows] / (place[rows] + noise)
        turn = both[rows] / (place[rows] + noise)
        mean[rows] += trust * surprise
        velocity[rows] += turn * surprise
        speed[rows] -= turn * both[rows]
        both[rows] *= 1 - trust
        place[rows] *= 1 - trust
        return Kalman(mean, velocity, place, both, speed)

    def only(self, rows: Ints | NDArray[np.bool_]) -> Kalman:
        return Kalman(
            self.mean[rows],
            self.velocity[rows],
            self.place_variance[rows],
            self.covariance[rows],
            self.velocity_variance[rows],
        )

    def beside(self, other: Kalman) -> Kalman:
        """These and those."""
        pairs = (
            (self.mean, other.mean),
            (self.velocity, other.velocity),
            (self.place_variance, other.place_variance),
            (self.covariance, other.covariance),
            (self.velocity_variance, other.velocity_variance),
        )
        return Kalman(*(np.concatenate(pair) for pair in pairs))

    def boxes(self) -> Floats:
        """# [N, 4]"""
        half = np.exp(np.minimum(self.mean[:, 2:], 20.0)) / 2
        return np.concatenate((self.mean[:, :2] - half, self.mean[:, :2] + half), 1)

    def deviations(self) -> Floats:
        """How far off a centre may be, in pixels.  # [N]"""
        return np.asarray(np.sqrt(self.place_variance[:, :2].mean(1)))


def measured(boxes: Floats) -> Floats:
    """Centre and logarithms of the sides.  # [N, 4] -> [N, 4]"""
    extent = boxes[:, 2:] - boxes[:, :2]
    return np.concatenate(((boxes[:, :2] + boxes[:, 2:]) / 2, np.log(extent)), 1)


def _scale(mean: Floats) -> Floats:
    """What a share of the box is in each coordinate.  # [N, 4] -> [N, 4]"""
    scale = np.ones_like(mean)
    scale[:, :2] = np.exp(mean[:, 2:])
    return scale
