from __future__ import annotations

import pytest
import torch

from paceline.errors import ExecutionError
from paceline.transfer.fit import trials
from paceline.transfer.fit.history import Silent
from paceline.transfer.fit.learning_rate import FACTORS
from paceline.transfer.fit.state import copied
from paceline.transfer.fit.trials import choose_rate
from tests.transfer.fit.made import learner, options

LONG = options(epochs=17, batch_size=2)  # of twelve batches each: so long that trials are worth it


def test_trials_leave_nothing_behind() -> None:
    made = learner(given=LONG)
    before = copied(made.tensors)
    rate, tried = choose_rate(made, 1e-2, LONG, Silent())
    assert [trial.learning_rate for trial in tried] == [pytest.approx(1e-2 * factor) for factor in FACTORS]
    assert rate in [trial.learning_rate for trial in tried]
    assert all(torch.equal(tensor, made.tensors[name]) for name, tensor in before.items())
    assert not made.optimizer.state


def test_a_short_training_takes_the_rate_as_it_is() -> None:
    assert choose_rate(learner(), 1e-2, options(epochs=2), Silent()) == (1e-2, ())


def test_a_rate_far_too_high_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trials, "FACTORS", (1.0, 1e-3))
    rate, tried = choose_rate(learner("full_finetune", LONG), 3.0, LONG, Silent())
    assert rate == pytest.approx(3e-3)
    assert tried[0].loss is None or tried[0].loss > 1


def test_if_all_are_too_high_the_user_is_told() -> None:
    with pytest.raises(ExecutionError, match="lower learning_rate"):
        choose_rate(learner("full_finetune", LONG), 1e4, LONG, Silent())
