"""All figures of one stream on one log: as shown, as if it had taken no time, and what lies between."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from paceline.clock import to_seconds
from paceline.errors import InvalidRequest
from paceline.streaming.frame import Ints, Log, Output
from paceline.streaming.score.associate import NONE, OCTOPUS, Association
from paceline.streaming.score.average_precision import AveragePrecision, average_precision
from paceline.streaming.score.clear import Counts, clear, mota, motp
from paceline.streaming.score.hota import hota
from paceline.streaming.score.identity import identity
from paceline.streaming.score.shown import Shown, only, present, require_fit, show


@dataclass(frozen=True, slots=True, eq=False)
class Quality:
    """How right boxes are, in shares; nan where there is nothing to judge. ``counts`` are zero in frames that are left out."""

    mota: float
    motp: float
    idf1: float
    hota: float
    detection_accuracy: float
    association_accuracy: float
    average_precision: AveragePrecision
    counts: Counts

    def figures(self) -> dict[str, float]:
        """One number per key."""
        precision = self.average_precision
        return {
            "mota": self.mota,
            "motp": self.motp,
            "idf1": self.idf1,
            "hota": self.hota,
            "deta": self.detection_accuracy,
            "assa": self.association_accuracy,
            "ap": precision.overall,
            "ap_50": precision.at_50,
            "ap_75": precision.at_75,
            "ap_small": precision.small,
            "ap_medium": precision.medium,
            "ap_large": precision.large,
            "num_misses": int(self.counts.false_negatives.sum()),
            "num_false_alarms": int(self.counts.false_positives.sum()),
            "num_switches": int(self.counts.switches.sum()),
            "num_objects": int(self.counts.truths.sum()),
        }


@dataclass(frozen=True, slots=True)
class Age:
    """Seconds since the capture; nan where there is no output."""

    p50_s: float
    p95_s: float


@dataclass(frozen=True, slots=True, eq=False)
class Score:
    """``streaming``: boxes against the world when they are on the screen. ``offline``: each output against the moment it was meant for."""

    streaming: Quality
    offline: Quality
    emitted: Age  # of outputs when they come out
    shown: Age  # of what is on the screen
    num_frames: int
    num_outputs: int
    num_dropped: int  # frames of the log without an output

    @property
    def degradation(self) -> float:
        """MOTA that is lost to latency."""
        return self.offline.mota - self.streaming.mota

    def figures(self) -> dict[str, float]:
        """One number per key."""
        return {
            **{f"streaming_{key}": value for key, value in self.streaming.figures().items()},
            **{f"offline_{key}": value for key, value in self.offline.figures().items()},
            "degradation": self.degradation,
            "emitted_age_p50_s": self.emitted.p50_s,
            "emitted_age_p95_s": self.emitted.p95_s,
            "shown_age_p50_s": self.shown.p50_s,
            "shown_age_p95_s": self.shown.p95_s,
            "num_frames": self.num_frames,
            "num_outputs": self.num_outputs,
            "num_dropped": self.num_dropped,
            "drop_rate": self.num_dropped / self.num_frames if self.num_frames else math.nan,
        }


def evaluate(
    outputs: Sequence[Output],
    log: Log,
    *,
    association: Association = OCTOPUS,
    shown: Shown | None = None,
    iou: float = 0.5,
    by_class: bool = False,
) -> Score:
    """Judges outputs, in any order, that stay on the screen until the next.

    ``shown`` replaces them where the system was asked anew for each frame, as one that forecasts is. Offline is judged on frames that
    have an output only, since the others were dropped for want of time.
    """
    capture_us, emit_us, valid_us = _times(outputs)
    chosen = association.choose(capture_us, emit_us, log.times_us)
    seen = show(outputs, chosen) if shown is None else shown
    require_fit(seen, log)
    counted = association.counted(present(seen))
    last = _last_of_each_frame(valid_us, emit_us, log.times_us)
    at_once = association.counted(np.ones(len(last), bool)) & (last != NONE)
    captured = _last_of_each_frame(capture_us, emit_us, log.times_us) != NONE
    on_screen = counted & (chosen != NONE)
    return Score(
        streaming=judge(seen, log, counted=counted, iou=iou, by_class=by_class),
        offline=judge(show(outputs, last), log, counted=at_once, iou=iou, by_class=by_class),
        emitted=_age(emit_us - capture_us),
        shown=_age(log.times_us[on_screen] - capture_us[chosen[on_screen]]),
        num_frames=len(log.times_us),
        num_outputs=len(outputs),
        num_dropped=int((~captured).sum()),
    )


def judge(shown: Shown, log: Log, *, counted: NDArray[np.bool_], iou: float = 0.5, by_class: bool = False) -> Quality:
    """All metrics over the frames that count. CLEAR remembers which tracks were matched in the others."""
    seen, part = only(shown, log, counted)
    counts = clear(shown, log, iou=iou, by_class=by_class).only(counted)
    table = hota(seen, part, iou=iou, by_class=by_class)
    return Quality(
        mota=mota(counts),
        motp=motp(counts),
        idf1=identity(seen, part, iou=iou, by_class=by_class).f1,
        hota=float(table.hota.mean()),
        detection_accuracy=float(table.detection.mean()),
        association_accuracy=float(table.association.mean()),
        average_precision=average_precision(seen, part),
        counts=counts,
    )


def _times(outputs: Sequence[Output]) -> tuple[Ints, Ints, Ints]:
    for output in outputs:
        if output.emit_us < output.capture_us:
            raise InvalidRequest(
                f"the output of frame {output.frame_index} comes out at {to_seconds(output.emit_us)} s, before its capture at "
                f"{to_seconds(output.capture_us)} s",
                param="emit_s",
            )
    times = np.array([(each.capture_us, each.emit_us, each.valid_us) for each in outputs], np.int64).reshape(-1, 3)
    return times[:, 0], times[:, 1], times[:, 2]


def _last_of_each_frame(at_us: Ints, emit_us: Ints, times_us: Ints) -> Ints:
    """For each frame the output nearest to it in time, within half an interval, that came out last; or -1.  # [N], [N], [F] -> [F]"""
    result = np.full(len(times_us), NONE)
    if not len(times_us):
        return result
    gaps = np.diff(times_us) if len(times_us) > 1 else np.ones(1, np.int64)
    edges = np.concatenate(
        (times_us[:1] - gaps[0] // 2, times_us[1:] - gaps // 2, times_us[-1:] + gaps[-1] - gaps[-1] // 2)
    )
    order = np.argsort(emit_us, kind="stable")
    frame = np.searchsorted(edges, at_us[order], side="right") - 1
    inside = (frame >= 0) & (frame < len(times_us))
    result[frame[inside]] = order[inside]
    return result


def _age(ages_us: Ints) -> Age:
    if not len(ages_us):
        return Age(math.nan, math.nan)
    p50, p95 = np.percentile(ages_us, (50, 95)).tolist()
    return Age(p50 / 1e6, p95 / 1e6)
