"""Trees grown by scikit-learn, handed over as flat arrays. Only fitting needs it; running does not."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, Protocol, final

import numpy as np

from paceline.errors import ConfigError
from paceline.registry import Registry
from paceline.streaming.forest import Forest, joined
from paceline.streaming.frame import Floats


class Learner(Protocol):
    """Learns [R, features] -> [R, outputs], every row with its weight."""

    def __call__(self, rows: Floats, targets: Floats, weights: Floats, seed: int) -> Regression: ...


class Regression(Protocol):
    def __call__(self, rows: Floats) -> Floats:
        """[R, features] -> [R, outputs]"""
        ...


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class TreeAverage:
    """The mean of trees, each of which saw other rows; leaves hold a number for every output.

    ``kind``: "ExtraTrees" draws thresholds at random (Geurts et al. 2006), which suits noisy targets and is quick; "RandomForest" searches
    for them (Breiman 2001).
    """

    kind: Literal["ExtraTrees", "RandomForest"]
    num_trees: int = 100
    depth: int = 16
    min_leaf: int = 5
    features: float = 0.7  # share tried at each split
    most_rows: int = 8000  # a tree sees

    def __call__(self, rows: Floats, targets: Floats, weights: Floats, seed: int) -> Forest:
        made = getattr(_scikit("ensemble"), f"{self.kind}Regressor")(
            n_estimators=self.num_trees,
            max_depth=self.depth,
            min_samples_leaf=self.min_leaf,
            max_features=self.features,
            bootstrap=True,
            max_samples=min(len(rows), self.most_rows),
            random_state=seed,
            n_jobs=1,
        )
        made.fit(rows, targets[:, 0] if targets.shape[1] == 1 else targets, sample_weight=weights)
        trees = [each.tree_ for each in made.estimators_]
        return _forest(trees, 1 / len(trees), np.zeros(targets.shape[1]), rows.shape[1])


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Boosting:
    """Trees that each learn what the ones before left over (Friedman 2001); one sum per output."""

    num_trees: int = 60
    depth: int = 4
    rate: float = 0.08
    min_leaf: int = 30
    features: float = 0.3
    most_rows: int = 6000

    def __call__(self, rows: Floats, targets: Floats, weights: Floats, seed: int) -> Forest:
        chosen = np.random.default_rng(seed).permutation(len(rows))[: self.most_rows]
        return joined([self._one(rows[chosen], column, weights[chosen], seed) for column in targets[chosen].T])

    def _one(self, rows: Floats, target: Floats, weights: Floats, seed: int) -> Forest:
        made = _scikit("ensemble").GradientBoostingRegressor(
            n_estimators=self.num_trees,
            max_depth=self.depth,
            learning_rate=self.rate,
            min_samples_leaf=self.min_leaf,
            max_features=self.features,
            subsample=0.6,
            random_state=seed,
        )
        made.fit(rows, target, sample_weight=weights)
        base = np.array([float(np.ravel(made.init_.constant_)[0])])
        return _forest([each.tree_ for each in made.estimators_[:, 0]], self.rate, base, rows.shape[1])


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Neighbours:
    """The mean of the rows most like it, all features on one scale."""

    count: int = 60
    most_rows: int = 20_000

    def __call__(self, rows: Floats, targets: Floats, weights: Floats, seed: int) -> Regression:
        chosen = np.random.default_rng(seed).permutation(len(rows))[: self.most_rows]
        middle, spread = rows.mean(0), np.maximum(rows.std(0), 1e-9)
        found = _scikit("neighbors").NearestNeighbors(n_neighbors=min(self.count, len(chosen)))
        found.fit((rows[chosen] - middle) / spread)
        held, weight = targets[chosen], weights[chosen]

        def mean(rows: Floats) -> Floats:
            near = found.kneighbors((rows - middle) / spread, return_distance=False)
            return np.asarray(np.einsum("rn,rnc->rc", weight[near], held[near]) / weight[near].sum(1)[:, None])

        return mean


LEARNERS: Final = Registry[Learner]("learner")
LEARNERS.register("forest", TreeAverage(kind="ExtraTrees", min_leaf=10, features=1.0))
LEARNERS.register("boosting", Boosting())
LEARNERS.register("neighbours", Neighbours())


def _forest(trees: Sequence[Any], scale: float, base: Floats, num_features: int) -> Forest:
    """Trees of scikit-learn one after another."""
    starts = np.cumsum([0, *(tree.node_count for tree in trees)])
    parts = []
    for tree, start in zip(trees, starts, strict=False):
        itself = np.arange(tree.node_count)
        is_leaf = tree.children_left < 0
        parts.append(
            (
                np.where(is_leaf, 0, tree.feature),
                np.where(is_leaf, np.inf, tree.threshold),
                start + np.where(is_leaf, itself, tree.children_left),
                start + np.where(is_leaf, itself, tree.children_right),
                tree.value[:, :, 0] * scale,
            )
        )
    feature, threshold, left, right, values = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    whole = [each.astype(np.int32) for each in (feature, left, right, starts[:-1])]
    depth = max(int(tree.max_depth) for tree in trees)
    return Forest(whole[0], threshold, whole[1], whole[2], values, whole[3], base, depth, num_features)


def _scikit(module: str) -> Any:
    try:
        return importlib.import_module(f"sklearn.{module}")
    except ImportError:
        raise ConfigError('fitting a policy needs scikit-learn; run: pip install "paceline[video]"') from None
