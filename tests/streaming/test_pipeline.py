"""Frames in, decisions and tracks out: what is taken, dropped, switched, and refused."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paceline.errors import ConfigError
from paceline.scheduling import Wait
from paceline.sim import Arrival, replay
from paceline.streaming.agreement import agreement
from paceline.streaming.configuration import Configuration
from paceline.streaming.frame import Detections, Floats, Frame, Output
from paceline.streaming.pipeline import Pipeline, Start
from paceline.streaming.policy import Fixed, Policy
from paceline.streaming.profile import Runtimes
from paceline.streaming.sequence import RULES

SIZE = (640, 360)
GAP_US = 100_000
RUNTIMES = {"fast": 0.020, "middle": 0.070, "slow": 0.250}


def row(name: str, **values: object) -> Configuration:
    return Configuration(**{"name": name, "detector": name, "max_age_s": 0.3} | values)  # type: ignore[arg-type]


def found(num: int = 1, score: float = 0.9, shift: float = 0.0) -> Detections:
    lefts = 10.0 + 60 * np.arange(num) + shift
    boxes = np.stack([lefts, np.full(num, 10.0), lefts + 40, np.full(num, 50.0)], axis=1)
    return Detections(boxes, np.full(num, score), np.zeros(num, np.int64))


def frame(index: int) -> Frame:
    return Frame(index, index * GAP_US, SIZE)


def make(policy: Policy | str = "middle", names: Sequence[str] = tuple(RUNTIMES), **options: object) -> Pipeline:
    return Pipeline(
        [row(name) for name in names],
        Fixed(policy) if isinstance(policy, str) else policy,
        Runtimes({name: [seconds] for name, seconds in RUNTIMES.items()}),
        size=SIZE,
        **{"rule": RULES["eager"]} | options,  # type: ignore[arg-type]
    )


def started(pipeline: Pipeline, now: int) -> Start:
    plan = pipeline.schedule(now)
    assert isinstance(plan, Start), plan
    return plan


def run(pipeline: Pipeline, now: int, detections: Detections | None = None) -> Output | None:
    """Starts, and ends when it was predicted."""
    plan = started(pipeline, now)
    seconds = RUNTIMES[plan.configuration.detector]
    return pipeline.commit(plan, found() if detections is None else detections, now + round(1e6 * seconds))


class Taught:
    """Chooses what it is told to, in turn, and remembers what it was asked."""

    def __init__(self, *names: str) -> None:
        self.names = list(names)
        self.asked: list[tuple[bool, str, int]] = []
        self.observed: list[tuple[str, float]] = []

    def choose(self, features: Floats | None, current: str, now_us: int) -> str:
        self.asked.append((features is None, current, now_us))
        return self.names.pop(0) if len(self.names) > 1 else self.names[0]

    def observe(self, configuration: str, agreement: float, now_us: int) -> None:
        self.observed.append((configuration, agreement))


# ── the mailbox ─────────────────────────────────────────────────────────────────────────────────


def test_the_newest_frame_wins_and_others_are_counted() -> None:
    pipeline = make()
    for index in range(3):
        pipeline.submit(frame(index), 200_000 + index)
    assert started(pipeline, 200_010).frame.index == 2
    assert pipeline.drops == {"replaced": 2}
    assert pipeline.schedule(200_011) != Wait(None), "an alarm is set for a run that takes too long"
    pipeline.check()


def test_a_frame_that_is_not_newer_is_dropped() -> None:
    pipeline = make()
    pipeline.submit(frame(3), 300_000)
    pipeline.submit(frame(3), 300_001)
    pipeline.submit(frame(1), 300_002)
    assert started(pipeline, 300_003).frame.index == 3
    assert pipeline.drops == {"out of order": 2}


def test_nothing_to_do_is_a_wait_without_end() -> None:
    assert make().schedule(0) == Wait(None)


def test_closing_drops_what_waits() -> None:
    pipeline = make()
    pipeline.submit(frame(0), 0)
    pipeline.close()
    assert pipeline.drops == {"ended": 1}
    assert pipeline.is_idle
    pipeline.check()


def test_one_worker_runs_one_frame() -> None:
    pipeline = make()
    pipeline.submit(frame(0), 0)
    started(pipeline, 0)
    pipeline.submit(frame(1), 100_000)
    assert isinstance(pipeline.schedule(100_000), Wait)
    assert not pipeline.is_idle


# ── outputs ─────────────────────────────────────────────────────────────────────────────────────


def test_an_output_tells_when_and_how_it_was_made() -> None:
    pipeline = make()
    assert pipeline.query(0) is None
    pipeline.submit(frame(0), 0)
    output = pipeline.commit(started(pipeline, 0), found(2), 71_000)
    assert output is not None
    assert (output.frame_index, output.capture_us, output.emit_us, output.valid_us) == (0, 0, 71_000, 0)
    assert output.configuration == "middle"
    assert pipeline.query(500_000) is output.tracks, "without a forecast the screen stays as it is"
    assert pipeline.moved(output, 80_000) is output


def test_detections_of_a_low_score_make_no_track() -> None:
    pipeline = make()
    pipeline.submit(frame(0), 0)
    output = pipeline.commit(started(pipeline, 0), found(2, score=0.39), 71_000)
    assert output is not None
    assert len(output.tracks) == 0


def test_a_forecast_moves_boxes_to_the_moment_asked_for() -> None:
    pipeline = Pipeline(
        [row("fast", forecast=True)], Fixed("fast"), Runtimes({"fast": [0.02]}), size=SIZE, rule=RULES["eager"]
    )
    for index in range(6):
        pipeline.submit(frame(index), index * GAP_US)
        output = pipeline.commit(started(pipeline, index * GAP_US), found(shift=10.0 * index), index * GAP_US + 20_000)
    assert output is not None
    tracks, shown = pipeline.query(600_000), pipeline.moved(output, 520_000)
    assert tracks is not None
    assert tracks.boxes[0, 0] > output.tracks.boxes[0, 0] + 5, "it goes on to the right"
    assert shown.valid_us == 520_000
    assert output.tracks.boxes[0, 0] < shown.tracks.boxes[0, 0] < tracks.boxes[0, 0]


def test_it_learns_what_runs_take() -> None:
    pipeline = make()
    for index in range(30):
        pipeline.submit(frame(index), index * GAP_US)
        pipeline.commit(started(pipeline, index * GAP_US), found(), index * GAP_US + 90_000)
    assert 85_000 < pipeline.runtimes.typical_us("middle") < 95_000


# ── windows ─────────────────────────────────────────────────────────────────────────────────────


def test_the_policy_is_asked_at_borders_of_captures() -> None:
    policy = Taught("middle", "fast", "slow")
    pipeline = make(policy)
    for index in range(21):
        pipeline.submit(frame(index), index * GAP_US + 500)
        run(pipeline, index * GAP_US + 500)
    assert policy.asked == [(True, "fast", 500), (False, "middle", 1_000_500), (False, "fast", 2_000_500)]
    assert [(switch.at_us, switch.configuration) for switch in pipeline.switches] == [
        (500, "middle"), (1_000_500, "fast"), (2_000_500, "slow"),
    ]  # fmt: skip


def test_borders_count_from_the_first_frame_and_outlive_gaps() -> None:
    policy = Taught("fast")
    pipeline = make(policy)
    for index in (7, 16, 17, 45, 46, 47):
        pipeline.submit(frame(index), index * GAP_US)
    assert [now for _, _, now in policy.asked] == [700_000, 1_700_000, 4_500_000, 4_700_000]


def test_the_policy_hears_how_well_the_screen_fitted_the_world() -> None:
    policy = Taught("fast")
    pipeline = make(policy)
    for index in range(11):
        pipeline.submit(frame(index), index * GAP_US)
        pipeline.commit(started(pipeline, index * GAP_US), found(), index * GAP_US + 20_000)
    assert policy.observed == [("fast", 1.0)]


def test_a_choice_that_is_unknown_is_refused() -> None:
    with pytest.raises(ConfigError, match="'none'; known configurations: fast, middle, slow"):
        make("none").submit(frame(0), 0)


def test_tracks_outlive_a_switch() -> None:
    pipeline = make(Taught("slow", "fast"), window_s=1.5)
    ids = []
    for index in range(10):
        pipeline.submit(frame(3 * index), 3 * index * GAP_US)
        output = run(pipeline, 3 * index * GAP_US, found(3))
        assert output is not None
        ids.append((output.configuration, output.tracks.ids.tolist()))
    assert {name for name, _ in ids} == {"slow", "fast"}
    assert len({tuple(each) for _, each in ids[3:]}) == 1


# ── age, overruns, failures ─────────────────────────────────────────────────────────────────────


def test_a_frame_that_would_be_too_old_is_not_started() -> None:
    pipeline = make(max_output_age_s=0.2)
    pipeline.submit(frame(0), 0)
    assert isinstance(pipeline.schedule(150_000), Wait)
    assert pipeline.drops == {"too old": 1}
    pipeline.submit(frame(2), 200_000)
    assert started(pipeline, 200_000).configuration.name == "middle"


def test_a_faster_configuration_is_taken_where_the_wanted_one_is_never_in_time() -> None:
    pipeline = make("slow", max_output_age_s=0.2)
    pipeline.submit(frame(0), 0)
    assert started(pipeline, 0).configuration.name == "middle"
    late = make("slow", max_output_age_s=0.2)
    late.submit(frame(0), 130_000)  # pictures take long to come in
    assert started(late, 130_000).configuration.name == "fast"


def test_an_age_that_nothing_can_keep_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"max_output_age_s is 0\.01, but even configuration 'fast' takes 0\.020 s"):
        make(max_output_age_s=0.01)


def test_no_output_is_older_than_allowed_and_better_times_are_noticed() -> None:
    pipeline = make(names=("fast",), policy="fast", max_output_age_s=0.1)
    outputs: list[tuple[int, Output | None]] = []
    free = 0
    for index in range(120):
        now = index * GAP_US
        if now < free:
            continue
        pipeline.submit(frame(index), now)
        plan = pipeline.schedule(now)
        if isinstance(plan, Start):
            free = now + (150_000 if index < 60 else 20_000)  # neighbours leave
            outputs.append((index, pipeline.commit(plan, found(), free)))
    assert all(output is None for index, output in outputs if index < 60)
    assert len([1 for index, output in outputs if index < 60]) < 30, "most are not even tried"
    assert len([1 for index, output in outputs if output is not None]) > 20
    assert set(pipeline.drops) == {"too old", "too late"}
    pipeline.check()


def test_a_run_that_takes_far_too_long_makes_the_screen_stale_and_the_next_run_faster() -> None:
    pipeline = make("slow")
    pipeline.submit(frame(0), 0)
    plan = started(pipeline, 0)
    wait = pipeline.schedule(0)
    assert isinstance(wait, Wait)
    assert wait.until == 2 * pipeline.runtimes.high_us("slow")
    assert not pipeline.is_stale(wait.until - 1)
    pipeline.submit(frame(6), 600_000)
    pipeline.schedule(wait.until)
    assert pipeline.is_stale(wait.until)
    pipeline.commit(plan, found(), 700_000)
    assert pipeline.num_overruns == 1
    assert started(pipeline, 700_000).configuration.name == "middle"
    assert not pipeline.is_stale(700_000)


def test_one_configuration_goes_on_after_an_overrun() -> None:
    pipeline = make("slow", names=("slow",))
    pipeline.submit(frame(0), 0)
    pipeline.commit(started(pipeline, 0), found(), 900_000)
    pipeline.submit(frame(9), 900_000)
    assert started(pipeline, 900_000).configuration.name == "slow"


def test_a_detector_that_fails_is_replaced_and_tried_again() -> None:
    pipeline = make("slow")
    pipeline.submit(frame(0), 0)
    pipeline.failed(started(pipeline, 0), ValueError("broken"), 10_000)
    assert pipeline.drops == {"failed": 1}
    pipeline.submit(frame(1), 100_000)
    start = started(pipeline, 100_000)
    assert start.configuration.name == "middle"
    pipeline.commit(start, found(), 170_000)
    pipeline.submit(frame(2), 200_000)
    assert started(pipeline, 200_000).configuration.name == "slow"
    pipeline.check()


def test_where_all_detectors_fail_they_rest_longer_and_longer() -> None:
    pipeline, now, rests = make("fast", names=("fast",)), 0, []
    for index in range(5):
        pipeline.submit(Frame(index, now, SIZE), now)
        pipeline.failed(started(pipeline, now), ValueError("broken"), now)
        pipeline.submit(Frame(index, now + 1, SIZE), now + 1)
        wait = pipeline.schedule(now + 1)
        assert isinstance(wait, Wait)
        assert wait.until is not None
        rests.append(wait.until - now)
        now = wait.until
    assert rests == [100_000, 200_000, 400_000, 800_000, 1_600_000]


def test_what_is_shown_becomes_stale_when_no_frames_come() -> None:
    pipeline = make(max_output_age_s=0.5)
    pipeline.submit(frame(0), 0)
    pipeline.commit(started(pipeline, 0), found(), 70_000)
    assert not pipeline.is_stale(500_000)
    assert pipeline.is_stale(500_001)


# ── options ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("wrong", [{"num_workers": 0}, {"window_s": 0.0}, {"max_output_age_s": -1.0}])
def test_wrong_options_are_named(wrong: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        make(**wrong)


def test_an_unprofiled_detector_is_refused() -> None:
    with pytest.raises(ConfigError, match="'other' is not profiled"):
        Pipeline([row("other")], Fixed("other"), Runtimes({"fast": [0.02]}), size=SIZE)


# ── properties ──────────────────────────────────────────────────────────────────────────────────


@given(
    gaps=st.lists(st.integers(1, 300_000), min_size=1, max_size=60),
    seconds=st.lists(st.one_of(st.floats(0, 1.5), st.none()), min_size=1, max_size=10),
    rule=st.sampled_from(sorted(RULES)),
    max_output_age_s=st.floats(0.05, 1.0),
)
@settings(max_examples=60, deadline=None)
def test_every_frame_is_accounted_for_and_none_is_too_old(
    gaps: list[int], seconds: list[float | None], rule: str, max_output_age_s: float
) -> None:
    pipeline = make("slow", rule=RULES[rule], max_output_age_s=max_output_age_s)
    outputs: list[Output] = []

    class Failing:
        """Where no seconds are given the detector fails."""

        def submit(self, item: Frame, now: int) -> None:
            pipeline.submit(item, now)
            pipeline.check()

        def schedule(self, now: int) -> Start | Wait:
            return pipeline.schedule(now)

        def commit(self, plan: Start, result: float | None, now: int) -> None:
            if result is None:
                pipeline.failed(plan, ValueError("broken"), now)
            elif (output := pipeline.commit(plan, found(), now)) is not None:
                outputs.append(output)
            pipeline.check()

    times = np.cumsum(gaps).tolist()
    results = iter(seconds * 60)

    def execute(plan: Start) -> tuple[float, float | None]:
        taken = next(results)
        return (0.01 if taken is None else taken), taken

    replay(Failing(), [Arrival(at, Frame(i, at, SIZE)) for i, at in enumerate(times)], execute)
    assert pipeline.is_idle
    captures = [output.capture_us for output in outputs]
    assert captures == sorted(set(captures))
    assert all(output.emit_us - output.capture_us <= max_output_age_s * 1e6 + 1 for output in outputs)


def test_agreement_is_the_share_that_fits() -> None:
    pipeline = make()
    pipeline.submit(frame(0), 0)
    output = pipeline.commit(started(pipeline, 0), found(3), 70_000)
    assert output is not None
    assert agreement(output.tracks, found(3)) == 1.0
    assert agreement(output.tracks, found(1)) == 0.5
    assert agreement(output.tracks, found(3, shift=30)) < 1.0
    assert agreement(output.tracks, Detections()) == 0.0
