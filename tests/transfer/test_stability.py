from __future__ import annotations

import numpy as np
import pytest

from paceline.errors import ConfigError
from paceline.transfer.ranking import Ranking
from paceline.transfer.stability import mean_ranking, spearman, stability


def ranking(*scores: float, unit: str = "conv1") -> Ranking:
    return Ranking(criterion="taylor", scores={unit: scores}, num_pictures=4)


def test_spearman_is_that_of_scipy() -> None:
    stats = pytest.importorskip("scipy.stats")
    generator = np.random.default_rng(0)
    for _ in range(20):
        first, second = generator.integers(0, 6, (2, 15)).astype(float)  # with equals
        assert spearman(first, second) == pytest.approx(stats.spearmanr(first, second).statistic)


def test_only_order_counts() -> None:
    one, other = np.array([1.0, 2.0, 3.0, 4.0]), np.array([1.0, 20.0, 300.0, 4000.0])
    assert spearman(one, other) == 1.0
    assert spearman(one, -other) == -1.0
    assert spearman(one, np.ones(4)) == 0.0  # what says nothing agrees with nothing


def test_the_same_order_is_stable_and_warns_of_nothing() -> None:
    found = stability([ranking(1, 2, 3), ranking(2, 4, 9), ranking(0, 1, 2)])
    assert (found.overall, found.units, found.num_rankings, found.warning) == (1.0, {"conv1": 1.0}, 3, None)
    assert found.places == {"conv1": (0.0, 0.0, 0.0)}


def test_another_order_with_another_seed_is_a_warning() -> None:
    found = stability([ranking(1, 2, 3), ranking(3, 2, 1)])
    assert found.overall == -1.0
    assert found.warning is not None
    assert "1 of 1 units" in found.warning
    assert found.places == {"conv1": (0.5, 0.0, 0.5)}


def test_one_weak_unit_is_a_warning_though_all_channels_together_agree() -> None:
    steady = {"conv1": tuple(float(score) for score in range(30))}
    first = Ranking(criterion="taylor", scores={**steady, "conv2": (100.0, 101.0)}, num_pictures=4)
    second = Ranking(criterion="taylor", scores={**steady, "conv2": (101.0, 100.0)}, num_pictures=4)
    found = stability([first, second])
    assert found.overall > 0.99
    assert found.warning is not None


def test_what_cannot_be_compared_is_refused() -> None:
    with pytest.raises(ConfigError, match="at least two"):
        stability([ranking(1, 2)])
    for other in (ranking(1, 2, 3), ranking(1, 2, unit="conv2")):
        with pytest.raises(ConfigError, match="different networks"):
            stability([ranking(1, 2), other])


def test_the_mean_of_rankings_is_a_ranking() -> None:
    assert mean_ranking([ranking(1, 2), ranking(3, 6)]) == Ranking(
        criterion="taylor", scores={"conv1": (2.0, 4.0)}, num_pictures=8
    )
