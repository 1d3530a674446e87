"""What the scene looks like, told from a pipeline's own outputs of one window. Pure, and no truth is needed.

Boxes that move by a share of their size spoil old outputs; small and dim ones need the larger model. Both are measured here,
the first as the overlap that boxes would keep if they were shown so and so late.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np

from paceline.streaming.boxes import intersection_over_union
from paceline.streaming.frame import Floats, Ints, Output, Size

NOMINAL: Final = 1280 * 720  # px² of the picture that areas are told for
LAGS_S: Final = (0.1, 0.2, 0.3, 0.4)
TIERS: Final = (300.0, 700.0, 2000.0)  # px² of a nominal picture
LATE: Final = 0.6  # of the window's outputs, after which they count as late
UNKNOWN: Final = -1.0  # of what cannot be told, say with a single output
NAMES: Final = (
    "count", "count_late", "smallest", "small", "medium", "large", "area_low", "area_middle", "area_high",
    *(f"overlap_{round(1000 * lag)}ms" for lag in LAGS_S), *(f"kept_{round(1000 * lag)}ms" for lag in LAGS_S),
    "speed_middle", "speed_high", "relative_speed_middle", "relative_speed_high", "growth", "longevity", "once",
    "score", "score_low", "doubtful", "coasting", "innovation", "innovation_high", "vehicles", "age_s", "gap_s", "ego_speed",
)  # fmt: skip


class _Rows(NamedTuple):
    """All boxes of all outputs, sorted by id and then by time."""

    boxes: Floats  # [R, 4]
    times_s: Floats  # [R]
    again: Ints  # rows whose predecessor shows the same object earlier


def window_features(outputs: Sequence[Output], size: Size, *, ego_speed: float | None = None) -> Floats:
    """One number per name in `NAMES`. ``outputs`` in order of emission; of a window without any all is unknown."""
    if not outputs:
        return np.full(len(NAMES), UNKNOWN)
    tracks = [output.tracks for output in outputs]
    counts = np.array([len(each) for each in tracks])
    ids = np.concatenate([each.ids for each in tracks])
    boxes = np.concatenate([each.boxes for each in tracks])
    scores = np.concatenate([each.scores for each in tracks])
    ages_us = np.concatenate([each.ages_us for each in tracks])
    classes = np.concatenate([each.classes for each in tracks])
    place = np.repeat(np.arange(len(outputs)), counts)
    valid_s = np.array([output.valid_us for output in outputs]) / 1e6
    order = np.argsort(ids * len(outputs) + place, kind="stable")  # ids grow slowly: no overflow
    known = ids[order]
    again = np.flatnonzero(known[1:] == known[:-1]) + 1
    rows = _Rows(boxes[order], valid_s[place[order]], again)
    return np.array(
        [
            *_counts(counts, boxes, size),
            *_motion(rows, size),
            *_lives(known, len(outputs)),
            *_doubts(scores, ages_us),
            *_innovation(rows),
            _share(classes == 0),
            *_staleness(outputs),
            UNKNOWN if ego_speed is None else ego_speed,
        ]
    )


def _counts(counts: Ints, boxes: Floats, size: Size) -> list[float]:
    extent = boxes[:, 2:] - boxes[:, :2]
    areas = extent[:, 0] * extent[:, 1] * (NOMINAL / (size[0] * size[1]))
    late = counts[int(LATE * len(counts)) :]
    tiers = np.bincount(np.searchsorted(TIERS, areas), minlength=len(TIERS) + 1) / len(counts)
    logs = np.log(np.maximum(areas, 1.0))
    return [
        len(areas) / len(counts),
        float(late.sum()) / len(late),
        *tiers.tolist(),
        *_quantiles(logs, (0.1, 0.5, 0.9)),
    ]


def _motion(rows: _Rows, size: Size) -> list[float]:
    """Of objects seen at least twice: velocity over the whole window, and what it does to boxes that are late."""
    again = rows.again
    if not len(again):
        return [UNKNOWN] * (2 * len(LAGS_S) + 5)
    starts = again[np.concatenate(([True], np.diff(again) > 1))] - 1
    ends = again[np.concatenate((np.diff(again) > 1, [True]))]
    last = rows.boxes[ends]
    span_s = np.maximum(rows.times_s[ends] - rows.times_s[starts], 1e-3)
    velocity = (last - rows.boxes[starts]) / span_s[:, None]  # [N, 4]
    overlap = intersection_over_union(last, last + velocity * np.array(LAGS_S)[:, None, None])  # [lags, N]
    speed = np.hypot(*(velocity[:, :2] + velocity[:, 2:]).T) / 2
    extent = np.maximum(last[:, 2:] - last[:, :2], 1.0)
    growth = ((velocity[:, 2:] - velocity[:, :2]) / extent).sum(1) / 2
    relative = speed / np.sqrt(extent[:, 0] * extent[:, 1])
    return [
        *(overlap.sum(1) / len(last)).tolist(),
        *((overlap > 0.5).sum(1) / len(last)).tolist(),
        *_quantiles(speed / math.sqrt(size[0] * size[1] / NOMINAL), (0.5, 0.9)),
        *_quantiles(relative, (0.5, 0.9)),
        *_quantiles(growth, (0.5,)),
    ]


def _lives(known: Ints, num_outputs: int) -> list[float]:
    """In how many of the outputs an object is, and how many are in one alone."""
    if not len(known):
        return [UNKNOWN, UNKNOWN]
    borders = np.flatnonzero(np.concatenate(([True], known[1:] != known[:-1], [True])))
    lengths = np.diff(borders)
    return [len(known) / (len(lengths) * num_outputs), _share(lengths == 1)]


def _doubts(scores: Floats, ages_us: Ints) -> list[float]:
    if not len(scores):
        return [UNKNOWN] * 4
    return [float(scores.sum()) / len(scores), *_quantiles(scores, (0.1,)), _share(scores < 0.55), _share(ages_us > 0)]


def _innovation(rows: _Rows) -> list[float]:
    """How far a straight line through two sightings misses the third, as lost overlap."""
    third = rows.again[1:][np.diff(rows.again) == 1]
    if not len(third):
        return [UNKNOWN, UNKNOWN]
    before, first = third - 1, third - 2
    step_s = np.maximum(rows.times_s[before] - rows.times_s[first], 1e-3)
    ahead = ((rows.times_s[third] - rows.times_s[before]) / step_s)[:, None]
    guess = rows.boxes[before] + (rows.boxes[before] - rows.boxes[first]) * ahead
    lost = 1 - intersection_over_union(guess, rows.boxes[third])
    return [float(lost.sum()) / len(lost), *_quantiles(lost, (0.9,))]


def _staleness(outputs: Sequence[Output]) -> list[float]:
    ages_us = [output.emit_us - output.capture_us for output in outputs]
    gap_us = outputs[-1].emit_us - outputs[0].emit_us
    gap_s = gap_us / (len(outputs) - 1) / 1e6 if len(outputs) > 1 else UNKNOWN
    return [sum(ages_us) / len(ages_us) / 1e6, gap_s]


def _quantiles(values: Floats, shares: tuple[float, ...]) -> list[float]:
    """Nearest ranks: numpy's own interpolation costs ten times as much on so few numbers."""
    if not len(values):
        return [UNKNOWN] * len(shares)
    ordered = np.sort(values)
    return [float(ordered[round(share * (len(ordered) - 1))]) for share in shares]


def _share(which: np.ndarray) -> float:
    return np.count_nonzero(which) / len(which) if len(which) else UNKNOWN
