"""Which output is shown when: rounding, late and early ones, start-up."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from paceline.errors import ConfigError
from paceline.streaming.score.associate import OCTOPUS, SAP, Association

TIMES_US = np.arange(6) * 100


def chosen(association: Association, *outputs: tuple[int, int], times_us: np.ndarray = TIMES_US) -> list[int]:
    capture_us, emit_us = np.array(outputs, dtype=np.int64).reshape(-1, 2).T
    return list(association.choose(capture_us, emit_us, times_us))


def test_an_output_that_ends_on_a_frame_counts_there() -> None:
    assert chosen(OCTOPUS, (0, 100)) == [-1, 0, 0, 0, 0, 0]
    assert chosen(OCTOPUS, (0, 101)) == [-1, -1, 0, 0, 0, 0]


def test_a_late_older_frame_displaces_a_newer_one_under_sap_only() -> None:
    outputs = (0, 310), (100, 250)
    assert chosen(OCTOPUS, *outputs) == [-1, -1, -1, 1, 1, 1]
    assert chosen(SAP, *outputs) == [-1, -1, -1, 1, 0, 0]


def test_of_two_outputs_at_once_the_later_in_line_wins() -> None:
    assert chosen(SAP, (0, 150), (100, 150))[2:] == [1] * 4
    assert chosen(SAP, (100, 150), (0, 150))[2:] == [1] * 4
    assert chosen(OCTOPUS, (0, 150), (0, 150))[2:] == [1] * 4


def test_rounding_to_the_nearest_frame() -> None:
    nearest = Association(rounding="round")
    assert chosen(nearest, (0, 149)) == [-1, 0, 0, 0, 0, 0]
    assert chosen(nearest, (0, 150)) == [-1, -1, 0, 0, 0, 0]
    assert chosen(nearest, (0, 549)) == [-1, -1, -1, -1, -1, 0]
    assert chosen(nearest, (0, 550)) == [-1] * 6


def test_eta_asks_before_the_frame() -> None:
    assert chosen(Association(rule="sap", eta=0.5), (0, 150)) == [-1, -1, 0, 0, 0, 0]
    assert chosen(Association(rule="sap", eta=0.5), (0, 151)) == [-1, -1, -1, 0, 0, 0]


@pytest.mark.parametrize("association", [OCTOPUS, SAP, Association(rounding="round"), Association(rule="sap", eta=1)])
@pytest.mark.parametrize("num_frames", [0, 1, 2])
def test_logs_of_few_frames(association: Association, num_frames: int) -> None:
    assert chosen(association, times_us=TIMES_US[:num_frames]) == [-1] * num_frames
    assert len(chosen(association, (0, 0), times_us=TIMES_US[:num_frames])) == num_frames


def test_startup() -> None:
    present = np.array([False, True, False, True, True])
    assert OCTOPUS.counted(present).tolist() == [False, False, False, True, True]
    assert OCTOPUS.counted(np.array([False] * 4 + [True])).tolist() == [False] * 4 + [True]
    assert SAP.counted(present).all()
    assert not OCTOPUS.counted(np.zeros(5, bool)).any()


@pytest.mark.parametrize(
    "options", [{"rule": "sapp"}, {"rounding": "floor"}, {"startup": "ignore"}, {"eta": 1.5}, {"eta": float("nan")}]
)
def test_wrong_options_are_named(options: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=next(iter(options))):
        Association(**options)  # type: ignore[arg-type]


OUTPUTS = st.lists(st.tuples(st.integers(-50, 700), st.integers(0, 400)), min_size=1, max_size=20)


@given(outputs=OUTPUTS, rounding=st.sampled_from(["ceil", "round"]))
def test_the_rule_as_it_is_written(outputs: list[tuple[int, int]], rounding: str) -> None:
    """Each output ends on a frame; shown is the newest capture among those that have ended."""
    outputs = list(dict(outputs).items())  # captures are distinct
    pairs = [(capture, capture + delay) for capture, delay in outputs]
    shift = 0 if rounding == "round" else 99
    ends = [(emit + 50) // 100 * 100 if rounding == "round" else (emit + shift) // 100 * 100 for _, emit in pairs]
    expected = []
    for time in TIMES_US:
        there = [(pairs[place][0], place) for place, end in enumerate(ends) if end <= time]
        expected.append(max(there)[1] if there else -1)
    assert chosen(Association(rounding=rounding), *pairs) == expected  # type: ignore[arg-type]


@given(outputs=OUTPUTS, seed=st.integers(0, 9), rule=st.sampled_from([OCTOPUS, SAP]))
def test_order_of_lines_does_not_matter(outputs: list[tuple[int, int]], seed: int, rule: Association) -> None:
    pairs = [(capture, 30 * delay + place) for place, (capture, delay) in enumerate(dict(outputs).items())]
    order = np.random.default_rng(seed).permutation(len(pairs))
    lines = [pairs[place] for place in order]
    assert named(chosen(rule, *lines), lines) == named(chosen(rule, *pairs), pairs)


def named(places: list[int], lines: list[tuple[int, int]]) -> list[tuple[int, int] | None]:
    return [lines[place] if place >= 0 else None for place in places]
