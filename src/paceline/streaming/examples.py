"""What policies learn from: rows of a window as some configuration saw it, and what every configuration gained in the next."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from paceline.streaming.features import NAMES
from paceline.streaming.frame import Floats, Ints
from paceline.streaming.select import context
from paceline.streaming.sweep import TRUTHS, Run, Sweep


@dataclass(frozen=True, slots=True, eq=False)
class Examples:
    """R rows of `select.context`; targets are C gains in MOTA, clipped to -1..1, and C agreements."""

    rows: Floats  # [R, row]
    targets: Floats  # [R, 2C]
    weights: Floats  # [R], share of its log's objects
    logs: Ints  # [R]
    windows: Ints  # [R], that the targets are of
    seen_by: Ints  # [R], configuration that ran in the window before

    def only(self, kept: NDArray[np.bool_]) -> Examples:
        return Examples(*(getattr(self, name)[kept] for name in self.__slots__))

    def joined(self, *others: Examples) -> Examples:
        every = (self, *others)
        return Examples(*(np.concatenate([getattr(each, name) for each in every]) for name in self.__slots__))

    def seen_through(self, configuration: int) -> Examples:
        """Those where this configuration had run."""
        return self.only(self.seen_by == configuration)


def examples(sweep: Sweep, static: int, traits: Floats) -> Examples:
    """One for each window but the first, log and configuration that ran in the window before; windows without objects are left out."""
    first, *others = (
        _seen(sweep, static, traits, sweep.features[place], sweep.agreement[place], np.full(sweep.truths.shape, place))
        for place in range(len(sweep.configurations))
    )
    return first.joined(*others)


def visited(sweep: Sweep, static: int, traits: Floats, runs: Sequence[Run]) -> Examples:
    """What a policy saw while it ran over the logs of a sweep, one run for each."""
    features = np.full((*sweep.truths.shape, len(NAMES)), np.nan)
    agreement = np.full(sweep.truths.shape, np.nan)
    ran = np.full(sweep.truths.shape, static)
    for log, run in enumerate(runs):
        features[log, : len(run.features)] = run.features
        agreement[log, : len(run.agreement)] = run.agreement
        ran[log, : len(run.choices)] = [sweep.configurations.index(name) for name in run.choices]
    return _seen(sweep, static, traits, features, agreement, ran)


def change_cost(sweep: Sweep, runs: Sequence[Run]) -> float:
    """What a change of configuration costs in the closed loop beside windows cut from runs of one, in MOTA of a window."""
    extra = objects = 0
    for log, run in enumerate(runs):
        ran = [sweep.configurations.index(name) for name in run.choices]
        windows = np.arange(len(ran))
        extra += int(run.counts[:, :TRUTHS].sum()) - int(sweep.errors[ran, log, windows].sum())
        objects += int(sweep.truths[log, 1 : len(ran)][np.diff(ran) != 0].sum())
    return max(0.0, extra / objects) if objects else 0.0


def targets(sweep: Sweep, static: int) -> tuple[Floats, Floats]:
    """Gain in MOTA of every configuration in every window, and the window's share of its log's objects.  # [C, L, W], [L, W]"""
    truths = sweep.truths
    gains = (sweep.errors[static] - sweep.errors) / np.maximum(truths, 1)
    return np.clip(gains, -1, 1), truths / np.maximum(truths.sum(1, keepdims=True), 1)


def _seen(sweep: Sweep, static: int, traits: Floats, features: Floats, agreement: Floats, ran: Ints) -> Examples:
    """From [L, W, K], [L, W] and which configuration ran [L, W]."""
    gains, shares = targets(sweep, static)
    usual = usual_agreement(sweep)
    known = np.where(np.isnan(sweep.agreement), usual[:, None, None], sweep.agreement)  # [C, L, W]
    heard = np.where(np.isnan(agreement), usual[static], agreement)
    found = []
    for window in range(1, sweep.num_windows):
        seen = features[:, window - 1]
        there = np.flatnonzero((shares[:, window] > 0) & ~np.isnan(seen).any(1))
        before = ran[there, window - 1]
        rows = context(seen[there], heard[there, window - 1, None], traits[before])
        told = np.concatenate((gains[:, there, window].T, known[:, there, window].T), axis=1)
        found.append((rows, told, shares[there, window], there, np.full(len(there), window), before))
    return Examples(*(np.concatenate(column) for column in zip(*found, strict=True)))


def usual_agreement(sweep: Sweep) -> Floats:
    """Mean agreement of each configuration.  # [C]"""
    heard = ~np.isnan(sweep.agreement)
    total = np.where(heard, sweep.agreement, 0.0).sum((1, 2))
    return np.asarray(total / np.maximum(heard.sum((1, 2)), 1))
