"""Which learning rate to take, of a few tried on the first steps."""

from __future__ import annotations

import math
from collections.abc import Iterable

from paceline.errors import ExecutionError
from paceline.transfer.fit.history import RateTrial

FACTORS = (1.0, 1 / 3, 3.0)  # the method's own rate first: it wins unless another is clearly better
SHARE = 0.12  # of a training's steps, at most, that all trials together take
MIN_STEPS, MAX_STEPS = 8, 100  # of one trial; fewer tell nothing
MARGIN = (
    0.03  # a shorter training likes other rates, so one that is not the method's own must win by this share of the loss
)
RUIN = 1.5  # times the loss of the start, or of guessing: nothing is learned there


def trial_steps(num_steps: int) -> int:
    """Steps of each trial before a training of ``num_steps``; 0 if it is too short for any.

    >>> trial_steps(400), trial_steps(100), trial_steps(100_000)
    (16, 0, 100)
    """
    steps = min(MAX_STEPS, int(num_steps * SHARE / len(FACTORS)))
    return steps if steps >= MIN_STEPS else 0


def choose(trials: Iterable[RateTrial], start_loss: float, num_classes: int) -> float:
    """The rate to train with: the first one tried, unless another's loss is lower by ``MARGIN``.

    A rate whose loss ends far above that of the start, and of guessing, diverges. ExecutionError if all do.

    >>> choose([RateTrial(learning_rate=1.0, loss=2.0), RateTrial(learning_rate=3.0, loss=1.0)], 2.5, 10)
    3.0
    """
    trials = list(trials)
    limit = RUIN * max(start_loss, math.log(num_classes))
    chosen, least = None, math.inf
    for trial in trials:
        if trial.loss is not None and trial.loss < min(limit, least * (1 - MARGIN)):
            chosen, least = trial, trial.loss
    if chosen is None:
        tried = ", ".join(f"{trial.learning_rate:.3g}" for trial in trials)
        raise ExecutionError(
            f"with every learning rate tried ({tried}) the loss rises far above its start, {start_loss:.4g}; give a lower "
            "learning_rate, or look for wrong labels and odd pictures"
        )
    return chosen.learning_rate
