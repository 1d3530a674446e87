"""What is learned from sweeps in which it is known what pays."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from paceline.errors import ConfigError
from paceline.streaming import oracle
from paceline.streaming.examples import change_cost, examples, visited
from paceline.streaming.features import NAMES
from paceline.streaming.fit import fit, fit_published, fit_rule, greedy
from paceline.streaming.select import PacelinePolicy
from paceline.streaming.simulate import Simulated
from paceline.streaming.sweep import Run, Sweep

pytest.importorskip("sklearn")

NAMED = ("quick", "static", "slow")
TRAITS = {"quick": (0.05, 0.1), "static": (0.1, 0.1), "slow": (0.3, 0.1)}
SPEED, AREA = NAMES.index("speed_middle"), NAMES.index("area_middle")
NUM_FRAMES, NUM_WINDOWS = 60, 6


def made(num_logs: int = 24, *, seed: int = 0, signal: float = 1.0) -> Sweep:
    """Fast logs suit the quick configuration, slow ones the slow one; features show the speed, and boxes are small in slow logs."""
    rng = np.random.default_rng(seed)
    fast = np.repeat(rng.random((num_logs, 1)) < 0.5, NUM_WINDOWS, axis=1)
    features = rng.normal(size=(3, num_logs, NUM_WINDOWS, len(NAMES)))
    features[..., SPEED] = 100.0 * fast + 5 * rng.normal(size=(3, *fast.shape))
    features[..., AREA] = 6.0 + fast + 0.1 * rng.normal(size=(3, *fast.shape))
    windows = np.broadcast_to(np.arange(NUM_FRAMES) // 10, (num_logs, NUM_FRAMES))
    gains = signal * np.stack((np.where(fast, 3, -5), np.zeros_like(fast, int), np.where(fast, -9, 4)))
    errors = rng.poisson(8, (num_logs, NUM_FRAMES)) - gains[:, np.arange(num_logs)[:, None], windows]
    counts = np.zeros((3, num_logs, NUM_FRAMES, 4), np.int64)
    counts[..., 0] = np.maximum(errors, 0)
    counts[..., 3] = 20
    agreement = 0.7 + 0.05 * rng.normal(size=features.shape[:3])
    names = tuple(f"log {place}" for place in range(num_logs))
    return Sweep(NAMED, names, counts, counts, windows, features, agreement)


def spliced(policy: PacelinePolicy, found: Sweep) -> np.ndarray:
    choice = np.zeros(found.truths.shape, np.int64)
    for log in range(found.num_logs):
        choice[log, 0] = NAMED.index(policy.choose(None, "static", 0))
        for window in range(1, found.num_windows):
            ran = choice[log, window - 1]
            choice[log, window] = NAMED.index(policy.choose(found.features[ran, log, window - 1], NAMED[ran], 0))
    return choice


def ran(found: Sweep, choices: tuple[str, ...], extra: int = 0) -> list[Run]:
    """A run of every log with these choices; each change costs so many errors more than the windows cut from runs of one."""
    places, windows = [NAMED.index(name) for name in choices], found.windows[0]
    result = []
    for log in range(found.num_logs):
        counts = np.stack([found.counts[places[window], log, frame] for frame, window in enumerate(windows)])
        counts[0, 1] += extra * int((np.diff(places) != 0).sum())
        features, agreement = found.features[0, log], found.agreement[0, log]
        result.append(Run(counts, counts, features, agreement, choices, Simulated((), (), {}, ())))  # type: ignore[arg-type]
    return result


def test_what_pays_is_learned() -> None:
    train, test = made(), made(seed=1)
    fitted = fit(train, TRAITS)
    static = NAMED.index(fitted.advice.static)
    choice = spliced(PacelinePolicy(fitted.advice), test)
    scores = oracle.scores(test.errors, test.truths, choice)
    base = oracle.scores(test.errors, test.truths, oracle.always(static, test.truths))
    best = oracle.scores(test.errors, test.truths, oracle.window_oracle(test.errors, static))
    assert oracle.share_closed(scores, base, best).low > 0.4
    assert fitted.gain == pytest.approx((scores - base).mean(), abs=0.04)
    assert fitted.explained > 0.5


def test_no_gain_is_worth_logs_that_lose_much() -> None:
    found = made()
    counts = found.counts.copy()
    turned = np.random.default_rng(5).random(found.num_logs) < 0.25  # looks fast, and is not
    counts[0, turned, :, 0] = counts[1, turned, :, 0] + 8
    careful = fit(replace(found, counts=counts), TRAITS)
    assert careful.worst >= -0.02


def test_where_nothing_can_be_told_hardly_anything_is_lost() -> None:
    train, test = made(signal=0.0), made(seed=1, signal=0.0)
    fitted = fit(train, TRAITS)
    static = NAMED.index(fitted.advice.static)
    scores = oracle.scores(test.errors, test.truths, spliced(PacelinePolicy(fitted.advice), test))
    base = oracle.scores(test.errors, test.truths, oracle.always(static, test.truths))
    assert abs((scores - base).mean()) < 0.02


def test_the_same_seed_learns_the_same() -> None:
    one, other = (fit(made(10), TRAITS, seed=3).advice for _ in range(2))
    rows = np.random.default_rng(0).normal(size=(20, len(NAMES) + 3))
    assert (one.forest(rows) == other.forest(rows)).all()
    assert (one.doubt == other.doubt).all()


@pytest.mark.parametrize("learner", ["forest", "boosting"])
def test_predictions_alone_are_the_same_trees_without_doubt(learner: str) -> None:
    found = made(10)
    advice = greedy(found, TRAITS, learner=learner)
    assert (advice.doubt == 0).all()
    assert advice.switch_cost == advice.slope == 0


def test_a_row_holds_what_was_seen_and_what_each_gained() -> None:
    found = made(4)
    known = examples(found, 1, np.array(list(TRAITS.values())))
    assert len(known.rows) == 3 * 4 * (NUM_WINDOWS - 1)
    place = int(np.flatnonzero((known.seen_by == 2) & (known.logs == 1) & (known.windows == 3))[0])
    assert (known.rows[place, : len(NAMES)] == found.features[2, 1, 2]).all()
    assert known.rows[place, len(NAMES) :].tolist() == [found.agreement[2, 1, 2], 0.3, 0.1]
    gained = (found.errors[1, 1, 3] - found.errors[:, 1, 3]) / found.truths[1, 3]
    assert known.targets[place, :3].tolist() == pytest.approx(np.clip(gained, -1, 1).tolist())
    assert known.targets[place, 3:].tolist() == found.agreement[:, 1, 3].tolist()
    assert known.weights[known.logs == 1].sum() == pytest.approx(3 * (NUM_WINDOWS - 1) / NUM_WINDOWS)


def test_windows_without_objects_teach_nothing() -> None:
    found = made(4)
    counts = found.counts.copy()
    counts[:, 0] = 0
    counts[:, 1, :20, 3] = 0
    known = examples(replace(found, counts=counts), 1, np.zeros((3, 2)))
    assert 0 not in known.logs
    assert set(known.windows[known.logs == 1].tolist()) == {2, 3, 4, 5}


def test_what_a_policy_saw_is_learned_from_too() -> None:
    found = made(6)
    runs = ran(found, ("static", "slow", "slow", "quick", "static", "static"))
    seen = visited(found, 1, np.array(list(TRAITS.values())), runs)
    assert len(seen.rows) == 6 * (NUM_WINDOWS - 1)
    assert [NAMED[place] for place in seen.seen_by[seen.logs == 2]] == ["static", "slow", "slow", "quick", "static"]
    assert fit(found, TRAITS, visited=seen).advice.forest is not None


def test_a_change_costs_what_the_closed_loop_loses() -> None:
    found = made(6)
    steady, turning = ("static",) * 6, ("static", "slow", "slow", "quick", "quick", "quick")
    assert change_cost(found, ran(found, steady)) == 0
    assert change_cost(found, ran(found, turning)) == 0
    assert change_cost(found, ran(found, turning, extra=10)) == pytest.approx(2 * 10 / (2 * 200))
    assert fit(found, TRAITS, change_cost=0.07).advice.switch_cost >= 0.07


def test_the_rule_gives_small_boxes_the_larger_model() -> None:
    rule = fit_rule(made(), num_ranges=2)
    features = np.zeros(len(NAMES))
    chosen = []
    for area in (5.5, 7.5):
        features[AREA] = area
        chosen.append(rule.choose(features, "static", 0))
    assert chosen == ["slow", "quick"]


def test_the_published_forest_takes_what_it_predicts() -> None:
    policy = fit_published(made())
    features = np.zeros(len(NAMES))
    features[AREA], features[SPEED] = 7.0, 100.0
    assert policy.choose(features, "static", 0) == "quick"


def test_what_cannot_be_fitted_is_said() -> None:
    with pytest.raises(ConfigError, match="too few"):
        fit(made(4), TRAITS)
    with pytest.raises(ConfigError, match="traits"):
        fit(made(6), {"quick": (0.05, 0.1)})
    with pytest.raises(ConfigError, match="neighbours"):
        greedy(made(6), TRAITS, learner="neighbours")
    with pytest.raises(ConfigError, match="unknown learner"):
        fit(made(6), TRAITS, learner="guess")
