"""Do rankings of several seeds agree? What does not come out again is no finding. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from paceline.errors import ConfigError
from paceline.transfer.ranking import Ranking

UNSTABLE: Final = 0.6  # below this a ranking is told to be an accident of its seed


class Stability(msgspec.Struct, frozen=True, kw_only=True):
    """Mean of Spearman's rank correlation over pairs of rankings: 1 is the same order, 0 is none."""

    overall: float
    units: dict[str, float]  # within each unit alone, which is harder: no differences between layers help
    places: dict[
        str, tuple[float, ...]
    ]  # of each channel, standard deviation of its place in its unit, as a share of the unit
    num_rankings: int

    @property
    def warning(self) -> str | None:
        """What to tell the user, if the order is not to be relied upon."""
        weak = sum(value < UNSTABLE for value in self.units.values())
        if self.overall >= UNSTABLE and not weak:
            return None
        return (
            f"channels of {weak} of {len(self.units)} units come in another order with another seed "
            f"(Spearman below {UNSTABLE:g}; {self.overall:.2f} over all channels): rank by more pictures, or average over seeds"
        )


def stability(rankings: Sequence[Ranking]) -> Stability:
    """How far rankings of the same units, made with several seeds, agree. ConfigError for fewer than two, or other units.

    >>> first = Ranking(criterion="taylor", scores={"conv1": (1.0, 2.0, 3.0)}, num_pictures=8)
    >>> second = Ranking(criterion="taylor", scores={"conv1": (1.0, 3.0, 2.0)}, num_pictures=8)
    >>> stability([first, second]).overall
    0.5
    """
    if len(rankings) < 2:
        raise ConfigError(f"stability needs the rankings of at least two seeds, got {len(rankings)}")
    shapes = [{unit: len(scores) for unit, scores in ranking.scores.items()} for ranking in rankings]
    if any(shape != shapes[0] for shape in shapes):
        raise ConfigError("these rankings are of different networks: their units or numbers of channels differ")
    of_unit = {unit: np.array([ranking.scores[unit] for ranking in rankings]) for unit in shapes[0]}  # [S, O] each
    return Stability(
        overall=_agreement(np.concatenate(list(of_unit.values()), axis=1)),
        units={unit: _agreement(scores) for unit, scores in of_unit.items()},
        places={unit: _wander(scores) for unit, scores in of_unit.items()},
        num_rankings=len(rankings),
    )


def mean_ranking(rankings: Sequence[Ranking]) -> Ranking:
    """One ranking of several seeds: the mean of each channel's scores."""
    scores = {
        unit: tuple(np.mean([ranking.scores[unit] for ranking in rankings], axis=0).tolist())
        for unit in rankings[0].scores
    }
    num_pictures = sum(ranking.num_pictures for ranking in rankings)
    return Ranking(criterion=rankings[0].criterion, scores=scores, num_pictures=num_pictures)


def spearman(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    """Pearson's correlation of ranks, equals sharing theirs; 0 where one of them says nothing (all scores equal).

    >>> spearman(np.array([1.0, 2.0, 3.0]), np.array([10.0, 20.0, 15.0]))
    0.5
    """
    one, other = (ranks - ranks.mean() for ranks in (_ranks(first), _ranks(second)))
    size = float(np.sqrt((one @ one) * (other @ other)))
    return round(float(one @ other) / size, 12) if size else 0.0


def _ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Place of each value, from 0; equal values all get the mean of their places."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    means: NDArray[np.float64] = np.cumsum(counts) - (counts + 1) / 2
    return means[inverse]


def _agreement(scores: NDArray[np.float64]) -> float:
    """[S, O] -> mean over pairs of rows"""
    return float(np.mean([spearman(first, second) for first, second in combinations(scores, 2)]))


def _wander(scores: NDArray[np.float64]) -> tuple[float, ...]:
    """[S, O] -> [O]"""
    places = np.stack([_ranks(row) for row in scores]) / max(1, scores.shape[1] - 1)
    return tuple(places.std(axis=0).tolist())
