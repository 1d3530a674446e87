"""CLEAR: equal to TrackEval and py-motmetrics to the integer, and sane on what they refuse."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paceline.errors import ConfigError
from paceline.streaming.frame import Log, Tracks
from paceline.streaming.score.clear import Convention, Counts, clear, mota, motp
from paceline.streaming.score.shown import Shown
from tests.streaming.score.made import log_of, scene, tracks, truth
from tests.streaming.score.peers import motmetrics, trackeval, without_ignored

BOX = [10.0, 10.0, 60.0, 60.0]
NEAR = [12.0, 10.0, 62.0, 60.0]
CONVENTIONS: tuple[Convention, ...] = ("motmetrics", "trackeval")


def rows(counts: Counts) -> list[tuple[int, int, int, int]]:
    return list(
        zip(
            counts.false_negatives.tolist(),
            counts.false_positives.tolist(),
            counts.switches.tolist(),
            counts.truths.tolist(),
            strict=True,
        )
    )


@pytest.mark.parametrize("by_class", [False, True])
@pytest.mark.parametrize("seed", range(40))
def test_equals_motmetrics_in_every_frame(seed: int, by_class: bool) -> None:
    shown, log = scene(seed)
    counts = clear(shown, log, by_class=by_class)
    assert rows(counts) == motmetrics(without_ignored(shown, log, by_class=by_class))


@pytest.mark.parametrize("by_class", [False, True])
@pytest.mark.parametrize("seed", range(150))
def test_equals_trackeval(seed: int, by_class: bool) -> None:
    shown, log = scene(seed)
    counts = clear(shown, log, by_class=by_class, convention="trackeval")
    peer = trackeval("CLEAR", without_ignored(shown, log, by_class=by_class))
    sums = [sum(column) for column in zip(*rows(counts), strict=True)]
    assert sums[:3] == [peer["CLR_FN"], peer["CLR_FP"], peer["IDSW"]]
    if sums[3] and peer["CLR_TP"]:
        assert mota(counts) == pytest.approx(peer["MOTA"], abs=1e-12)
        assert motp(counts) == pytest.approx(peer["MOTP"], abs=1e-12)


def test_where_the_tools_disagree() -> None:
    """An object comes back after a frame in which it was not matched, and two boxes are near."""
    away = [500.0, 500.0, 550.0, 550.0]
    log = log_of(*[truth([BOX], [1])] * 3)
    shown = tracks([NEAR], [7]), tracks([away], [7]), tracks([NEAR, BOX], [7, 8])
    assert clear(shown, log).switches.tolist() == [0, 0, 0]
    assert clear(shown, log, convention="trackeval").switches.tolist() == [0, 0, 1]


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_ignored_truth_counts_neither_way(convention: Convention) -> None:
    hidden = truth([BOX, [300, 300, 350, 350]], [1, 2], ignored=[True, False])
    log = log_of(hidden, hidden, hidden)
    shown = tracks([NEAR], [5]), tracks([NEAR, NEAR], [5, 6]), None
    counts = clear(shown, log, convention=convention)
    assert rows(counts) == [(1, 0, 0, 1), (1, 1, 0, 1), (1, 0, 0, 1)]


def test_an_ignored_neighbour_takes_no_box_from_an_object() -> None:
    log = log_of(truth([BOX, NEAR], [1, 2], ignored=[False, True]))
    assert rows(clear((tracks([BOX], [5]),), log)) == [(0, 0, 0, 1)]


def test_classes_matter_only_when_asked() -> None:
    log = log_of(truth([BOX], [1], classes=[0]))
    shown = (tracks([BOX], [1], classes=[2]),)
    assert rows(clear(shown, log)) == [(0, 0, 0, 1)]
    assert rows(clear(shown, log, by_class=True)) == [(1, 1, 0, 1)]


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_boxes_that_are_none(convention: Convention) -> None:
    """Numbers that are none, boxes turned inside out, without area, or without end: false alarms, nothing else."""
    bad = [
        [math.nan] * 4,
        [math.inf, 0, math.inf, 9],
        [-math.inf, -math.inf, math.inf, math.inf],
        [60, 60, 10, 10],
        [10, 10, 10, 10],
        [1e308, 1e308, -1e308, -1e308],
        [-1e308, -1e308, 1e308, 1e308],
    ]
    log = log_of(truth([BOX], [1]), truth([BOX], [1]))
    shown = (tracks([*bad, BOX], np.arange(8)),) * 2
    assert rows(clear(shown, log, convention=convention)) == [(0, len(bad), 0, 1)] * 2


def test_ids_given_twice_in_a_frame() -> None:
    log = log_of(truth([BOX, [300, 300, 350, 350]], [1, 2]), truth([BOX, [300, 300, 350, 350]], [1, 2]))
    shown = (tracks([BOX, [300, 300, 350, 350], NEAR], [5, 5, 5]),) * 2
    assert rows(clear(shown, log)) == [(0, 1, 0, 2)] * 2


def test_labels_outside_of_the_picture_are_judged_like_others() -> None:
    outside = [-500.0, -400.0, -420.0, -300.0]
    assert rows(clear((tracks([outside], [1]),), log_of(truth([outside], [1])))) == [(0, 0, 0, 1)]


def test_nothing_to_judge() -> None:
    empty = log_of(truth([], []), truth([], []))
    counts = clear((None, tracks([BOX], [1])), empty)
    assert rows(counts) == [(0, 0, 0, 0), (0, 1, 0, 0)]
    assert math.isnan(mota(counts))
    assert math.isnan(motp(counts))
    assert rows(clear((), log_of())) == []


def test_zeroed_frames() -> None:
    shown, log = scene(3)
    counts = clear(shown, log)
    part = counts.only(slice(10, 20))
    assert rows(part)[10:20] == rows(counts)[10:20]
    assert not any(map(any, rows(part)[:10] + rows(part)[20:]))
    assert mota(part) == 1 - part.errors.sum() / part.truths.sum()


def test_wrong_input_is_named() -> None:
    shown, log = scene(0)
    with pytest.raises(ConfigError, match="39 frames are shown, but log 'made' has truth for 40"):
        clear(shown[1:], log)
    with pytest.raises(ConfigError, match="iou must be in"):
        clear(shown, log, iou=0.0)
    with pytest.raises(ConfigError, match="known: motmetrics, trackeval"):
        clear(shown, log, convention="kitti")  # type: ignore[arg-type]


def scaled(shown: Shown, log: Log, by: float) -> tuple[Shown, Log]:
    return (
        tuple(
            each and Tracks(each.boxes * by, *[getattr(each, name) for name in Tracks.__slots__[1:]]) for each in shown
        ),
        log_of(*[truth(each.boxes * by, each.ids, each.classes, each.ignored) for each in log.truths]),
    )


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(1000, 9999), convention=st.sampled_from(CONVENTIONS))
def test_counts_add_up(seed: int, convention: Convention) -> None:
    shown, log = scene(seed)
    counts = clear(shown, log, convention=convention)
    matched = counts.truths - counts.false_negatives
    assert (matched >= counts.switches).all()
    assert (counts.truths == [int((~each.ignored).sum()) for each in log.truths]).all()
    assert (matched + counts.false_positives <= [0 if each is None else len(each) for each in shown]).all()
    assert (counts.overlap <= matched + 1e-9).all()
    assert (counts.overlap >= 0.5 * matched - 1e-9).all()
    assert rows(clear(*scaled(shown, log, 4.0), convention=convention)) == rows(counts)


def test_truth_shown_is_perfect() -> None:
    _, log = scene(5, ignored=0.0)
    counts = clear(tuple(tracks(each.boxes, each.ids) for each in log.truths), log)
    assert not counts.errors.any()
    assert motp(counts) == pytest.approx(1.0)
