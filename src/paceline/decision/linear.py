"""Least squares learned step by step, forgetting what is old."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import final

from paceline.decision.cost import UNKNOWN, Axes, Estimate, usable
from paceline.errors import ConfigError

Basis = Callable[[Sequence[float]], Sequence[float]]

_WARM_UP = 8  # observations before residuals are judged
_NO_EXCITATION = 1e-12  # this direction is known exactly: nothing to learn, nothing to divide by
_CLIP = 3.0  # robust deviations that one observation may pull
_SMALLEST_CLIP = 0.01
_SPREAD_MEMORY = 0.05  # weight of the newest residual in the spread
_NORMAL = math.sqrt(math.pi / 2.0)  # standard deviation over mean absolute deviation
_FURTHEST = 4.0  # a prediction further off than this factor is no measure for its own error


def _same(features: Sequence[float]) -> Sequence[float]:
    return features


@final
class Linear:
    """``seconds = constant + sum of slope * feature``, by recursive least squares.

    Residuals are relative to the prediction, so 5 % of a short step count as much as 5 % of a long one,
    and are clipped at three robust deviations. Old steps are forgotten in all directions while the
    covariance is small; once it says that the coefficients may be off by their own size, only in the
    direction of the newest step (Kulhavý 1987). So a load that never changes can neither blow up what
    is not excited nor stop the tracking of what is.

    ``scales``: per feature a typical magnitude. ``basis`` maps features to regressors (hinges,
    products); ``scales`` and ``non_negative`` then speak of the regressors. ``prior`` holds the
    constant and the slopes to start from, ``prior_std_s`` how far, in seconds at the scales, they may
    be off: the ridge.

    >>> line = Linear([100.0])
    >>> for rows in (1, 64, 20, 100, 7, 40):
    ...     line.observe([rows], 0.005 + 0.0001 * rows)
    >>> round(line.predict([50]).mean_s, 4)
    0.01
    """

    def __init__(
        self,
        scales: Sequence[float],
        *,
        basis: Basis = _same,
        forgetting: float = 0.995,
        prior: Sequence[float] | None = None,
        prior_std_s: float = 10.0,
        non_negative: bool = True,
    ) -> None:
        if not 0.9 <= forgetting <= 1.0:
            raise ConfigError(f"forgetting must be in [0.9, 1], got {forgetting}")
        if any(not scale > 0.0 for scale in scales):
            raise ConfigError(f"scales must be > 0, got {list(scales)}")
        if prior is not None and len(prior) != len(scales) + 1:
            raise ConfigError(f"prior needs the constant and {len(scales)} slopes, got {len(prior)} numbers")
        size = len(scales) + 1
        self._inverse_scales = [1.0 / scale for scale in scales]
        self._basis = basis
        self._forgetting = forgetting
        self._non_negative = non_negative
        self._has_prior = prior is not None
        slopes = zip((prior or [0.0] * size)[1:], scales, strict=True)
        self._free = [prior[0] if prior else 0.0, *(slope * scale for slope, scale in slopes)]  # before the constraint
        self._weights = self._free
        variance = prior_std_s**2
        self._covariance = [[variance if i == j else 0.0 for j in range(size)] for i in range(size)]
        self._spread = 0.0  # mean absolute relative residual
        self._count = 0

    @property
    def coefficients(self) -> tuple[float, ...]:
        """The constant (seconds) and the slopes (seconds per unit of a regressor)."""
        slopes = (w * inverse for w, inverse in zip(self._weights[1:], self._inverse_scales, strict=True))
        return (self._weights[0], *slopes)

    def predict(self, features: Sequence[float]) -> Estimate:
        if not self._count and not self._has_prior:
            return UNKNOWN
        x = self._regressors(features)
        mean_s = max(0.0, _dot(self._weights, x))
        uncertainty = max(0.0, _dot(x, [_dot(row, x) for row in self._covariance]))
        noise = self._spread * _NORMAL
        return Estimate(mean_s, noise * math.sqrt(mean_s**2 + uncertainty), self._count)

    def observe(self, features: Sequence[float], seconds: float) -> None:
        if not usable(seconds):
            return
        x = self._regressors(features)
        predicted = _dot(self._free, x)
        scale = 1.0 / max(seconds / _FURTHEST, min(predicted, seconds * _FURTHEST))
        self._update([value * scale for value in x], self._clipped((seconds - predicted) * scale))
        self._weights = _constrained(self._free, self._covariance) if self._non_negative else self._free
        self._count += 1

    def _regressors(self, features: Sequence[float]) -> list[float]:
        values = self._basis(features)
        return [1.0, *(value * inverse for value, inverse in zip(values, self._inverse_scales, strict=True))]

    def _clipped(self, residual: float) -> float:
        """The residual, no larger than what the usual spread explains."""
        if self._count >= _WARM_UP:
            limit = max(_CLIP * self._spread * _NORMAL, _SMALLEST_CLIP)
            residual = max(-limit, min(limit, residual))
            self._spread += _SPREAD_MEMORY * (abs(residual) - self._spread)
        elif self._count >= len(self._weights):  # before that any line fits
            self._spread = max(self._spread, abs(residual))
        return residual

    def _update(self, x: Sequence[float], residual: float) -> None:
        covariance, weights, keep = self._covariance, self._free, self._forgetting
        gain = [_dot(row, x) for row in covariance]
        excitation = _dot(gain, x)
        if excitation <= _NO_EXCITATION:
            return
        wound_up = sum(row[i] for i, row in enumerate(covariance)) > _dot(weights, weights)
        if wound_up:
            step, grow = residual / (1.0 + excitation), 1.0
            shrink = (keep - (1.0 - keep) / excitation) / (keep * (1.0 + excitation))
        else:
            step, grow = residual / (keep + excitation), 1.0 / keep
            shrink = grow / (keep + excitation)
        self._free = [weight + step * g for weight, g in zip(weights, gain, strict=True)]
        for i, row in enumerate(covariance):
            factor = shrink * gain[i]
            for j in range(i + 1):  # one half, mirrored: rounding that breaks symmetry would grow for ever
                row[j] = covariance[j][i] = grow * row[j] - factor * gain[j]


def _constrained(weights: list[float], covariance: list[list[float]]) -> list[float]:
    """The most likely weights of which none is negative: the worst is set to 0, the others follow.

    Just cutting one off would leave the others where they compensated for it.
    """
    while min(weights) < 0.0:
        worst = min(range(len(weights)), key=weights.__getitem__)
        column = [row[worst] for row in covariance]
        variance = max(column[worst], 1e-300)  # 0 only when this weight follows from the others exactly
        pull = weights[worst] / variance
        weights = [weight - pull * c for weight, c in zip(weights, column, strict=True)]
        weights[worst] = 0.0
        covariance = [
            [value - c * other / variance for value, other in zip(row, column, strict=True)]
            for row, c in zip(covariance, column, strict=True)
        ]
        for row in covariance:  # from here on it stays 0
            row[worst] = 0.0
        covariance[worst] = [0.0] * len(weights)
    return weights


def linear_over(axes: Axes) -> Linear:
    """A line over features profiled at ``axes``; their largest values are the scales."""
    return Linear([max(abs(value) for value in axis) or 1.0 for axis in axes])


def _dot(left: Sequence[float], right: Sequence[float]) -> float:
    total = 0.0
    for a, b in zip(left, right):  # noqa: B905  (lengths agree by construction; strict costs a third of the time)
        total += a * b
    return total
