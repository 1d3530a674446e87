"""Model files: what is found in pictures, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from paceline.errors import ConfigError, ModelError
from paceline.streaming.detect.onnx import OnnxDetector, ladder, loadable
from paceline.streaming.detect.pool import Pool
from paceline.streaming.frame import Frame
from tests.streaming.detect import made

pytest.importorskip("onnxruntime")
NUM_PLACES = 4 * 8 + 2 * 4 + 1 * 2  # cells of a picture of 64 x 32


def frame(width: int = 128, height: int = 96, red: int = 204) -> Frame:
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[..., 0] = red
    return Frame(0, 0, (width, height), pixels)


def test_the_packaged_layout_gives_boxes_in_pixels_of_the_source(tmp_path: Path) -> None:
    detector = OnnxDetector(made.packaged(tmp_path / "m.onnx"), (64, 32))
    found = detector(frame())
    assert found.boxes.tolist() == [[32, 24, 96, 72]]
    assert found.scores[0] == pytest.approx(204 / 255)
    assert found.classes.tolist() == [1]
    assert detector(frame(64, 32)).boxes.tolist() == [[16, 8, 48, 24]], "sources may differ"


def yolov8(num_classes: int = 80) -> np.ndarray:
    answer = np.zeros((1, 4 + num_classes, NUM_PLACES))
    answer[0, :4, 0], answer[0, 4 + 2, 0] = [16, 8, 8, 4], 0.9  # a car
    answer[0, :4, 1], answer[0, 4 + 2, 1] = [16.2, 8, 8, 4], 0.8  # the same again
    answer[0, :4, 2], answer[0, 4, 2] = [16, 8, 8, 4], 0.7  # a person just there
    answer[0, :4, 3], answer[0, -1, 3] = [40, 8, 8, 4], 0.9  # what is of no interest
    return answer


def test_yolov8s_layout(tmp_path: Path) -> None:
    found = OnnxDetector(made.constant(tmp_path / "m.onnx", yolov8()), (64, 32))(frame(128, 64))
    assert found.boxes.tolist() == [[24, 12, 40, 20]] * 2, "twice as large as what the model sees"
    assert found.classes.tolist() == [0, 1]
    assert found.scores == pytest.approx([0.9, 0.7])


def test_a_picture_of_another_aspect_has_a_border(tmp_path: Path) -> None:
    found = OnnxDetector(made.constant(tmp_path / "m.onnx", yolov8()), (64, 32))(frame(64, 64))
    assert found.boxes[0].tolist() == [24, 12, 40, 20], "half as many pixels of the picture in each direction"


def test_yoloxs_layout(tmp_path: Path) -> None:
    answer = np.zeros((1, NUM_PLACES, 5 + 80))
    answer[0, 8 * 1 + 2] = 0  # second row, third column of the finest cells
    answer[0, 8 * 1 + 2, :5] = [0.5, 0.25, np.log(2), np.log(1), 0.9]
    answer[0, 8 * 1 + 2, 5 + 7] = 0.8  # a truck
    found = OnnxDetector(made.constant(tmp_path / "m.onnx", answer), (64, 32))(frame(64, 32))
    assert found.boxes[0] == pytest.approx([20 - 8, 10 - 4, 20 + 8, 10 + 4])
    assert found.scores == pytest.approx([0.72])
    assert found.classes.tolist() == [0]


def test_classes_may_be_told(tmp_path: Path) -> None:
    path = made.constant(tmp_path / "m.onnx", yolov8(5))
    with pytest.raises(ModelError, match="5 classes; say by `classes`"):
        OnnxDetector(path, (64, 32))
    assert OnnxDetector(path, (64, 32), classes={0: 1})(frame()).classes.tolist() == [1]


def test_another_layout_is_told_as_it_was_found(tmp_path: Path) -> None:
    path = made.constant(tmp_path / "m.onnx", np.zeros((1, 7, 11)))
    with pytest.raises(
        ModelError, match=r"'images' tensor\(float\) \[1, 3, 32, 64\] and gives 'output0'.*\[1, 7, 11\].*A = 42"
    ):
        OnnxDetector(path, (64, 32))


def test_fixed_sides_must_be_those_asked_for(tmp_path: Path) -> None:
    path = made.packaged(tmp_path / "m.onnx", (32, 64))
    assert len(OnnxDetector(path, (64, 32))(frame())) == 1
    with pytest.raises(ModelError, match="pictures of 64 x 32, not 96 x 32"):
        OnnxDetector(path, (96, 32))


def test_what_is_no_model(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    with pytest.raises(ModelError, match="there is no model"):
        OnnxDetector(path, (64, 32))
    with pytest.raises(ModelError, match="cannot read"):
        loadable("m", path, (64, 32))
    path.write_bytes(b"not a model at all")
    with pytest.raises(ModelError, match="is no model that ONNX Runtime can load"):
        OnnxDetector(path, (64, 32))


def test_options_and_frames_that_cannot_be_used(tmp_path: Path) -> None:
    path = made.packaged(tmp_path / "m.onnx")
    with pytest.raises(ConfigError, match="threads"):
        OnnxDetector(path, (64, 32), threads=0)
    with pytest.raises(ModelError, match="no pixels"):
        OnnxDetector(path, (64, 32))(Frame(3, 0, (64, 32)))


def test_a_ladder_is_read_from_its_folder(tmp_path: Path) -> None:
    made.packaged(tmp_path / "small.onnx")
    rows = [
        {"name": name, "weights": "small.onnx", "width": width, "height": 32, "ap": 0.5}
        for name, width in (("d1", 64), ("d2", 96))
    ]
    (tmp_path / "detectors.json").write_text(json.dumps({"configurations": rows, "classes": []}))
    pool = Pool(ladder(tmp_path).values(), size=(128, 96))
    assert list(pool) == ["d1", "d2"]
    assert len(pool["d2"](frame())) == 1


@pytest.mark.parametrize(
    "text",
    ["[]", '{"configurations": [{"name": "d1", "weights": "../m.onnx", "width": 64, "height": 32}]}',
     '{"configurations": [{"name": "d1", "weights": "m.onnx", "width": 0, "height": 32}]}'],
)  # fmt: skip
def test_what_is_no_table_of_detectors(tmp_path: Path, text: str) -> None:
    with pytest.raises(ModelError, match="cannot read the table"):
        ladder(tmp_path)
    (tmp_path / "detectors.json").write_text(text)
    with pytest.raises(ModelError, match=r"detectors\.json"):
        ladder(tmp_path)
