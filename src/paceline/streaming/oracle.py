"""What could have been had, and how much of it a policy gets: oracles, regret, and where a gain comes from. Pure.

Everything works on counts of windows: ``errors`` [C, L, W] (misses, false alarms and switches of C configurations on W windows of L
logs), ``truths`` [L, W] (objects), and a choice [L, W] of configurations. A choice is scored as if each window had been
cut from a run of its configuration over the whole log: spliced, as Octopus (ECCV 2022) does it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from paceline.streaming.frame import Floats, Ints

WORST: Final = 0.05  # of logs
_DRAWS: Final = 2000


def scores(errors: Ints, truths: Ints, choice: Ints) -> Floats:
    """S-MOTA of each log under a choice; nan without objects.  # [C, L, W], [L, W], [L, W] -> [L]"""
    chosen = np.take_along_axis(errors, choice[None], 0)[0]
    return mota_of(chosen.sum(1), truths.sum(1))


def mota_of(errors: Ints, truths: Ints) -> Floats:
    """1 - errors / objects; nan without objects."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.where(truths > 0, 1 - errors / np.maximum(truths, 1), math.nan))


def best_static(errors: Ints, truths: Ints) -> int:
    """The configuration of the highest mean over logs."""
    every = mota_of(errors.sum(2), truths.sum(1))  # [C, L]
    return int(np.nanmean(every, axis=1).argmax())


def always(configuration: int, truths: Ints) -> Ints:
    return np.full(truths.shape, configuration)


def window_oracle(errors: Ints, static: int) -> Ints:
    """The best of each window, which is the optimum of the spliced score; where several are best, the static one if it is among them."""
    best = errors.argmin(0)
    tied = errors[static] == errors.min(0)
    return np.asarray(np.where(tied, static, best))


def previous_window_oracle(errors: Ints, static: int) -> Ints:
    """What was best in the window before; the static one in the first."""
    best = window_oracle(errors, static)
    return np.concatenate((np.full((len(best), 1), static), best[:, :-1]), axis=1)


def log_oracle(errors: Ints) -> Ints:
    """The best for each whole log."""
    return np.broadcast_to(errors.sum(2).argmin(0)[:, None], errors.shape[1:])


def path_oracle(errors: Ints, switch_cost: float) -> Ints:
    """The best course where every change costs so many errors, by dynamic programming."""
    num_configurations, num_logs, num_windows = errors.shape
    total = errors[:, :, 0].astype(float)
    came_from = np.zeros((num_windows, num_configurations, num_logs), np.int64)
    itself = np.arange(num_configurations)[:, None]
    for window in range(1, num_windows):
        cheapest = total.argmin(0)
        moved = total.min(0) + switch_cost
        stays = total <= moved
        came_from[window] = np.where(stays, itself, cheapest)
        total = np.where(stays, total, moved) + errors[:, :, window]
    result = np.zeros((num_logs, num_windows), np.int64)
    result[:, -1] = total.argmin(0)
    for window in range(num_windows - 1, 0, -1):
        result[:, window - 1] = came_from[window, result[:, window], np.arange(num_logs)]
    return result


@dataclass(frozen=True, slots=True)
class Interval:
    """A figure with the bounds of its 95 % bootstrap interval over logs."""

    value: float
    low: float
    high: float


def interval(per_log: Floats, *, seed: int = 0) -> Interval:
    """Mean over logs; nan rows are left out.  # [L]"""
    known = per_log[~np.isnan(per_log)]
    if not len(known):
        return Interval(math.nan, math.nan, math.nan)
    drawn = known[_draws(len(known), seed)].mean(1)
    return Interval(float(known.mean()), *_bounds(drawn))


def share_closed(policy: Floats, static: Floats, oracle: Floats, *, seed: int = 0) -> Interval:
    """Of the gap between static and oracle: (policy - static) / (oracle - static) of means over logs.  # [L], [L], [L]"""
    known = ~np.isnan(static)
    gained, gap = (policy - static)[known], (oracle - static)[known]
    if not len(gap) or gap.sum() <= 0:
        return Interval(math.nan, math.nan, math.nan)
    draws = _draws(len(gap), seed)
    total = gap[draws].sum(1)
    drawn = gained[draws].sum(1)[total > 0] / total[total > 0]
    return Interval(float(gained.sum() / gap.sum()), *_bounds(drawn))


def regret(policy: Floats, oracle: Floats) -> float:
    """Mean over logs of what is left to the oracle."""
    return float(np.nanmean(oracle - policy))


def worst(policy: Floats, static: Floats, *, share: float = WORST) -> float:
    """Mean of policy - static over the logs where it is lowest.

    >>> worst(np.array([0.5, 0.4]), np.array([0.4, 0.5])).__round__(3)
    -0.1
    """
    lost = np.sort((policy - static)[~np.isnan(static)])
    return float(lost[: max(1, math.ceil(share * len(lost)))].mean()) if len(lost) else math.nan


def histogram(choice: Ints, names: Sequence[str]) -> dict[str, float]:
    """Share of windows that each configuration was chosen for; those never chosen are left out."""
    counts = np.bincount(choice.ravel(), minlength=len(names)) / choice.size
    return {name: float(share) for name, share in zip(names, counts, strict=True) if share > 0}


@dataclass(frozen=True, slots=True)
class Split:
    """Where a gain over static comes from, in MOTA: gain = accuracy - degradation."""

    gain: float
    accuracy: float  # more found, were there no latency
    degradation: float  # more lost to latency


def split(streaming: tuple[Ints, Ints], offline: tuple[Ints, Ints], choice: Ints, static: int) -> Split:
    """Each of the two: errors [C, L, W] and objects [C, L, W] (offline runs judge only frames that they took)."""
    gain, accuracy = (_difference(errors, truths, choice, static) for errors, truths in (streaming, offline))
    return Split(gain, accuracy, accuracy - gain)


def _difference(errors: Ints, truths: Ints, choice: Ints, static: int) -> float:
    ours, theirs = (
        mota_of(
            np.take_along_axis(errors, each[None], 0)[0].sum(1), np.take_along_axis(truths, each[None], 0)[0].sum(1)
        )
        for each in (choice, np.full_like(choice, static))
    )
    return float(np.nanmean(ours - theirs))


def _draws(size: int, seed: int) -> Ints:
    return np.random.default_rng(seed).integers(0, size, (_DRAWS, size))


def _bounds(drawn: Floats) -> tuple[float, float]:
    low, high = np.quantile(drawn, (0.025, 0.975)).tolist()
    return low, high
