"""The whole score of a stream: latency, start-up, drops, and hostile input."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from paceline.errors import ConfigError, InvalidRequest
from paceline.streaming.frame import Log, Output, Tracks
from paceline.streaming.render import Drive
from paceline.streaming.score.associate import SAP
from paceline.streaming.score.report import Score, evaluate
from paceline.streaming.sequence import INFINITE, Eager, processed
from tests.streaming.score.made import log_of, scene, tracks, truth

LOG = Drive(seed=3, regimes=["downtown"], light="day").log
BOX = np.array([10.0, 10.0, 60.0, 60.0])


def outputs_of(log: Log, runtime_us: int, num_workers: int | str = 1) -> list[Output]:
    """A perfect detector that takes its time."""
    taken = processed(Eager(), log.times_us, np.full(len(log.times_us), runtime_us), num_workers)  # type: ignore[arg-type]
    found = []
    for each in taken:
        truth = log.truths[each.index]
        capture_us = int(log.times_us[each.index])
        boxes = tracks(truth.boxes, truth.ids, classes=truth.classes)
        found.append(Output(each.index, capture_us, each.emit_us, capture_us, "perfect", boxes))
    return found


def test_a_perfect_detector_that_takes_no_time_is_perfect() -> None:
    score = evaluate(outputs_of(LOG, 0), LOG)
    for quality in (score.streaming, score.offline):
        figures = quality.figures()
        assert [figures[key] for key in ("mota", "motp", "idf1", "hota", "ap")] == pytest.approx([1.0] * 5)
    assert score.degradation == 0.0
    assert (score.emitted.p95_s, score.shown.p95_s, score.num_dropped) == (0.0, 0.0, 0)


def test_latency_degrades_what_is_shown_and_not_the_offline_twin() -> None:
    fast, slow = evaluate(outputs_of(LOG, 74_000), LOG), evaluate(outputs_of(LOG, 254_000), LOG)
    assert fast.offline.mota == slow.offline.mota == 1.0
    assert 1.0 > fast.streaming.mota > slow.streaming.mota
    assert fast.streaming.average_precision.overall > slow.streaming.average_precision.overall
    assert slow.degradation == 1.0 - slow.streaming.mota
    assert fast.emitted.p95_s == pytest.approx(0.074)
    assert slow.emitted.p50_s > 0.254  # frames wait for the worker
    assert slow.shown.p95_s > slow.shown.p50_s >= 0.3
    assert (fast.num_dropped, fast.num_outputs) == (0, 200)
    assert slow.num_dropped == 200 - slow.num_outputs > 100


def test_first_frames_are_left_out_or_missed() -> None:
    outputs = outputs_of(LOG, 254_000, INFINITE)
    left_out, missed = evaluate(outputs, LOG), evaluate(outputs, LOG, association=SAP)
    assert not left_out.streaming.counts.truths[:3].any()
    assert missed.streaming.counts.truths.sum() == sum(int((~each.ignored).sum()) for each in LOG.truths)
    assert (missed.streaming.counts.false_negatives[:3] == missed.streaming.counts.truths[:3]).all()
    assert left_out.streaming.mota != missed.streaming.mota


def test_what_is_asked_anew_for_each_frame_replaces_outputs() -> None:
    """A forecast that is right: as if there were no latency."""
    outputs = outputs_of(LOG, 254_000)
    shown = tuple(tracks(each.boxes, each.ids, classes=each.classes) for each in LOG.truths)
    score = evaluate(outputs, LOG, shown=shown)
    assert score.streaming.mota == 1.0
    assert score.shown.p50_s > 0.3  # the boxes come from frames as old as ever


def test_a_forecast_is_judged_offline_at_the_moment_it_is_meant_for() -> None:
    ahead = [
        replace(each, valid_us=int(LOG.times_us[each.frame_index + 1]), tracks=after.tracks)
        for each, after in zip(outputs_of(LOG, 0)[:-1], outputs_of(LOG, 0)[1:], strict=True)
    ]
    score = evaluate(ahead, LOG)
    assert score.offline.mota == 1.0
    assert score.num_dropped == 1


def test_order_of_outputs_does_not_matter() -> None:
    outputs = outputs_of(LOG, 125_000)
    mixed = [outputs[place] for place in np.random.default_rng(0).permutation(len(outputs))]
    assert same(evaluate(outputs, LOG), evaluate(mixed, LOG))


def same(one: Score, other: Score) -> bool:
    return one.figures() == pytest.approx(other.figures(), nan_ok=True)


def test_no_outputs_at_all() -> None:
    octopus, sap = evaluate([], LOG), evaluate([], LOG, association=SAP)
    assert math.isnan(octopus.streaming.mota)
    assert sap.streaming.mota == 0.0
    assert math.isnan(sap.offline.mota)
    assert math.isnan(sap.emitted.p50_s)
    assert sap.num_dropped == 200


@pytest.mark.parametrize("num_frames", [0, 1, 5])
@pytest.mark.parametrize("association", [SAP, replace(SAP, startup="ignore3")])
def test_logs_without_truth(num_frames: int, association: object) -> None:
    log = log_of(*[truth([], [])] * num_frames)
    outputs = [Output(0, 0, 10, 0, "", tracks([BOX], [1]))]
    figures = evaluate(outputs, log, association=association).figures()  # type: ignore[arg-type]
    assert math.isnan(figures["streaming_mota"])
    assert figures["num_frames"] == num_frames


def test_outputs_that_belong_to_no_frame_of_the_log() -> None:
    early, late = outputs_of(LOG, 0)[0], outputs_of(LOG, 0)[-1]
    outputs = [
        replace(early, capture_us=-(10**12), valid_us=-(10**12), emit_us=-5),
        replace(late, capture_us=10**15, valid_us=10**15, emit_us=10**15),
    ]
    score = evaluate(outputs, LOG)
    assert score.num_dropped == 200
    assert math.isnan(score.offline.mota)
    assert score.shown.p50_s > 10**5


def test_times_that_go_back_are_refused() -> None:
    outputs = outputs_of(LOG, 74_000)
    outputs[7] = replace(outputs[7], emit_us=outputs[7].capture_us - 1)
    with pytest.raises(
        InvalidRequest, match=r"output of frame 7 comes out at 0\.699999 s, before its capture at 0\.7 s"
    ):
        evaluate(outputs, LOG)


def test_shown_must_fit_the_log() -> None:
    with pytest.raises(ConfigError, match="1 frames are shown"):
        evaluate([], LOG, shown=(None,))


def test_boxes_that_are_none_and_labels_outside_of_the_picture() -> None:
    outside = BOX - 5000
    log = log_of(*[truth([BOX, outside], [1, 2])] * 6)
    boxes = tracks([BOX, outside, [math.nan] * 4, [math.inf] * 4], [1, 2, 3, 4])
    outputs = [Output(i, i * 100_000, i * 100_000, i * 100_000, "", boxes) for i in range(6)]
    figures = evaluate(outputs, log).figures()
    assert figures["streaming_num_misses"] == 0
    assert figures["streaming_num_false_alarms"] == 6
    assert figures["streaming_mota"] == 0.0
    assert 0 < figures["streaming_hota"] < 1


@pytest.mark.parametrize("seed", range(6))
def test_figures_of_crowded_scenes_are_shares(seed: int) -> None:
    shown, log = scene(seed)
    outputs = [
        Output(
            place,
            int(log.times_us[place]),
            int(log.times_us[place]) + 30_000 * (place % 5),
            int(log.times_us[place]),
            "",
            each,
        )
        for place, each in enumerate(shown)
        if isinstance(each, Tracks)
    ]
    figures = evaluate(outputs, log, by_class=bool(seed % 2)).figures()
    for key, value in figures.items():
        if key.split("_", 1)[-1] in ("motp", "idf1", "hota", "deta", "assa", "ap"):
            assert 0 <= value <= 1 or math.isnan(value), key
