from __future__ import annotations

import pytest

from paceline.errors import ExecutionError
from paceline.transfer.fit.history import RateTrial
from paceline.transfer.fit.learning_rate import FACTORS, MARGIN, SHARE, choose, trial_steps


def trials(*losses: float | None) -> list[RateTrial]:
    return [RateTrial(learning_rate=10.0**place, loss=loss) for place, loss in enumerate(losses)]


@pytest.mark.parametrize("num_steps", [1, 50, 200, 375, 5000, 10**6])
def test_trials_cost_a_small_share(num_steps: int) -> None:
    assert trial_steps(num_steps) * len(FACTORS) <= SHARE * num_steps


def test_the_first_wins_unless_another_is_clearly_better() -> None:
    assert choose(trials(1.0, 1.0 - MARGIN / 2, 0.999), 2.0, 10) == 1.0
    assert choose(trials(1.0, 0.9, 0.5), 2.0, 10) == 100.0


def test_what_diverges_is_refused() -> None:
    assert choose(trials(None, 9.0, 1.9), 2.0, 10) == 100.0


def test_a_perfect_start_may_become_a_little_worse() -> None:
    assert choose(trials(0.2), 0.001, 10) == 1.0


def test_if_all_diverge_the_error_names_what_was_tried() -> None:
    with pytest.raises(ExecutionError, match=r"1, 10.*lower learning_rate"):
        choose(trials(None, 50.0), 2.0, 10)
