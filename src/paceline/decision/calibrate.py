"""Follows what a profile cannot know: heat, neighbours on the machine, another version of a driver."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import final

from paceline.decision.cost import Axes, CostModel, Estimate, usable
from paceline.decision.linear import linear_over
from paceline.decision.table import Table
from paceline.errors import ConfigError

Bucket = Callable[[Sequence[float]], Hashable]

_LOW, _HIGH = 0.5, 2.0


def by_magnitude(features: Sequence[float]) -> Hashable:
    """Steps whose features agree within powers of two share a bucket.

    >>> by_magnitude([5, 900]) == by_magnitude([7, 600]), by_magnitude([8, 900]) == by_magnitude([7, 900])
    (True, False)
    """
    return tuple(int(value).bit_length() for value in features)


@final
class Calibrated:
    """Corrects another cost model by the ratio, actual over predicted, that it sees in each bucket.

    Ratios are moving averages with ``weight`` for the newest step, held within [0.5, 2]. A bucket
    that has seen nothing starts from the ratio of all steps together.

    >>> table = Table([[1, 64]])
    >>> table.profile([1], [0.010]); table.profile([64], [0.020])
    >>> model = Calibrated(table)
    >>> for _ in range(100):
    ...     model.observe([40], 1.2 * table.predict([40]).mean_s)
    >>> round(model.predict([40]).mean_s / table.predict([40]).mean_s, 3)
    1.2
    """

    def __init__(self, inner: CostModel, *, bucket: Bucket = by_magnitude, weight: float = 0.1) -> None:
        if not 0.0 < weight <= 1.0:
            raise ConfigError(f"weight must be in (0, 1], got {weight}")
        self._inner = inner
        self._bucket = bucket
        self._weight = weight
        self._overall = 1.0
        self._ratios: dict[Hashable, float] = {}

    def ratio(self, features: Sequence[float]) -> float:
        """By how much steps like this one are slower than the inner model says."""
        return self._ratios.get(self._bucket(features), self._overall)

    def predict(self, features: Sequence[float]) -> Estimate:
        return self._inner.predict(features).scaled(self.ratio(features))

    def observe(self, features: Sequence[float], seconds: float) -> None:
        if not usable(seconds):
            return
        predicted_s = self._inner.predict(features).mean_s
        if usable(predicted_s):
            seen = max(_LOW, min(_HIGH, seconds / predicted_s))
            old = self.ratio(features)
            self._ratios[self._bucket(features)] = old + self._weight * (seen - old)
            self._overall += self._weight * (seen - self._overall)
        self._inner.observe(features, seconds)


def profiled_over(axes: Axes) -> Calibrated:
    """What most parts want: a table, its gaps filled by a line, both corrected online."""
    return Calibrated(Table(axes, gaps=linear_over(axes)))
