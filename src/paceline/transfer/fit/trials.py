"""Learning rates tried on the first steps, each from the same start."""

from __future__ import annotations

import itertools
import math

import numpy as np

from paceline.errors import ExecutionError
from paceline.transfer.fit.history import Progress, RateTrial
from paceline.transfer.fit.learner import Learner
from paceline.transfer.fit.learning_rate import FACTORS, choose, trial_steps
from paceline.transfer.fit.options import FitOptions
from paceline.transfer.fit.schedule import rate_factor
from paceline.transfer.fit.state import copied, put_back
from paceline.transfer.pictures.order import shuffled

NUM_PICTURES = 256  # of validation, by which rates are compared


def choose_rate(
    learner: Learner, base_rate: float, options: FitOptions, progress: Progress
) -> tuple[float, tuple[RateTrial, ...]]:
    """The rate to train with, and what was tried. Leaves the learner as it was.

    Each trial is a whole training in small, the rate's rise and fall included: a rate held up to the end looks worse than it is.
    """
    num_steps = trial_steps(options.epochs * learner.feed.num_batches)
    if not num_steps:
        return base_rate, ()
    rows = np.sort(shuffled(learner.feed.num_held_out, options.seed, 0)[:NUM_PICTURES])
    start = copied(learner.tensors)
    start_loss = learner.judge(rows).loss
    progress.begin("rate", num_steps * len(FACTORS))
    trials = []
    for factor in FACTORS:
        goes_on = _trial(learner, base_rate * factor, num_steps, options, progress)
        loss = learner.judge(rows).loss if goes_on else math.nan
        trials.append(RateTrial(learning_rate=base_rate * factor, loss=loss if math.isfinite(loss) else None))
        put_back(learner.tensors, start)
        learner.forget()
    return choose(trials, start_loss, learner.net.head.out_features), tuple(trials)


def _trial(learner: Learner, rate: float, num_steps: int, options: FitOptions, progress: Progress) -> bool:
    """Trains for so many steps; False if the loss is no number any more."""
    epochs = (learner.feed.batches(epoch) for epoch in itertools.count(1))
    for step, (inputs, labels) in enumerate(itertools.islice(itertools.chain.from_iterable(epochs), num_steps)):
        try:
            now = rate * rate_factor(step, num_steps, options.warmup_share)
            progress.step(learner.step(inputs, labels, now, step))
        except ExecutionError:
            return False
    return True
