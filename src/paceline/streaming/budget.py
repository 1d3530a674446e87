"""Several cameras under one budget of workers: who may run what, so that the sum of predicted gains is the largest. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias, final

from paceline.errors import ConfigError
from paceline.streaming.configuration import Configuration
from paceline.streaming.frame import Floats
from paceline.streaming.profile import Runtimes

Gains: TypeAlias = Callable[[Floats | None], Mapping[str, float]]
"""From features of a window (None: there are none yet) to what each configuration is predicted to gain in the next."""


ROUNDING: Final = 1e-9  # of sums of loads


@dataclass(frozen=True, slots=True)
class Offer:
    """What a configuration would gain for a camera, and how many workers it would keep busy."""

    gain: float
    load: float


def allocate(offers: Sequence[Mapping[str, Offer]], num_workers: float) -> tuple[str, ...]:
    """A configuration for each camera, loads within ``num_workers`` where that can be.

    Starts with the least load everywhere and buys what gains most per load until nothing more fits: the optimum for some price of a
    worker's time, up to the last purchase.

    >>> camera = {"fast": Offer(0.0, 0.1), "slow": Offer(3.0, 0.7)}
    >>> allocate([camera, camera | {"slow": Offer(5.0, 0.7)}], 1.0)
    ('fast', 'slow')
    """
    chosen = [min(each, key=lambda name: (each[name].load, -each[name].gain)) for each in offers]
    left = num_workers - sum([each[name].load for each, name in zip(offers, chosen, strict=True)])
    while True:
        best: tuple[float, int, str] | None = None
        for place, each in enumerate(offers):
            now = each[chosen[place]]
            for name, offer in each.items():
                gain, load = offer.gain - now.gain, offer.load - now.load
                if gain <= 0 or load > max(left, 0.0) + ROUNDING:
                    continue
                worth = gain / load if load > 0 else math.inf
                if best is None or worth > best[0]:
                    best = worth, place, name
        if best is None:
            return tuple(chosen)
        _, place, name = best
        left += offers[place][chosen[place]].load - offers[place][name].load
        chosen[place] = name


@final
class Budget:
    """Shared by the policies of all cameras. A camera's window costs ``rate_hz`` runs a second, but never more than a worker."""

    def __init__(self, runtimes: Runtimes, num_workers: float) -> None:
        if not num_workers > 0:
            raise ConfigError(f"num_workers must be > 0, got {num_workers}")
        self._runtimes, self._num_workers = runtimes, num_workers
        self._cameras: dict[str, tuple[Mapping[str, Configuration], float, Mapping[str, float]]] = {}

    def policy(
        self, camera: str, configurations: Mapping[str, Configuration], rate_hz: float, gains: Gains
    ) -> SharedPolicy:
        """The policy of one more camera."""
        if camera in self._cameras:
            raise ConfigError(f"camera {camera!r} is given twice")
        if not rate_hz > 0:
            raise ConfigError(f"rate_hz of camera {camera!r} must be > 0, got {rate_hz}")
        self._cameras[camera] = configurations, rate_hz, gains(None)
        return SharedPolicy(self, camera, gains)

    def update(self, camera: str, gains: Mapping[str, float]) -> str:
        """Takes in what one camera would gain; what it may run, given what the others would."""
        configurations, rate_hz, _ = self._cameras[camera]
        self._cameras[camera] = configurations, rate_hz, gains
        chosen = allocate([self._offers(*each) for each in self._cameras.values()], self._num_workers)
        return chosen[list(self._cameras).index(camera)]

    def _offers(
        self, configurations: Mapping[str, Configuration], rate_hz: float, gains: Mapping[str, float]
    ) -> dict[str, Offer]:
        return {
            name: Offer(gains[name], min(1.0, rate_hz * self._runtimes.typical_us(each.detector) / 1e6))
            for name, each in configurations.items()
        }


@final
class SharedPolicy:
    """The policy of one camera: asks what it would gain, and takes what the budget leaves it."""

    def __init__(self, budget: Budget, camera: str, gains: Gains) -> None:
        self._budget, self._camera, self._gains = budget, camera, gains

    def choose(self, features: Floats | None, current: str, now_us: int) -> str:
        return self._budget.update(self._camera, self._gains(features))

    def observe(self, configuration: str, agreement: float, now_us: int) -> None:
        """What gains are predicted from is the business of ``gains``."""
