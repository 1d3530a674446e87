"""Models made on the spot: small graphs of the layouts that are known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def _save(path: Path, nodes: list[onnx.NodeProto], takes: tuple[str, int, list[object]], gives: list[onnx.ValueInfoProto],
          constants: dict[str, np.ndarray]) -> Path:  # fmt: skip
    model = helper.make_model(
        helper.make_graph(
            nodes,
            "made",
            [helper.make_tensor_value_info(*takes)],
            gives,
            [numpy_helper.from_array(value, name) for name, value in constants.items()],
        ),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=9,
    )
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, str(path))
    return path


def packaged(path: Path, sides: tuple[object, object] = ("height", "width")) -> Path:
    """One box over the middle of the picture; its score is the red in the upper left pixel, its class 1."""
    nodes = [
        helper.make_node("Cast", ["pixels"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("Slice", ["floats", "start", "end", "axes"], ["corner"]),
        helper.make_node("Div", ["corner", "white"], ["share"]),
        helper.make_node("Reshape", ["share", "row"], ["scores"]),
        helper.make_node("Identity", ["box"], ["boxes"]),
        helper.make_node("Identity", ["class"], ["classes"]),
    ]
    constants = {
        "start": np.array([0, 0, 0], np.int64),
        "end": np.array([1, 1, 1], np.int64),
        "axes": np.array([1, 2, 3], np.int64),
        "white": np.array(255, np.float32),
        "row": np.array([1, 1], np.int64),
        "box": np.array([[[0.25, 0.25, 0.75, 0.75]]], np.float32),
        "class": np.array([[1]], np.int64),
    }
    gives = [
        helper.make_tensor_value_info("boxes", TensorProto.FLOAT, [1, 1, 4]),
        helper.make_tensor_value_info("scores", TensorProto.FLOAT, [1, 1]),
        helper.make_tensor_value_info("classes", TensorProto.INT64, [1, 1]),
    ]
    return _save(path, nodes, ("pixels", TensorProto.UINT8, [1, 3, *sides]), gives, constants)


def constant(path: Path, answer: np.ndarray, sides: tuple[object, object] = (32, 64)) -> Path:
    """Floats in; gives ``answer`` whatever it sees."""
    nodes = [
        helper.make_node("ReduceMin", ["images"], ["least"], keepdims=0),
        helper.make_node("Mul", ["least", "nothing"], ["zero"]),
        helper.make_node("Add", ["answer", "zero"], ["output0"]),
    ]
    gives = [helper.make_tensor_value_info("output0", TensorProto.FLOAT, list(answer.shape))]
    constants = {"answer": answer.astype(np.float32), "nothing": np.array(0, np.float32)}
    return _save(path, nodes, ("images", TensorProto.FLOAT, [1, 3, *sides]), gives, constants)
