"""What policies choose, from predictions that are known."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paceline.errors import ConfigError, ModelError
from paceline.streaming.advice import Advice
from paceline.streaming.features import NAMES, UNKNOWN
from paceline.streaming.forest import Forest
from paceline.streaming.policy import Policy
from paceline.streaming.select import ForestPolicy, MedianSizeRule, PacelinePolicy, decide, marked, within_age

THREE = ("quick", "static", "slow")
WIDTH = len(NAMES) + 3
SPEED = NAMES.index("speed_middle")
AREA = NAMES.index("area_middle")


def advice(
    calm: tuple[float, ...] = (-0.1, 0.0, 0.2), fast: tuple[float, ...] = (0.1, 0.0, -0.4), **options: object
) -> Advice:
    """A single tree: which gains are predicted depends on speed alone; agreement is always expected to be 0.8."""
    values = np.array([[0.0] * 6, [*calm, 0.8, 0.8, 0.8], [*fast, 0.8, 0.8, 0.8]])
    forest = Forest(
        np.array([SPEED, 0, 0], np.int32), np.array([50.0, np.inf, np.inf]), np.array([1, 1, 2], np.int32),
        np.array([2, 1, 2], np.int32), values, np.array([0], np.int32), np.zeros(6), 1, WIDTH,
    )  # fmt: skip
    given = {
        "names": THREE, "static": "static", "traits": np.array([[0.05, 0.1], [0.1, 0.1], [0.3, 0.1]]), "forest": forest,
        "low": np.full(WIDTH, -2.0), "high": np.full(WIDTH, 1e4), "doubt": np.zeros(3), "exposure": np.array([0.1, 0.2, 0.5]),
    }  # fmt: skip
    return Advice(**{**given, **options})  # type: ignore[arg-type]


def scene(speed: float, **others: float) -> np.ndarray:
    features = np.ones(len(NAMES))
    features[SPEED] = speed
    for name, value in others.items():
        features[NAMES.index(name)] = value
    return features


def test_the_first_window_is_the_static_configurations() -> None:
    for policy in (PacelinePolicy(advice()), MedianSizeRule(static="static", edges=(), names=("slow",))):
        assert policy.choose(None, "slow", 0) == "static"


def test_the_scene_decides() -> None:
    policy = PacelinePolicy(advice())
    assert [policy.choose(scene(speed), "static", 0) for speed in (10, 90)] == ["slow", "quick"]


def test_doubt_keeps_the_static_configuration() -> None:
    policy = PacelinePolicy(advice(doubt=np.array([0.0, 0.0, 0.25])))
    assert policy.choose(scene(10), "static", 0) == "static"


def test_a_change_must_be_worth_its_cost() -> None:
    close = advice(calm=(0.18, 0.0, 0.2), switch_cost=0.05)
    policy = PacelinePolicy(close)
    assert policy.choose(scene(10), "quick", 0) == "quick"
    assert policy.choose(scene(10), "static", 0) == "slow"
    assert PacelinePolicy(replace(close, switch_cost=0.01)).choose(scene(10), "quick", 0) == "slow"


def test_a_scene_unlike_all_that_was_learned_from_gets_the_static_configuration() -> None:
    narrow = advice(high=np.full(WIDTH, 60.0))
    assert PacelinePolicy(narrow).choose(scene(10), "slow", 0) == "slow"
    odd = dict.fromkeys(NAMES[:10], 1e6)
    assert PacelinePolicy(narrow).choose(scene(10, **odd), "slow", 0) == "static"


def test_what_may_not_run_is_not_chosen() -> None:
    policy = PacelinePolicy(advice(), allowed=["quick", "static"])
    assert policy.choose(scene(10), "static", 0) == "static"
    without = PacelinePolicy(advice(), allowed=["quick", "slow"])
    assert without.choose(None, "slow", 0) == "quick"
    assert without.choose(scene(10), "static", 0) == "slow"  # 0.3 better than where it would stay
    for wrong in ([], ["quick", "unheard"]):
        with pytest.raises(ConfigError, match="allowed"):
            PacelinePolicy(advice(), allowed=wrong)


def test_boxes_that_fit_worse_than_expected_turn_it_away_from_old_ones() -> None:
    policy = PacelinePolicy(advice(slope=3.0))
    assert policy.choose(scene(10), "static", 0) == "slow"
    chosen = []
    for window in range(6):
        policy.observe("slow", 0.3, window)
        chosen.append(policy.choose(scene(10), "slow", window))
    assert chosen[-1] == "quick"  # shows the youngest boxes
    for window in range(12):  # and back, once they fit again
        policy.observe("static", 0.85, window)
        chosen.append(policy.choose(scene(10), "static", window))
    assert chosen[-1] == "slow"


def test_what_is_heard_before_the_first_choice_or_is_no_number_does_no_harm() -> None:
    policy = PacelinePolicy(advice(slope=3.0))
    policy.observe("slow", 0.1, 0)
    policy.observe("unheard", 0.1, 0)
    policy.choose(scene(10), "static", 0)
    policy.observe("unheard", 0.1, 0)
    policy.observe("slow", math.nan, 0)
    assert policy.choose(scene(10), "unheard", 0) == "slow"


@settings(max_examples=100, deadline=None)
@given(
    gains=st.lists(st.floats(-1, 1), min_size=4, max_size=4),
    doubt=st.lists(st.floats(0, 0.5), min_size=4, max_size=4),
    allowed=st.lists(st.booleans(), min_size=4, max_size=4),
    running=st.integers(0, 3),
    home=st.integers(0, 3),
    cost=st.floats(0, 0.3),
)
def test_a_choice_is_allowed_or_home_and_a_change_gains(
    gains: list[float], doubt: list[float], allowed: list[bool], running: int, home: int, cost: float
) -> None:
    each = np.array(gains)
    chosen = decide(each, running, home, np.array(allowed), np.array(doubt), cost)
    assert chosen == home or allowed[chosen]
    assert chosen == home or gains[chosen] > gains[home]
    if chosen not in (running, home) and allowed[running]:
        assert gains[chosen] - gains[home] > doubt[chosen]


def test_the_median_box_decides() -> None:
    rule = MedianSizeRule(static="static", edges=(5.0, 8.0), names=("slow", "static", "quick"))
    assert [rule.choose(scene(0, area_middle=area), "static", 0) for area in (4, 6, 9)] == ["slow", "static", "quick"]
    assert rule.choose(scene(0, area_middle=UNKNOWN), "slow", 0) == "static"
    for edges, names in (((5.0,), ("a",)), ((8.0, 5.0), ("a", "b", "c"))):
        with pytest.raises(ConfigError):
            MedianSizeRule(static="static", edges=edges, names=names)


def test_the_published_policy_takes_the_highest_prediction() -> None:
    columns = len(NAMES) + 3
    forest = Forest(
        np.array([len(NAMES) + 2, 0, 0], np.int32), np.array([0.5, np.inf, np.inf]), np.array([1, 1, 2], np.int32),
        np.array([2, 1, 2], np.int32), np.array([[0.0], [0.0], [0.3]]), np.array([0], np.int32), np.zeros(1), 1, columns,
    )  # fmt: skip
    policy: Policy = ForestPolicy(forest, static="static", names=THREE)
    policy.observe("slow", 0.5, 0)
    assert policy.choose(None, "static", 0) == "static"
    assert policy.choose(scene(1), "static", 0) == "slow"
    assert marked(scene(1), 3)[:, len(NAMES) :].tolist() == np.eye(3).tolist()


def test_ages_are_those_of_a_frame_that_had_to_wait() -> None:
    seconds = {"quick": 0.08, "middle": 0.15, "slow": 0.3}
    assert within_age(seconds, 0.1, 0.25) == ("quick", "middle")
    with pytest.raises(ConfigError, match="no configuration"):
        within_age(seconds, 0.1, 0.1)


def test_what_was_learned_comes_back_from_its_file(tmp_path: Path) -> None:
    path = tmp_path / "policy.npz"
    advice(slope=0.5, switch_cost=0.01).save(path)
    again = Advice.load(path)
    assert (again.names, again.static, again.slope, again.switch_cost) == (THREE, "static", 0.5, 0.01)
    assert PacelinePolicy(again).choose(scene(10), "static", 0) == "slow"


def test_what_does_not_fit_together_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "policy.npz"
    for wrong in ({"doubt": np.zeros(2)}, {"static": "unheard"}, {"low": np.zeros(4)}, {"names": ("a", "b")}):
        replace(advice(), **wrong).save(path)  # type: ignore[arg-type]
        with pytest.raises(ModelError):
            Advice.load(path)
    advice().forest.save(path, {"names": list(THREE)})
    with pytest.raises(ModelError, match="missing"):
        Advice.load(path)
