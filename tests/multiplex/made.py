"""Graphs written by hand for the tests of lowering, and weights for as many tenants as wanted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from paceline.multiplex.lower.calls import resolved
from paceline.multiplex.lower.plain import plain_function
from paceline.multiplex.op import Argument, Graph, Many, Op, Rows, Spec, Value, Weight

_ROWS = 7  # no size of a feature is a multiple of it


def _spec(tensor: Tensor) -> Spec:
    shape = tuple(tensor.shape)
    rows = bool(shape) and shape[0] % _ROWS == 0 and shape[0] > 0
    if rows:
        return Spec((Rows(shape[0] // _ROWS), *shape[1:]), str(tensor.dtype).removeprefix("torch."))
    return Spec(tuple([Rows() if size == _ROWS else size for size in shape]), str(tensor.dtype).removeprefix("torch."))


class Maker:
    """Adds operators one after another; sizes of results come from running them on seven rows."""

    def __init__(self, *inputs: Tensor) -> None:
        self.inputs = [torch.cat([each[:1]] * _ROWS) for each in inputs]
        self.values: list[Tensor] = list(self.inputs)
        self.ops: list[Op] = []
        self.weights: dict[str, Tensor] = {}

    def weight(self, *shape: int, scale: float = 0.3) -> Weight:
        name = f"weight{len(self.weights)}"
        self.weights[name] = torch.randn(shape) * scale
        return Weight(name)

    def __call__(self, target: str, *arguments: Any, **keywords: Any) -> Value:
        args = tuple(map(_argument, arguments))
        op = Op(f"aten.{target}", args, (), {key: _argument(each) for key, each in keywords.items()})
        made = run_op(op, self.values, self.weights, _ROWS)
        self.ops.append(Op(op.target, op.args, tuple(map(_spec, made)), op.keywords))
        self.values += made
        return Value(len(self.values) - len(made))

    def linear(self, x: Value, num_outputs: int, *, bias: bool = True) -> Value:
        width = self.values[x.index].shape[-1]
        shift = self.weight(num_outputs) if bias else None
        return self("linear.default", x, self.weight(num_outputs, width), shift)

    def layer_norm(self, x: Value) -> Value:
        width = self.values[x.index].shape[-1]
        return self("layer_norm.default", x, [width], self.weight(width), self.weight(width), 1e-5)

    def conv(self, x: Value, num_outputs: int, size: int = 3, *, stride: int = 1) -> Value:
        channels = self.values[x.index].shape[1]
        kernel = self.weight(num_outputs, channels, size, size, scale=0.15)
        half = size // 2
        shift = self.weight(num_outputs)
        return self("conv2d.default", x, kernel, shift, [stride] * 2, [half] * 2, [1, 1], 1)

    def graph(self, *outputs: Value) -> Graph:
        specs = {name: Spec(tuple(each.shape), "float32") for name, each in self.weights.items()}
        structure = "tensor" if len(outputs) == 1 else "tuple"
        return Graph(
            tuple(map(_spec, self.inputs)), tuple(self.ops), tuple(each.index for each in outputs), specs, structure
        )


def _argument(given: Any) -> Argument:
    return Many(tuple(map(_argument, given))) if isinstance(given, (list, tuple)) else given


def run_op(op: Op, values: list[Tensor], weights: dict[str, Tensor], rows: int) -> list[Tensor]:
    arguments = [resolved(each, values.__getitem__, weights.__getitem__, rows.__mul__) for each in op.args]
    keywords = {
        key: resolved(each, values.__getitem__, weights.__getitem__, rows.__mul__) for key, each in op.keywords.items()
    }
    made = plain_function(op)(*arguments, **keywords)
    return list(made) if isinstance(made, (tuple, list)) else [made]


def interpreted(graph: Graph, weights: dict[str, Tensor], inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """What one tenant alone gets: the oracle."""
    values = list(inputs)
    for op in graph.ops:
        values += run_op(op, values, weights, inputs[0].shape[0])
    return tuple(values[index] for index in graph.outputs)


def random_weights(graph: Graph, num_tenants: int, *, scale: float = 0.3) -> list[dict[str, Tensor]]:
    def of_one() -> dict[str, Tensor]:
        return {name: torch.randn(spec.sizes(0)) * scale for name, spec in graph.weights.items()}

    return [of_one() for _ in range(num_tenants)]


# ── the four nets ────────────────────────────────────────────────────────────────────────────────


def mlp(width: int = 16, num_layers: int = 3) -> Graph:
    make = Maker(torch.randn(1, width))
    x = Value(0)
    for _ in range(num_layers):
        x = make.layer_norm(make("relu.default", make.linear(x, width)))
    return make.graph(make.linear(x, 4))


def recurrent(target: str = "lstm.input", width: int = 12, num_steps: int = 5, *, bidirectional: bool = False) -> Graph:
    make = Maker(torch.randn(1, num_steps, width))
    gates = {"lstm.input": 4, "gru.input": 3}.get(target, 1) * width
    sides = 2 if bidirectional else 1
    params = [w for _ in range(sides) for w in (make.weight(gates, width), make.weight(gates, width))]
    shifts = [make.weight(gates) for _ in range(2 * sides)]
    params = [
        each for side in range(sides) for each in (*params[2 * side : 2 * side + 2], *shifts[2 * side : 2 * side + 2])
    ]
    out = make(target, Value(0), None, params, True, 1, 0.0, False, bidirectional, True)
    last = make("select.int", out, 1, -1)
    return make.graph(make.linear(last, 3))


def encoder(width: int = 16, num_steps: int = 5, num_heads: int = 2) -> Graph:
    make = Maker(torch.randn(1, num_steps, width))
    x = Value(0)

    def heads(each: Value) -> Value:
        cut = make("reshape.default", each, [Rows(), num_steps, num_heads, width // num_heads])
        return make("permute.default", cut, [0, 2, 1, 3])

    query, key, value = (heads(make.linear(x, width)) for _ in range(3))
    mixed = make("scaled_dot_product_attention.default", query, key, value)
    joined = make("reshape.default", make("permute.default", mixed, [0, 2, 1, 3]), [Rows(num_steps), width])
    back = make("reshape.default", make.linear(joined, width), [Rows(), num_steps, width])
    x = make.layer_norm(make("add.Tensor", x, back))
    inner = make("gelu.default", make.linear(x, 2 * width))
    return make.graph(make.layer_norm(make("add.Tensor", x, make.linear(inner, width))))


def resnet(widths: tuple[int, ...] = (4, 6), size: int = 8) -> Graph:
    make = Maker(torch.randn(1, 3, size, size))
    x = make("relu.default", make.conv(Value(0), widths[0]))
    for width in widths:
        stride = 1 if width == widths[0] else 2
        skip = x if stride == 1 else make.conv(x, width, 1, stride=stride)
        inner = make("relu.default", make.conv(x, width, stride=stride))
        x = make("relu.default", make("add.Tensor", make.conv(inner, width), skip))
    pooled = make("reshape.default", make("adaptive_avg_pool2d.default", x, [1, 1]), [Rows(), widths[-1]])
    return make.graph(make.linear(pooled, 5))


NETS: dict[str, Callable[..., Graph]] = {"mlp": mlp, "lstm": recurrent, "encoder": encoder, "resnet": resnet}
