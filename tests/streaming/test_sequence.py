"""Schedules and what they show: golden vectors of the Octopus authors' code and of sAP; properties of any rule."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from paceline.errors import ConfigError
from paceline.streaming.score.associate import OCTOPUS, SAP, Association
from paceline.streaming.sequence import INFINITE, RULES, Eager, NextFrame, Processed, TailAware, processed

GAP_US = 100_000
TIMES_US = np.arange(11) * GAP_US

NO = -1
GOLDEN = [
    ("eager", 1, 74, [NO, 0, 100, 200, 300, 400, 500, 600, 700, 800, 900]),
    ("wait", 1, 74, [NO, 0, 100, 200, 300, 400, 500, 600, 700, 800, 900]),
    ("tail-aware", 1, 74, [NO, 0, 100, 200, 300, 400, 500, 600, 700, 800, 900]),
    ("eager", INFINITE, 74, [NO, 0, 100, 200, 300, 400, 500, 600, 700, 800, 900]),
    ("eager", INFINITE, 254, [NO, NO, NO, 0, 100, 200, 300, 400, 500, 600, 700]),
    ("eager", 1, 254, [NO, NO, NO, 0, 0, 0, 200, 200, 500, 500, 500]),
    ("tail-aware", 1, 254, [NO, NO, NO, 0, 0, 0, 300, 300, 300, 600, 600]),
    ("wait", 1, 254, [NO, NO, NO, 0, 0, 0, 300, 300, 300, 600, 600]),
    ("eager", 1, 125, [NO, NO, 0, 100, 200, 300, 300, 500, 600, 700, 800]),
    ("tail-aware", 1, 125, [NO, NO, 0, 100, 200, 200, 400, 500, 600, 600, 800]),
    ("eager", 1, 160, [NO, NO, 0, 0, 100, 300, 300, 400, 600, 600, 800]),
]


def shown(taken: tuple[Processed, ...], times_us: np.ndarray, association: Association = OCTOPUS) -> np.ndarray:
    """Index of the frame shown at each time, or -1."""
    index = np.array([each.index for each in taken], dtype=np.int64)
    emit_us = np.array([each.emit_us for each in taken], dtype=np.int64)
    chosen = association.choose(times_us[index], emit_us, times_us)
    return np.where(chosen >= 0, np.append(index, NO)[chosen], NO)


@pytest.mark.parametrize(("rule", "num_workers", "runtime_ms", "expected"), GOLDEN)
def test_golden_vectors(rule: str, num_workers: int, runtime_ms: int, expected: list[int]) -> None:
    taken = processed(RULES[rule], TIMES_US, np.full(11, runtime_ms * 1000), num_workers)
    found = [NO if index < 0 else index * 100 for index in shown(taken, TIMES_US)]
    assert found == expected


@pytest.mark.parametrize(("rule", "num_workers", "runtime_ms", "expected"), GOLDEN)
def test_both_protocols_agree_where_runtimes_are_constant(
    rule: str, num_workers: int, runtime_ms: int, expected: list[int]
) -> None:
    taken = processed(RULES[rule], TIMES_US, np.full(11, runtime_ms * 1000), num_workers)
    assert (shown(taken, TIMES_US, SAP) == shown(taken, TIMES_US)).all()


def test_end_to_end_vector_of_the_octopus_authors() -> None:
    """Detector eager with 160 ms on frames 100 to 800, every second detection re-initialises the tracker (15 ms), which takes 10 ms a frame."""
    times_us = np.arange(1, 9) * GAP_US
    detected = processed(Eager(), times_us, np.full(8, 160_000))
    ready_us = {each.index: each.emit_us for each in detected[::2]}
    capture_us, emit_us, now_us = [], [], 0
    for index, time_us in enumerate(times_us.tolist()):
        if index + 1 < len(times_us) and times_us[index + 1] <= now_us:
            continue  # the tracker too takes the newest
        now_us = max(now_us, time_us)
        if index in ready_us:
            now_us = max(now_us, ready_us[index]) + 15_000
        now_us += 10_000
        capture_us.append(time_us)
        emit_us.append(now_us)
    chosen = OCTOPUS.choose(np.array(capture_us), np.array(emit_us), times_us)
    pairs = [
        (capture_us[place] // 1000, time // 1000) for place, time in zip(chosen, times_us, strict=True) if place >= 0
    ]
    assert pairs == [(200, 300), (300, 400), (300, 500), (300, 600), (600, 700), (600, 800)]


@pytest.mark.parametrize(("rule", "total"), [(Eager(), 29), (TailAware(), 27)])
def test_mismatch_of_the_shrinking_tail(rule: Eager | TailAware, total: int) -> None:
    """Runs of one and a half frames over 13 frames; asked for just before each frame, so that a run which ends on a frame is not there."""
    times_us = np.arange(13) * GAP_US
    taken = processed(rule, times_us, np.full(13, 150_000))
    index = shown(taken, times_us, Association(rule="sap", startup="miss", eta=0.01))
    assert sum(place - each for place, each in enumerate(index.tolist()) if each >= 0) == total


@pytest.mark.parametrize(
    ("rule", "rate_hz", "num_workers", "expected"),
    [
        ("eager", 10, INFINITE, [1, 1, 1, 1, 2, 2, 3, 3]),
        ("tail-aware", 10, 1, [1, 1, 1, 1, 2.25, 2.5, 3.6, 4.0]),
        ("eager", 10, 1, [1, 1, 1, 1, 2.2, 2.84, 3.66, 4.25]),
        ("tail-aware", 30, 1, [2.05, 2.2, 2.5, 3.7, 5.5, 7, 9.8, 11.5]),
    ],
)
def test_mean_staleness_in_frames(rule: str, rate_hz: int, num_workers: int, expected: list[float]) -> None:
    """The EfficientDets of the paper, D1 to D7x."""
    times_us = np.rint(np.arange(3000) * 1e6 / rate_hz).astype(np.int64)
    found = []
    for runtime_ms in (35, 41, 53, 74, 125, 159, 212, 254):
        index = shown(processed(RULES[rule], times_us, np.full(3000, runtime_ms * 1000), num_workers), times_us)
        found.append((np.arange(3000) - index)[100:].mean())
    assert found == pytest.approx(expected, abs=0.06)


def test_two_workers_take_turns() -> None:
    taken = processed(NextFrame(), TIMES_US, np.full(11, 190_000), 2)
    assert [(each.index, each.start_us) for each in taken] == [(i, i * GAP_US) for i in range(11)]
    assert len(processed(NextFrame(), TIMES_US, np.full(11, 190_000), 1)) == 6


def test_a_log_that_ends_leaves_nobody_idle_for_ever() -> None:
    taken = processed(NextFrame(), TIMES_US[:3], np.array([110_000, 1, 1]))
    assert [each.index for each in taken] == [0, 2]
    assert processed(Eager(), TIMES_US[:0], TIMES_US[:0]) == ()
    assert processed(TailAware(), TIMES_US[:1], np.array([5])) == (Processed(0, 0, 5),)


@pytest.mark.parametrize(
    ("times_us", "runtimes_us", "num_workers", "match"),
    [
        ([0, 1], [1], 1, "2 frames but 1 runtimes"),
        ([0, 0], [1, 1], 1, "must rise"),
        ([0, 1], [1, -1], 1, "runtimes must be >= 0, got -1"),
        ([0, 1], [1, 1], 0, "num_workers"),
    ],
)
def test_wrong_input_is_named(times_us: list[int], runtimes_us: list[int], num_workers: int, match: str) -> None:
    with pytest.raises(ConfigError, match=match):
        processed(Eager(), np.array(times_us), np.array(runtimes_us), num_workers)


def test_unknown_rules_are_named() -> None:
    with pytest.raises(ConfigError, match="unknown scheduling rule 'eagre'; did you mean 'eager'"):
        RULES["eagre"]


gaps = st.lists(st.integers(1, 50), min_size=1, max_size=30)


@given(rule=st.sampled_from(list(RULES)), gaps=gaps, seed=st.integers(0, 99), num_workers=st.integers(1, 4))
def test_any_schedule_is_possible(rule: str, gaps: list[int], seed: int, num_workers: int) -> None:
    times_us = np.cumsum(gaps)
    runtimes_us = np.random.default_rng(seed).integers(0, 120, len(gaps))
    taken = processed(RULES[rule], times_us, runtimes_us, num_workers)
    assert [each.index for each in taken] == sorted({each.index for each in taken})
    assert taken[0].index == 0
    for each in taken:
        later = times_us[each.index + 1] if each.index + 1 < len(times_us) else np.inf
        assert times_us[each.index] <= each.start_us < later  # the newest frame, and not from the future
        assert each.emit_us - each.start_us == runtimes_us[each.index]
        running = [other for other in taken if other.start_us <= each.start_us < other.emit_us]
        assert len(running) <= num_workers


@given(gaps=gaps, seed=st.integers(0, 99))
def test_as_many_workers_as_frames_are_infinite(gaps: list[int], seed: int) -> None:
    times_us = np.cumsum(gaps)
    runtimes_us = np.random.default_rng(seed).integers(0, 120, len(gaps))
    assert processed(Eager(), times_us, runtimes_us, len(gaps)) == processed(Eager(), times_us, runtimes_us, INFINITE)
