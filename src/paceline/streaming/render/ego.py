"""Our own car: speed along the road, waits, and how its camera sways."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np

from paceline.streaming.frame import Floats
from paceline.streaming.render.route import HALF_JUNCTION, Route

BASE_HZ: Final = 30  # all motion is laid down at this rate; 10 Hz takes every third
COMFORT: Final = 2.0  # m/s², braking and sideways
PULL: Final = 1.8  # m/s², speeding up
SWAY_DEG: Final = 0.39  # yaw within the lane, standard deviation at speed
SWAY_S: Final = 0.9
NOD_DEG: Final = 0.28  # pitch on a rough road
NOD_S: Final = 0.14
FULL_SWAY: Final = 8.0  # m/s from which the car sways fully


class Wait(NamedTuple):
    junction: int
    from_s: float
    to_s: float


@dataclass(frozen=True, slots=True, eq=False)
class Ego:
    """On a grid of 30 Hz, T steps."""

    s: Floats  # [T], m along the road
    speed: Floats  # [T], m/s
    yaw: Floats  # [T], rad, added to the road's heading
    pitch: Floats  # [T], rad, upwards
    waits: tuple[Wait, ...]


def drive(rng: np.random.Generator, route: Route, duration_s: float) -> Ego:
    """Goes along the road for this long."""
    num_steps = math.ceil(duration_s * BASE_HZ) + 1
    s, speed, waits = _advance(rng, route, num_steps)
    share = np.clip(speed / FULL_SWAY, 0.0, 1.0)
    yaw = np.radians(SWAY_DEG) * share * _wandering(rng, num_steps, SWAY_S)
    pitch = np.radians(NOD_DEG) * share * _wandering(rng, num_steps, NOD_S)
    pitch = pitch - np.radians(0.25) * np.clip(np.gradient(speed) * BASE_HZ / 3.0, -1, 1) * -1.0
    return Ego(s, speed, yaw, pitch, waits)


def lagging(values: Floats, time_s: float, start: float = 0.0) -> Floats:
    """``values`` behind a filter that forgets in about this time."""
    keep = math.exp(-1 / (BASE_HZ * time_s))
    result, state = np.empty(len(values)), start
    for step, value in enumerate(values.tolist()):
        state = keep * state + (1 - keep) * value
        result[step] = state
    return result


def _wandering(rng: np.random.Generator, num_steps: int, time_s: float) -> Floats:
    """Noise of unit deviation that forgets itself in about ``time_s``, smooth from step to step."""
    settle = 3 * BASE_HZ
    noise = lagging(lagging(rng.normal(size=num_steps + settle), time_s), time_s)[settle:]
    keep = math.exp(-1 / (BASE_HZ * time_s))
    impulse = (1 - keep) ** 2 * np.arange(1, 400) * keep ** np.arange(399)
    return np.asarray(noise / math.sqrt(float((impulse**2).sum())))


def _advance(rng: np.random.Generator, route: Route, num_steps: int) -> tuple[Floats, Floats, tuple[Wait, ...]]:
    plan = _Plan(rng, route)
    v, at = plan.wished(0.0, 0.0), 0.0
    v = min(v, plan.limit(0.0, v))
    s, speed = np.zeros(num_steps), np.zeros(num_steps)
    for step in range(num_steps):
        s[step], speed[step] = at, v
        now = step / BASE_HZ
        target = min(plan.wished(at, now), plan.limit(at, v), plan.stop(at, v, now))
        v = max(0.0, v + min(max((target - v) * 1.5, -4.0), PULL) / BASE_HZ)
        at += v / BASE_HZ
    return s, speed, tuple(plan.waits)


class _Plan:
    """What bounds the speed at a place: the wish, curves ahead, red lights."""

    def __init__(self, rng: np.random.Generator, route: Route) -> None:
        self._borders = route.borders
        self._wishes = [float(rng.uniform(*regime.speed)) for regime in route.regimes]
        self._swings = [regime.swing for regime in route.regimes]
        self._period, self._phase = rng.uniform(6, 12), rng.uniform(0, 2 * math.pi)
        allowed = np.sqrt(COMFORT / np.maximum(np.abs(route.curvature), 1e-4))
        for i in range(len(allowed) - 2, -1, -1):  # brake in time
            allowed[i] = min(allowed[i], math.sqrt(allowed[i + 1] ** 2 + 2 * COMFORT))
        self._allowed, self._origin = allowed, route.grid[0]
        stops = (
            np.array([regime.stops for regime in route.regimes])[route.section(route.junctions)]
            if len(route.junctions)
            else np.zeros(0)
        )
        red = rng.random(len(route.junctions)) < stops
        self._lights = [
            (int(i), float(route.junctions[i]) - HALF_JUNCTION - 3.0, float(rng.uniform(2, 13)))
            for i in np.flatnonzero(red)
        ]
        self._since = -1.0
        self.waits: list[Wait] = []

    def wished(self, at: float, now: float) -> float:
        place = min(int(np.searchsorted(self._borders, at, side="right")), len(self._wishes) - 1)
        wave = 1 + self._swings[place] * math.sin(2 * math.pi * now / self._period + self._phase)
        return max(0.0, self._wishes[place] * wave)

    def limit(self, at: float, v: float) -> float:
        ahead = int(at + 0.3 * v - self._origin)
        return float(self._allowed[min(ahead, len(self._allowed) - 1)])

    def stop(self, at: float, v: float, now: float) -> float:
        """Towards the next red light; it turns green after its time."""
        while self._lights and self._lights[0][1] < at - 1.5:
            self._lights.pop(0)
        if not self._lights:
            return math.inf
        junction, line, hold = self._lights[0]
        left = line - at
        if v < 0.3 and left < 2.0:
            if self._since < 0:
                self._since = now
                self.waits.append(Wait(junction, now, now + hold))
            if now - self._since > hold:
                self._since = -1.0
                self._lights.pop(0)
            return 0.0
        return 0.0 if left < 0.6 else math.sqrt(2 * COMFORT * 0.8 * left) * 0.9
