"""Logs and what is shown on them, made from a seed."""

from __future__ import annotations

import numpy as np

from paceline.streaming.frame import Log, Tracks, Truth
from paceline.streaming.score.shown import Shown


def tracks(boxes: object, ids: object, scores: object = None, classes: object = None) -> Tracks:
    placed = np.array(boxes, dtype=float).reshape(-1, 4)
    count = len(placed)
    return Tracks(
        placed,
        np.array(ids, dtype=np.int64),
        np.ones(count) if scores is None else np.array(scores, dtype=float),
        np.zeros(count, np.int64) if classes is None else np.array(classes, dtype=np.int64),
        np.zeros(count, np.int64),
        np.zeros(count),
    )


def truth(boxes: object, ids: object, classes: object = None, ignored: object = None) -> Truth:
    placed = np.array(boxes, dtype=float).reshape(-1, 4)
    count = len(placed)
    return Truth(
        placed,
        np.array(ids, dtype=np.int64),
        np.zeros(count, np.int64) if classes is None else np.array(classes, dtype=np.int64),
        np.ones(count),
        np.zeros(count, bool) if ignored is None else np.array(ignored, dtype=bool),
    )


def log_of(*truths: Truth) -> Log:
    return Log(name="made", size=(1280, 720), times_us=np.arange(len(truths)) * 100_000, truths=truths)


def scene(seed: int, num_frames: int = 40, ignored: float = 0.15) -> tuple[Shown, Log]:
    """Crowded, with what is hard: hiding, empty frames, frames without output, crossing ids, doubled boxes, false ones."""
    rng = np.random.default_rng(seed)
    num_objects = int(rng.integers(1, 9))
    spread = rng.choice([40.0, 150.0, 600.0])
    corner, speed = rng.uniform(0, spread, (num_objects, 2)), rng.normal(0, 6, (num_objects, 2))
    extent = rng.uniform(20, 120, (num_objects, 2))
    classes = rng.integers(0, 3, num_objects)
    names = rng.permutation(100)[:num_objects]
    ids = rng.permutation(1000)[:num_objects]
    truths, shown = [], []
    for frame in range(num_frames):
        at = np.hstack((corner + speed * frame, corner + speed * frame + extent))
        there = (rng.random(num_objects) < 0.85) & (rng.random() > 0.08)
        truths.append(truth(at[there], names[there], classes[there], rng.random(there.sum()) < ignored))
        if rng.random() < 0.15 and num_objects > 1:  # two tracks cross
            one, other = rng.choice(num_objects, 2, replace=False)
            ids[[one, other]] = ids[[other, one]]
        if rng.random() < 0.1:  # one is lost and found under another id
            ids[rng.integers(num_objects)] = 1000 + frame
        shown.append(_seen(rng, at, ids, classes) if rng.random() > 0.08 else None)
    return tuple(shown), log_of(*truths)


def _seen(rng: np.random.Generator, at: np.ndarray, ids: np.ndarray, classes: np.ndarray) -> Tracks:
    seen = (rng.random(len(at)) < 0.85) & (rng.random() > 0.08)
    noise = rng.choice([0.0, 2.0, 10.0])
    boxes = [at[seen] + rng.normal(0, 1, (seen.sum(), 4)) * noise]
    doubled = seen & (rng.random(len(at)) < 0.2)
    boxes.append(at[doubled] + rng.normal(0, 1, (doubled.sum(), 4)) * rng.choice([0.0, 5.0]))
    false = rng.uniform(0, 300, (rng.integers(0, 3), 2))
    boxes.append(np.hstack((false, false + 50)))
    every = np.sort(np.concatenate(boxes).reshape(-1, 2, 2), axis=1).reshape(-1, 4)  # noise turns no box inside out
    named = [ids[seen], 2000 + ids[doubled], 4000 + rng.permutation(50)[: len(false)]]
    kinds = np.concatenate((classes[seen], classes[doubled], rng.integers(0, 3, len(false))))
    order = rng.permutation(len(every))
    scores = rng.choice([0.3, 0.5, 0.5000001, 0.9], len(every))
    return tracks(every[order], np.concatenate(named)[order], scores, kinds[order])
