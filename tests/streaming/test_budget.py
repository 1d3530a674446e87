"""Cameras that share workers: what each may run, and whose frame is next."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paceline.errors import ConfigError
from paceline.scheduling import Wait
from paceline.sim import Arrival, replay
from paceline.streaming.budget import Budget, Offer, allocate
from paceline.streaming.configuration import Configuration
from paceline.streaming.dispatch import Camera, Dispatch
from paceline.streaming.frame import Detections, Floats, Frame
from paceline.streaming.pipeline import Pipeline, Start
from paceline.streaming.policy import Fixed, Policy
from paceline.streaming.profile import Runtimes
from paceline.streaming.sequence import RULES

SIZE = (64, 32)
SECONDS = {"fast": 0.02, "slow": 0.08}
TABLE = {name: Configuration(name=name, detector=name, max_age_s=0.3) for name in SECONDS}

offers = st.lists(
    st.dictionaries(
        st.sampled_from("abcd"), st.builds(Offer, st.integers(-5, 20).map(float), st.integers(1, 8).map(lambda n: n / 8)), min_size=1
    ),
    min_size=1, max_size=4,
)  # fmt: skip


def total(each: list[dict[str, Offer]], chosen: tuple[str, ...]) -> tuple[float, float]:
    picked = [camera[name] for camera, name in zip(each, chosen, strict=True)]
    return sum(offer.gain for offer in picked), sum(offer.load for offer in picked)


@given(offers, st.integers(1, 24).map(lambda n: n / 8))
@settings(max_examples=200, deadline=None)
def test_the_budget_is_kept_and_the_optimum_missed_by_a_purchase_at_most(
    each: list[dict[str, Offer]], num_workers: float
) -> None:
    gain, load = total(each, allocate(each, num_workers))
    least = sum(min(offer.load for offer in camera.values()) for camera in each)
    assert load <= max(num_workers, least) + 1e-9
    possible = [total(each, chosen) for chosen in product(*[list(camera) for camera in each])]
    optimum = max((value for value, cost in possible if cost <= num_workers), default=gain)
    spread = max(max(o.gain for o in camera.values()) - min(o.gain for o in camera.values()) for camera in each)
    assert gain >= optimum - spread - 1e-9


def test_with_room_for_all_everybody_gets_the_best() -> None:
    camera = {"a": Offer(1.0, 0.1), "b": Offer(2.0, 0.9)}
    assert allocate([camera] * 5, 5.0) == ("b",) * 5
    assert allocate([camera] * 5, 0.0) == ("a",) * 5, "without any room the least"


def test_what_costs_less_and_gains_more_is_always_taken() -> None:
    assert allocate([{"a": Offer(1.0, 0.5), "b": Offer(2.0, 0.5), "c": Offer(0.0, 0.1)}], 0.5) == ("b",)


# ── policies ────────────────────────────────────────────────────────────────────────────────────


def test_cameras_outbid_one_another() -> None:
    budget = Budget(Runtimes({name: [seconds] for name, seconds in SECONDS.items()}), num_workers=1)
    wishes = {"left": 1.0, "right": 1.0}

    def gains(camera: str) -> Policy:
        def predict(features: Floats | None) -> Mapping[str, float]:
            return {"fast": 0.0, "slow": wishes[camera]}

        return budget.policy(camera, TABLE, 10.0, predict)

    left, right = gains("left"), gains("right")
    wishes["right"] = 5.0
    assert right.choose(None, "fast", 0) == "slow"
    assert left.choose(None, "fast", 0) == "fast", "0.8 + 0.8 workers are not to be had"
    wishes["left"] = 9.0
    assert left.choose(None, "fast", 0) == "slow"
    assert right.choose(None, "slow", 0) == "fast"


def test_wrong_options_are_named() -> None:
    runtimes = Runtimes({"fast": [0.02]})
    with pytest.raises(ConfigError, match="num_workers"):
        Budget(runtimes, 0)
    budget = Budget(runtimes, 1)
    budget.policy("a", TABLE, 10.0, lambda features: {})
    with pytest.raises(ConfigError, match="'a' is given twice"):
        budget.policy("a", TABLE, 10.0, lambda features: {})
    with pytest.raises(ConfigError, match="rate_hz of camera 'b'"):
        budget.policy("b", TABLE, 0.0, lambda features: {})
    with pytest.raises(ConfigError, match="cameras"):
        Dispatch({})


# ── dispatch ────────────────────────────────────────────────────────────────────────────────────


def pipeline(**options: object) -> Pipeline:
    runtimes = Runtimes({name: [seconds] for name, seconds in SECONDS.items()})
    return Pipeline(TABLE.values(), Fixed("slow"), runtimes, size=SIZE, rule=RULES["eager"], **options)  # type: ignore[arg-type]


def test_the_camera_whose_screen_is_too_old_soonest_is_next() -> None:
    dispatch = Dispatch(
        {"patient": Camera(pipeline()), "urgent": Camera(pipeline(max_output_age_s=0.3))}, num_workers=2
    )
    dispatch.submit(("patient", Frame(0, 0, SIZE)), 0)
    dispatch.submit(("urgent", Frame(0, 50_000, SIZE)), 50_000)
    first, second = dispatch.schedule(50_000), dispatch.schedule(50_000)
    assert isinstance(first, Start)
    assert isinstance(second, Start)
    assert [dispatch.running[first], dispatch.running[second]] == ["urgent", "patient"]
    assert isinstance(dispatch.schedule(50_000), Wait)
    assert dispatch.commit(first, Detections(), 130_000) is not None
    dispatch.failed(second, ValueError(), 130_000)
    assert not dispatch.running


def test_each_camera_has_its_own_clock() -> None:
    dispatch = Dispatch({"early": Camera(pipeline()), "late": Camera(pipeline(), epoch_us=5_000_000)})
    dispatch.submit(("late", Frame(0, 0, SIZE)), 5_000_100)
    plan = dispatch.schedule(5_000_200)
    assert isinstance(plan, Start)
    assert plan.start_us == 200
    wait = dispatch.schedule(5_000_200)
    assert isinstance(wait, Wait)
    assert wait.until == 5_000_200 + 2 * 96_000
    output = dispatch.commit(plan, Detections(), 5_080_200)
    assert output is not None
    assert output.emit_us == 80_200


def test_all_cameras_get_their_turn_when_there_is_too_much() -> None:
    names = ["a", "b", "c", "d"]
    dispatch = Dispatch({name: Camera(pipeline()) for name in names})
    arrivals = [
        Arrival(at + 1000 * place, (name, Frame(index, at + 1000 * place, SIZE)))
        for index, at in enumerate(range(0, 4_000_000, 100_000))
        for place, name in enumerate(names)
    ]
    taken = Counter[str]()

    def execute(plan: Start) -> tuple[float, Detections]:
        taken[dispatch.running[plan]] += 1
        return SECONDS[plan.configuration.detector], Detections()

    class Outputs:
        """What `replay` drives."""

        submit, schedule = staticmethod(dispatch.submit), staticmethod(dispatch.schedule)

        def commit(self, plan: Start, result: Detections, now: int) -> None:
            dispatch.commit(plan, result, now)

    replay(Outputs(), arrivals, execute)
    for name in names:
        dispatch.cameras[name].pipeline.check()
    assert max(taken.values()) - min(taken.values()) <= 3, taken
    assert np.sum(list(taken.values())) == pytest.approx(50, abs=4)
