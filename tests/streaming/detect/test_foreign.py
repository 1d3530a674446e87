"""Detectors that others bring: callables, records, hosts; and the pool of all."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from paceline.errors import ConfigError, InvalidRequest, ModelError, ResourceError
from paceline.streaming.detect import cached
from paceline.streaming.detect.cached import Recorded, record
from paceline.streaming.detect.function import Function
from paceline.streaming.detect.hosted import HOSTS, Hosted
from paceline.streaming.detect.layouts import Array
from paceline.streaming.detect.pool import WARM, Loadable, Pool
from paceline.streaming.frame import Detections, Frame

SIZE = (64, 32)
FRAME = Frame(7, 0, SIZE, np.zeros((32, 64, 3), np.uint8))
FOUND = Detections(np.array([[1.0, 2, 30, 20], [0, 0, 5, 5]]), np.array([0.9, 0.1]), np.array([0, 9]))


# ── callables ───────────────────────────────────────────────────────────────────────────────────


def test_a_callable_gives_detections() -> None:
    found = Function(lambda pixels: ([[0, 0, pixels.shape[1], pixels.shape[0]]], [0.5], [1]))(FRAME)
    assert found.boxes.tolist() == [[0, 0, 64, 32]]
    assert len(Function(lambda pixels: ([], [], np.zeros(0, int)))(FRAME)) == 0


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (([[0, 0, 1]], [0.5], [1]), "must give boxes"),
        (([[0, 0, 1, 1]], [0.5, 0.6], [1]), "1 boxes, 2 scores and 1 classes"),
        (([[0, 0, 1, np.nan]], [0.5], [1]), "not finite"),
        (([[0, 0, 1, 1]], [0.5], [1.5]), "whole numbers"),
        (([["left", 0, 1, 1]], [0.5], [1]), "must give boxes"),
        ((None, None, None), "not finite|must give|boxes"),
    ],
)
def test_what_is_no_answer_is_told(answer: tuple[object, object, object], said: str) -> None:
    with pytest.raises(ModelError, match=said):
        Function(lambda pixels: answer, name="mine")(FRAME)  # type: ignore[arg-type, return-value]


# ── records ─────────────────────────────────────────────────────────────────────────────────────


def test_a_record_is_read_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "found.jsonl"
    cached.write(path, Recorded({("d1", 7): (0.02, FOUND), ("d1", 8): (0.04, Detections())}))
    back = cached.read(path)
    seconds, found = back("d1", 7)
    assert seconds == 0.02
    assert found.boxes.tolist() == FOUND.boxes.tolist()
    assert found.classes.tolist() == [0, 9], "a class without a name keeps its number"
    assert back.samples() == {"d1": [0.02, 0.04]}
    assert back.detector("d1")(FRAME) is found
    with pytest.raises(ConfigError, match="'d2' for frame 7; recorded: d1"):
        back("d2", 7)


def test_recording_runs_every_detector_on_every_frame() -> None:
    recorded = record({"a": lambda frame: FOUND, "b": lambda frame: Detections()}, [FRAME, Frame(8, 1, SIZE)])
    assert len(recorded) == 4
    assert len(recorded("b", 8)[1]) == 0


LINE = '{"frame": 0, "detector": "d", "runtime_s": 0.1, "boxes": [%s]}'


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "line 1"),
        ("\n" + LINE % "" + "\n" + LINE % "", "line 3: frame 0 of detector 'd' is given twice"),
        (LINE % '{"box": [3, 0, 1, 1], "score": 0.5, "class": 0}', "inside out"),
        (LINE % '{"box": [0, 0, 1, 1], "score": 0.5, "class": "tram"}', "unknown class 'tram'"),
        (LINE % '{"box": [0, 0, 1, 1], "score": 1.5, "class": 0}', "line 1"),
        (LINE % '{"box": [0, 0, 1], "score": 0.5, "class": 0}', "line 1"),
        ('{"frame": -1, "detector": "d", "runtime_s": 0.1, "boxes": []}', "line 1"),
        ('{"frame": 1, "detector": "d", "runtime_s": -0.1, "boxes": []}', "line 1"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "found.jsonl"
    path.write_text(text)
    with pytest.raises(InvalidRequest, match=said):
        cached.read(path)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ResourceError, match="cannot read detections"):
        cached.read(tmp_path / "none.jsonl")
    with pytest.raises(ResourceError, match="cannot write detections"):
        cached.write(tmp_path / "none" / "found.jsonl", Recorded({}))


# ── hosts ───────────────────────────────────────────────────────────────────────────────────────


class Desk:
    """A host of one model."""

    def __init__(self, answer: Sequence[Array]) -> None:
        self.answer, self.asked = answer, []  # type: tuple[Sequence[Array], list[tuple[str, tuple[int, ...]]]]

    def infer(self, model: str, pixels: Array) -> Sequence[Array]:
        self.asked.append((model, pixels.shape))
        return self.answer


def test_a_hosted_model_is_asked_by_name() -> None:
    desk = Desk([np.array([[[0.0, 0, 0.5, 0.5]]]), np.array([[0.9]]), np.array([[2]])])
    found = Hosted(desk, "camera-1", (96, 64))(FRAME)
    assert desk.asked == [("camera-1", (1, 3, 64, 96))]
    assert found.boxes.tolist() == [[0, 0, 32, 16]]
    assert "none" not in HOSTS


def test_a_hosted_model_that_gives_something_else() -> None:
    with pytest.raises(ModelError, match=r"'m' gave outputs of shape \[\[3\]\]"):
        Hosted(Desk([np.zeros(3)]), "m", SIZE)(FRAME)


# ── the pool ────────────────────────────────────────────────────────────────────────────────────


def test_a_pool_loads_and_warms_all_at_once() -> None:
    seen: list[tuple[int, ...]] = []

    def load() -> Function:
        return Function(lambda pixels: (seen.append(pixels.shape), ([], [], np.zeros(0, int)))[1])

    pool = Pool([Loadable("a", load), Loadable("b", load)], size=SIZE)
    assert sorted(pool) == ["a", "b"]
    assert len(pool) == 2
    assert seen == [(32, 64, 3)] * 2 * WARM


def test_what_takes_more_memory_than_allowed_is_refused_before_anything_is_loaded() -> None:
    def load() -> Function:
        raise AssertionError("it was loaded")

    loadables = [Loadable("a", load, 3 << 20), Loadable("b", load, 9 << 20)]
    with pytest.raises(ResourceError, match=r"about 12 MiB, but memory_budget is 10 MiB; .* 'b', which takes 9 MiB"):
        Pool(loadables, size=SIZE, memory_budget=10 << 20)
    with pytest.raises(ConfigError, match="'a' is given twice"):
        Pool([loadables[0]] * 2, size=SIZE)
