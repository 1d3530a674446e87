"""Writes the detectors into the package as ONNX: one file of weights serves several sizes of picture.

The graph takes bytes and gives boxes: `pixels` uint8 [1, 3, H, W] (RGB; H and W multiples of 32) -> `boxes` float32 [1, 100, 4]
(left, top, right, bottom as shares of the picture's width and height), `scores` float32 [1, 100], falling, `classes` int64 [1, 100].
A peak is a cell that no neighbour of its class exceeds; nothing else suppresses anything.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from training.streaming.network import Detector, Pair, Unit

OPSET: Final = 17
MOST: Final = 100  # boxes of one picture
LARGEST: Final = 6.0  # log of the farthest side, in cells


class Graph:
    """Collects nodes; names of results count up."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, onnx.TensorProto] = {}

    def add(self, operator: str, *inputs: str, outputs: tuple[str, ...] = (), **attributes: Any) -> str:
        names = outputs or (f"{operator.lower()}_{len(self.nodes)}",)
        self.nodes.append(helper.make_node(operator, list(inputs), list(names), **attributes))
        return names[0]

    def constant(self, value: np.ndarray | list[int] | list[float] | float, dtype: type = np.float32) -> str:
        array: np.ndarray = np.asarray(value, dtype)
        name = f"c{len(self.constants)}"
        self.constants[name] = numpy_helper.from_array(array, name)
        return name

    def conv(self, x: str, conv: nn.Conv2d) -> str:
        assert conv.bias is not None
        half = self.constant(
            _array(conv.weight), np.float16
        )  # a file half as long; read once, when the graph is loaded
        weight, bias = self.add("Cast", half, to=TensorProto.FLOAT), self.constant(_array(conv.bias))
        pad, stride, size = int(conv.padding[0]), conv.stride[0], conv.kernel_size[0]
        return self.add("Conv", x, weight, bias, pads=[pad] * 4, strides=[stride] * 2, kernel_shape=[size] * 2)

    def unit(self, x: str, unit: Unit) -> str:
        x = self.conv(x, unit.conv)
        return self.add("Relu", x) if unit.active else x

    def pair(self, x: str, pair: Pair) -> str:
        return self.add("Relu", self.add("Add", x, self.unit(self.unit(x, pair.first), pair.second)))


def _array(tensor: Tensor) -> np.ndarray:
    return tensor.detach().float().cpu().numpy()


def export(net: Detector, path: Path, about: dict[str, str]) -> None:
    """``net`` must be folded."""
    graph = Graph()
    middles, sides = _network(graph, net)
    _answers(graph, middles, sides)
    model = helper.make_model(
        helper.make_graph(
            graph.nodes,
            "detector",
            [helper.make_tensor_value_info("pixels", TensorProto.UINT8, [1, 3, "height", "width"])],
            [
                helper.make_tensor_value_info("boxes", TensorProto.FLOAT, [1, MOST, 4]),
                helper.make_tensor_value_info("scores", TensorProto.FLOAT, [1, MOST]),
                helper.make_tensor_value_info("classes", TensorProto.INT64, [1, MOST]),
            ],
            list(graph.constants.values()),
        ),
        opset_imports=[helper.make_opsetid("", OPSET)],
        producer_name="paceline",
        ir_version=9,
    )
    helper.set_model_props(model, about)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, str(path))


def _network(graph: Graph, net: Detector) -> tuple[str, str]:
    x = graph.add("Cast", "pixels", to=TensorProto.FLOAT)
    x = graph.add("Sub", graph.add("Mul", x, graph.constant(1 / 255)), graph.constant(0.45))
    x = graph.unit(x, net.stem)
    levels = []
    for down, pairs in zip(net.down, net.pairs, strict=True):
        x = graph.unit(x, down)  # type: ignore[arg-type]
        for pair in pairs:  # type: ignore[attr-defined]
            x = graph.pair(x, pair)
        levels.append(x)
    twice = graph.constant([1.0, 1.0, 2.0, 2.0])
    for level in (2, 1, 0):
        x = graph.unit(x, net.lateral[level])  # type: ignore[arg-type]
        x = graph.add(
            "Resize", x, "", twice, mode="nearest", coordinate_transformation_mode="asymmetric", nearest_mode="floor"
        )
        x = graph.add("Relu", graph.add("Add", levels[level], x))
        x = graph.unit(x, net.join[level])  # type: ignore[arg-type]
    x = graph.unit(x, net.head)
    return graph.conv(x, net.middle), graph.conv(x, net.sides)


def _answers(graph: Graph, middles: str, sides: str) -> None:
    """Peaks, the best of them, and their boxes."""
    highest = graph.add("MaxPool", middles, kernel_shape=[3, 3], pads=[1, 1, 1, 1], strides=[1, 1])
    peak = graph.add("Equal", middles, highest)
    kept = graph.add("Where", peak, middles, graph.constant(-30.0))
    flat = graph.add("Reshape", kept, graph.constant([1, -1], np.int64))
    best, place = "best", "place"
    graph.add("TopK", flat, graph.constant([MOST], np.int64), outputs=(best, place), axis=1)
    graph.add("Sigmoid", best, outputs=("scores",))
    shape = graph.add("Shape", middles)
    height = graph.add("Gather", shape, graph.constant(2, np.int64))
    width = graph.add("Gather", shape, graph.constant(3, np.int64))
    area = graph.add("Mul", height, width)
    graph.add("Div", place, area, outputs=("classes",))
    cell = graph.add("Mod", place, area)
    reach = _reach(graph, sides, cell)
    column = graph.add("Cast", graph.add("Mod", cell, width), to=TensorProto.FLOAT)
    row = graph.add("Cast", graph.add("Div", cell, width), to=TensorProto.FLOAT)
    axis = graph.constant([2], np.int64)
    half = graph.constant(0.5)
    across = graph.add("Unsqueeze", graph.add("Add", column, half), axis)
    down = graph.add("Unsqueeze", graph.add("Add", row, half), axis)
    middle = graph.add("Concat", across, down, across, down, axis=2)
    corners = graph.add("Add", middle, graph.add("Mul", reach, graph.constant([-1.0, -1.0, 1.0, 1.0])))
    size = [
        graph.add("Reshape", graph.add("Cast", side, to=TensorProto.FLOAT), graph.constant([1], np.int64))
        for side in (width, height)
    ]
    shares = graph.add("Div", corners, graph.add("Concat", *size, *size, axis=0))
    graph.add("Clip", shares, graph.constant(0.0), graph.constant(1.0), outputs=("boxes",))


def _reach(graph: Graph, sides: str, cell: str) -> str:
    """Distances in cells to the four sides at the best cells only, [1, 100, 4]."""
    rows = graph.add("Reshape", sides, graph.constant([1, 4, -1], np.int64))
    rows = graph.add("Transpose", rows, perm=[0, 2, 1])
    index = graph.add(
        "Expand", graph.add("Unsqueeze", cell, graph.constant([2], np.int64)), graph.constant([1, 1, 4], np.int64)
    )
    chosen = graph.add("GatherElements", rows, index, axis=1)
    return graph.add("Exp", graph.add("Clip", chosen, graph.constant(-4.0), graph.constant(LARGEST)))
