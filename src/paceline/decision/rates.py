"""Shares and averages learned online, with how sure they are: acceptance, selectivity, hit share."""

from __future__ import annotations

import math
from collections.abc import Hashable
from typing import Generic, TypeVar, final

from paceline.errors import ConfigError

Key = TypeVar("Key", bound=Hashable)

_FIRST_PRIOR = (1.0, 1.0)


@final
class Rate:
    """The share of tries that hit, older tries counting less.

    ``prior`` = (hits, misses) imagined before the first try; ``decay`` per call of ``observe``.

    >>> rate = Rate(prior=(7.0, 3.0))
    >>> rate.mean
    0.7
    >>> rate.observe(0.0, 10.0)
    >>> round(rate.mean, 2)
    0.35
    """

    __slots__ = ("_decay", "_prior", "hits", "tries")

    def __init__(self, prior: tuple[float, float] = _FIRST_PRIOR, decay: float = 0.99) -> None:
        if min(prior) < 0.0 or sum(prior) <= 0.0:
            raise ConfigError(f"prior must be two numbers >= 0, not both 0, got {prior}")
        if not 0.0 < decay <= 1.0:
            raise ConfigError(f"decay must be in (0, 1], got {decay}")
        self._prior = prior
        self._decay = decay
        self.hits = 0.0  # both decayed
        self.tries = 0.0

    def observe(self, hits: float, tries: float = 1.0) -> None:
        """Adds the tries of one step, of which ``hits`` (expected values are welcome) hit."""
        assert 0.0 <= hits <= tries, f"{hits} hits of {tries} tries"
        self.hits = self._decay * self.hits + hits
        self.tries = self._decay * self.tries + tries

    @property
    def mean(self) -> float:
        return self.blended(*self._prior)

    def blended(self, hits: float, misses: float) -> float:
        """The mean as it were with another prior."""
        return (self.hits + hits) / (self.tries + hits + misses)

    def bounds(self, z: float = 1.645) -> tuple[float, float]:
        """Wilson's interval, prior included; z = 1.645 leaves 5 % on each side."""
        return _wilson(self.mean, self.tries + sum(self._prior), z)


@final
class Rates(Generic[Key]):
    """One rate per key; a key seen seldom leans on the mean of all keys.

    ``strength``: how many imagined tries at the common mean a key starts with. The common mean
    itself starts at ``prior``. Beyond ``max_keys`` the key unseen for longest is forgotten.

    >>> rates = Rates(prior=(7.0, 3.0), strength=16.0)
    >>> for _ in range(200):
    ...     rates.observe("adapter a", 1.0); rates.observe("adapter b", 0.0)
    >>> rates.mean("adapter a") > 0.9, rates.mean("adapter b") < 0.1, 0.4 < rates.mean("new") < 0.6
    (True, True, True)
    """

    def __init__(
        self,
        prior: tuple[float, float] = _FIRST_PRIOR,
        strength: float = 16.0,
        decay: float = 0.99,
        max_keys: int = 4096,
    ) -> None:
        if strength <= 0.0 or max_keys < 1:
            raise ConfigError(f"strength must be > 0 and max_keys >= 1, got {strength} and {max_keys}")
        self._strength = strength
        self._decay = decay
        self._max_keys = max_keys
        self._common = Rate(prior, decay)
        self._rates: dict[Key, Rate] = {}

    def observe(self, key: Key, hits: float, tries: float = 1.0) -> None:
        self._common.observe(hits, tries)
        rate = self._rates.pop(key, None) or Rate(decay=self._decay)
        rate.observe(hits, tries)
        self._rates[key] = rate  # last in the order of the dictionary
        if len(self._rates) > self._max_keys:
            del self._rates[next(iter(self._rates))]

    def mean(self, key: Key) -> float:
        common = self._common.mean
        rate = self._rates.get(key)
        return common if rate is None else rate.blended(self._strength * common, self._strength * (1.0 - common))

    def tries(self, key: Key) -> float:
        """Tries that stand behind this key, decayed; 0 if it was never seen."""
        rate = self._rates.get(key)
        return 0.0 if rate is None else rate.tries

    def bounds(self, key: Key, z: float = 1.645) -> tuple[float, float]:
        """Wilson's interval of this key's mean."""
        return _wilson(self.mean(key), self.tries(key) + self._strength, z)


@final
class Average:
    """A moving average and the spread around it; the first values count equally.

    >>> average = Average(weight=0.1)
    >>> for seconds in (1.0, 2.0, 3.0):
    ...     average.observe(seconds)
    >>> average.mean
    2.0
    """

    __slots__ = ("_variance", "_weight", "count", "mean")

    def __init__(self, weight: float = 0.1) -> None:
        if not 0.0 < weight <= 1.0:
            raise ConfigError(f"weight must be in (0, 1], got {weight}")
        self._weight = weight
        self._variance = 0.0
        self.mean = 0.0
        self.count = 0

    def observe(self, value: float) -> None:
        self.count += 1
        weight = 1.0 / self.count
        if weight < self._weight:
            weight = self._weight
        deviation = value - self.mean
        self.mean += weight * deviation
        self._variance = (1.0 - weight) * (self._variance + weight * deviation * deviation)

    @property
    def std(self) -> float:
        return math.sqrt(self._variance)


def _wilson(share: float, tries: float, z: float) -> tuple[float, float]:
    """Wilson's score interval.

    >>> [round(bound, 3) for bound in _wilson(0.5, 100.0, 1.96)]
    [0.404, 0.596]
    """
    square = z * z / tries
    centre = share + square / 2.0
    reach = z * math.sqrt(max(0.0, share * (1.0 - share) / tries + square / (4.0 * tries)))
    return max(0.0, (centre - reach) / (1.0 + square)), min(1.0, (centre + reach) / (1.0 + square))
