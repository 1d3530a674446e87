"""Learns which configuration gains when, from a sweep: rows of what was seen, targets of what every configuration then gained.

A row is what a configuration c' showed of window w-1; its targets are the gains of all configurations over the static one in w. Rows of
all c' are learned from, since the policy will look through the eyes of whichever it chose; what it then sees in the closed loop is added.
Whatever is chosen by score (doubt, cost of a change) is chosen on logs that the predicting trees have not seen.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from paceline.errors import ConfigError
from paceline.streaming import oracle
from paceline.streaming.advice import Advice
from paceline.streaming.examples import Examples, examples, usual_agreement
from paceline.streaming.features import NAMES
from paceline.streaming.forest import Forest
from paceline.streaming.frame import Floats, Ints
from paceline.streaming.select import KEPT, ForestPolicy, MedianSizeRule, decide, marked
from paceline.streaming.sweep import Sweep
from paceline.streaming.trees import LEARNERS, TreeAverage

NUM_FOLDS: Final = 5
LEVELS: Final = (0.0, 0.5, 0.6, 0.7, 0.8, 0.9)  # of certainty, that may be chosen; 0 trusts every prediction
SWITCH_COSTS: Final = (0.0, 0.005, 0.01, 0.02, 0.04)  # MOTA
WORST: Final = -0.015  # what the worst logs may lose
NEARLY: Final = 0.93  # of the highest gain is enough
RANGE: Final = 0.05  # of what was learned from, by which a feature may leave it
PUBLISHED: Final = TreeAverage(kind="RandomForest", min_leaf=10, features=0.4)


@dataclass(frozen=True, slots=True, eq=False)
class Fitted:
    """A policy's arrays, and what cross-validation says of them. ``gain`` and ``worst`` are in MOTA, spliced, on logs not learned from."""

    advice: Advice
    level: float
    gain: float
    worst: float
    explained: float  # share of the variance of gains


def fit(
    sweep: Sweep,
    traits: Mapping[str, tuple[float, float]],
    *,
    learner: str = "forest",
    seed: int = 0,
    visited: Examples | None = None,
    change_cost: float = 0.0,
) -> Fitted:
    """``traits`` are seconds of the detector and seconds that a track lives unseen, of each configuration of the sweep.

    ``visited`` is what a policy saw that was learned before, say by `greedy`; ``change_cost``, in MOTA of a window, what its changes cost.
    """
    if sweep.num_logs < NUM_FOLDS:
        raise ConfigError(f"{sweep.num_logs} logs are too few to learn from; at least {NUM_FOLDS} are needed")
    grown, table, static = LEARNERS[learner], _table(sweep, traits), oracle.best_static(sweep.errors, sweep.truths)
    known = examples(sweep, static, table)
    learned = known if visited is None else known.joined(visited)
    folds = np.random.default_rng(seed).permutation(sweep.num_logs) % NUM_FOLDS
    guessed = np.zeros(known.targets.shape)
    for fold in range(NUM_FOLDS):
        part, tested = learned.only(folds[learned.logs] != fold), folds[known.logs] == fold
        guessed[tested] = grown(part.rows, part.targets, part.weights, seed)(known.rows[tested])
    held_out = _HeldOut(sweep, known, guessed[:, : len(table)], static)
    level, doubt, switch_cost = held_out.settled(change_cost)
    gains = held_out.gained(doubt, switch_cost)
    advice = replace(
        _advice(sweep, table, static, learned, learner, seed),
        doubt=doubt,
        switch_cost=switch_cost,
        slope=_slope(sweep, known, guessed, static),
    )
    return Fitted(
        advice, level, float(np.nanmean(gains)), oracle.worst(gains, np.zeros(len(gains))), held_out.explained
    )


def greedy(
    sweep: Sweep, traits: Mapping[str, tuple[float, float]], *, learner: str = "forest", seed: int = 0
) -> Advice:
    """Predictions alone, in a fraction of the time: no doubt, no cost of a change, nothing to correct."""
    table, static = _table(sweep, traits), oracle.best_static(sweep.errors, sweep.truths)
    return _advice(sweep, table, static, examples(sweep, static, table), learner, seed)


def _table(sweep: Sweep, traits: Mapping[str, tuple[float, float]]) -> Floats:
    missing = [name for name in sweep.configurations if name not in traits]
    if missing:
        raise ConfigError(f"traits are missing for {', '.join(missing)}")
    return np.array([traits[name] for name in sweep.configurations], float)


def _advice(sweep: Sweep, table: Floats, static: int, learned: Examples, learner: str, seed: int) -> Advice:
    forest = LEARNERS[learner](learned.rows, learned.targets, learned.weights, seed)
    if not isinstance(forest, Forest):
        raise ConfigError(f"learner {learner!r} makes no trees that could be kept; use forest or boosting")
    span = RANGE * np.ptp(learned.rows, axis=0)
    return Advice(
        names=sweep.configurations,
        static=sweep.configurations[static],
        traits=table,
        forest=forest,
        low=learned.rows.min(0) - span,
        high=learned.rows.max(0) + span,
        doubt=np.zeros(len(table)),
        exposure=1 - usual_agreement(sweep),
    )


class _HeldOut:
    """Predictions for every window of every log, as each configuration saw the one before, by trees that know other logs only."""

    def __init__(self, sweep: Sweep, known: Examples, guessed: Floats, static: int) -> None:
        self._sweep, self._static = sweep, static
        shape = (len(sweep.configurations), sweep.num_logs, sweep.num_windows, len(sweep.configurations))
        self._guessed = np.zeros(shape)
        self._guessed[known.seen_by, known.logs, known.windows] = guessed
        self._known, self._rows = known, guessed
        self._actual = known.targets[:, : shape[0]]
        self._base = oracle.scores(sweep.errors, sweep.truths, oracle.always(static, sweep.truths))

    @property
    def explained(self) -> float:
        weights = self._known.weights[:, None]
        around = self._actual - np.average(self._actual, axis=0, weights=self._known.weights)
        left = (weights * (self._actual - self._rows) ** 2).sum()
        return float(1 - left / max((weights * around**2).sum(), 1e-12))

    def doubt(self, level: float) -> Floats:
        """What must be taken off predictions so that in this share of logs the gain is no less, over windows where one is predicted.

        Split conformal prediction with the log as its unit: windows of one log go wrong together.
        """
        if level == 0:
            return np.zeros(self._actual.shape[1])
        weights = self._known.weights[:, None] * (self._rows > 0)
        over = np.zeros((self._sweep.num_logs, self._actual.shape[1]))
        total = np.zeros_like(over)
        np.add.at(over, self._known.logs, weights * (self._rows - self._actual))
        np.add.at(total, self._known.logs, weights)
        mean = np.where(total > 0, over / np.maximum(total, 1e-12), np.nan)
        found = [np.quantile(each[~np.isnan(each)], level) if (~np.isnan(each)).any() else 0.0 for each in mean.T]
        return np.maximum(0.0, found)

    def gained(self, doubt: Floats, switch_cost: float) -> Floats:
        """Over static, of each log under the policy.  # [L]"""
        truths = self._sweep.truths
        choice = oracle.always(self._static, truths).copy()
        allowed = np.ones(len(doubt), bool)
        for log in range(truths.shape[0]):
            for window in range(1, truths.shape[1]):
                running = int(choice[log, window - 1])
                gains = self._guessed[running, log, window]
                choice[log, window] = decide(gains, running, self._static, allowed, doubt, switch_cost)
        return np.asarray(oracle.scores(self._sweep.errors, truths, choice) - self._base)

    def settled(self, change_cost: float) -> tuple[float, Floats, float]:
        """Level, doubt and cost of a change: of those that gain nearly as much as the best, the one whose worst logs lose least.

        Where some let the worst logs lose little, only those count.
        """
        tried = []
        for level in LEVELS:
            doubt = self.doubt(level)
            for switch_cost in sorted({max(cost, change_cost) for cost in SWITCH_COSTS}):
                gains = self.gained(doubt, switch_cost)
                tried.append((oracle.worst(gains, 0 * gains), float(np.nanmean(gains)), level, switch_cost, doubt))
        safe = [each for each in tried if each[0] >= WORST] or tried
        most = max(gain for _, gain, *_ in safe)
        good = [each for each in safe if each[1] >= NEARLY * most]
        _, _, level, switch_cost, doubt = max(good, key=lambda each: each[:4])
        return level, doubt, switch_cost


def _slope(sweep: Sweep, known: Examples, guessed: Floats, static: int) -> float:
    """How much surprise about agreement tells of gains that were predicted wrongly; never below 0."""
    count = len(sweep.configurations)
    place = np.full((count, *sweep.truths.shape), -1)
    place[known.seen_by, known.logs, known.windows] = np.arange(len(known.rows))
    surprise = np.zeros((count, *sweep.truths.shape))
    for window in range(1, sweep.num_windows - 1):
        told = place[:, :, window]
        expected = np.take_along_axis(guessed[told], (count + np.arange(count))[:, None, None], 2)[:, :, 0]
        new = np.where(told >= 0, sweep.agreement[:, :, window] - expected, 0.0)
        surprise[:, :, window + 1] = KEPT * surprise[:, :, window] + (1 - KEPT) * np.nan_to_num(new)
    exposure = 1 - usual_agreement(sweep)
    cause = surprise[known.seen_by, known.logs, known.windows][:, None] * (exposure - exposure[static])
    left = known.targets[:, :count] - guessed[:, :count]
    weights = known.weights[:, None]
    return max(0.0, float((weights * cause * left).sum() / max((weights * cause**2).sum(), 1e-12)))


def fit_published(sweep: Sweep, *, seed: int = 0) -> ForestPolicy:
    """Random forest as Octopus has it: features as the static configuration shows them, one more column for each configuration, one output."""
    static = oracle.best_static(sweep.errors, sweep.truths)
    known = examples(sweep, static, np.zeros((len(sweep.configurations), 2))).seen_through(static)
    count = len(sweep.configurations)
    rows = np.concatenate([marked(row[: len(NAMES)], count) for row in known.rows])
    forest = PUBLISHED(rows, known.targets[:, :count].reshape(-1, 1), np.repeat(known.weights, count), seed)
    return ForestPolicy(forest, static=sweep.configurations[static], names=sweep.configurations)


def fit_rule(sweep: Sweep, *, num_ranges: int = 4) -> MedianSizeRule:
    """Ranges of the median box's area that hold equally many windows, each with the configuration that was best in it."""
    static = oracle.best_static(sweep.errors, sweep.truths)
    known = examples(sweep, static, np.zeros((len(sweep.configurations), 2))).seen_through(static)
    area = known.rows[:, NAMES.index("area_middle")]
    edges = np.quantile(area[area >= 0], np.arange(1, num_ranges) / num_ranges)
    where: Ints = np.searchsorted(edges, area)
    worth = known.weights[:, None] * known.targets[:, : len(sweep.configurations)]
    best = [int(_total(worth, where == part).argmax()) for part in range(num_ranges)]
    names = [sweep.configurations[place] for place in best]
    return MedianSizeRule(static=sweep.configurations[static], edges=edges.tolist(), names=names)


def _total(worth: Floats, which: NDArray[np.bool_]) -> Floats:
    return np.asarray(worth[which].sum(0))
