"""Layers with weights: linear, convolution, normalisation, attention, embedding, pooling."""

from __future__ import annotations

from typing import Any, Final

from paceline.multiplex.capture.builder import Arguments, Builder, Cell
from paceline.multiplex.capture.rules.general import Rule, along, plain_rows
from paceline.multiplex.capture.rules.shape import permuted
from paceline.multiplex.capture.traced import NotCapturable
from paceline.multiplex.op import Op, Weight


def linear(builder: Builder, target: str, arguments: Arguments) -> list[Cell]:
    cell, weight = arguments["input"], arguments["weight"]
    if cell.is_weight or not weight.is_weight:
        raise NotCapturable(f"{target} takes weights that follow from the input")
    if cell.rows_at and cell.rows_at == cell.rank - 1:
        raise NotCapturable(f"{target} runs along the rows, so rows of different requests would mix")
    given = {"input": cell, "weight": weight, "bias": arguments.get("bias")}
    return builder.emit("aten.linear.default", given, rows_at=cell.rows_at)


def matmul(builder: Builder, target: str, arguments: Arguments) -> list[Cell]:
    """By a matrix of the model it is a linear layer; otherwise each row has matrices of its own."""
    first, second = arguments["self"], arguments["other" if "other" in arguments else "mat2"]
    if not first.is_weight and second.is_weight and second.rank == 2:
        return linear(builder, target, {"input": first, "weight": _transposed(builder, second)})
    name = "aten.bmm.default" if target == "aten.bmm.default" else "aten.matmul.default"
    return plain_rows(builder, name, {"self": first, "mat2" if "bmm" in name else "other": second})


def addmm(builder: Builder, target: str, arguments: Arguments) -> list[Cell]:
    matrix = arguments["mat2"]
    if arguments["beta"] != 1 or arguments["alpha"] != 1 or not matrix.is_weight:
        return plain_rows(builder, target, arguments)
    weight = _transposed(builder, matrix)
    return linear(builder, target, {"input": arguments["mat1"], "weight": weight, "bias": arguments["self"]})


def _transposed(builder: Builder, weight: Cell) -> Cell:
    """The matrix the other way round: the original, if it was turned before."""
    made = builder.producer(weight)
    if made is not None and made.target == "aten.permute.default" and isinstance(made.args[0], Weight):
        original = builder.weight(made.args[0].name)
        if original.rank == 2:
            return original
    return permuted(builder, weight, (1, 0))[0]


def convolution(builder: Builder, target: str, arguments: Arguments) -> list[Cell]:
    """With every argument written out; "same" and "valid" become numbers."""
    kernel = arguments["weight"].spec.shape[2:]
    spread = {name: _each(arguments[name], len(kernel)) for name in ("stride", "dilation")}
    padding = arguments["padding"]
    if padding == "valid":
        padding = 0
    if padding == "same":
        total = [dilation * (size - 1) for dilation, size in zip(spread["dilation"], kernel, strict=True)]
        if any(each % 2 for each in total):
            raise NotCapturable(f"{target} pads one side more than the other (padding='same' with an even kernel)")
        padding = [each // 2 for each in total]
    spread["padding"] = _each(padding, len(kernel))
    if "output_padding" in arguments:
        spread["output_padding"] = _each(arguments["output_padding"], len(kernel))
    return plain_rows(builder, target.replace(".padding", ".default"), arguments | spread)


def _each(value: Any, count: int) -> list[int]:
    values = list(value) if isinstance(value, (list, tuple)) else [value]
    return values * count if len(values) == 1 else values


def pool(builder: Builder, target: str, arguments: Arguments) -> list[Cell]:
    """With every argument written out."""
    count = 2 if "2d" in target else 1
    spread: Arguments = {
        name: _each(arguments[name], count)
        for name in ("kernel_size", "padding", "dilation", "output_size")
        if name in arguments
    }
    if "stride" in arguments:
        spread["stride"] = _each(arguments["stride"] or arguments["kernel_size"], count)
    name = target.replace("_with_indices", "").replace("aten._", "aten.")
    return plain_rows(builder, name, arguments | spread)


def batch_norm(builder: Builder, target: str, arguments: Arguments) -> list[Cell]:
    """With fixed statistics it is a factor and a summand for each channel, taken into the layer before if possible."""
    cell, mean = arguments["input"], arguments["running_mean"]
    if arguments.get("training") or mean is None:
        raise NotCapturable("batch normalisation uses the statistics of the batch, so rows mix: call eval() before")
    if cell.rows_at:
        raise NotCapturable(f"{target} takes a tensor with its rows in dimension {cell.rows_at}, not 0")
    prefix = mean.tensor.name.removesuffix("running_mean")
    scale, shift = _affine(builder, arguments, prefix)
    before = builder.producer(cell)
    if cell.read_once and before is not None and _takes_in(before, cell):
        _take_in(builder, cell, before, scale, shift)
        return [cell.copy()]
    shape = [-1, *[1] * (cell.rank - 2)]
    scale = builder.emit_one("aten.reshape.default", {"self": scale, "shape": shape}, name=f"{prefix}scale")
    shift = builder.emit_one("aten.reshape.default", {"self": shift, "shape": shape}, name=f"{prefix}shift")
    scaled = builder.emit_one("aten.mul.Tensor", {"self": cell, "other": scale})
    return builder.emit("aten.add.Tensor", {"self": scaled, "other": shift})


def _affine(builder: Builder, arguments: Arguments, prefix: str) -> tuple[Cell, Cell]:  # [C], [C]
    """The factor and the summand of each channel."""
    variance = {"self": arguments["running_var"], "other": arguments["eps"]}
    scale = builder.emit_one("aten.rsqrt.default", {"self": builder.emit_one("aten.add.Tensor", variance)})
    if arguments["weight"] is not None:
        scale = builder.emit_one("aten.mul.Tensor", {"self": scale, "other": arguments["weight"]})
    centre = {"self": arguments["running_mean"], "other": scale}
    shift = builder.emit_one("aten.neg.default", {"self": builder.emit_one("aten.mul.Tensor", centre)})
    if arguments["bias"] is not None:
        shift = builder.emit_one("aten.add.Tensor", {"self": shift, "other": arguments["bias"]}, name=f"{prefix}offset")
    return scale, shift


def _takes_in(before: Op, cell: Cell) -> bool:
    """Whether the op gives the channels by weights of its own."""
    layers = {"aten.conv1d.default", "aten.conv2d.default", "aten.conv3d.default"}
    channels_last = before.target == "aten.linear.default" and cell.rank == 2
    return (before.target in layers or channels_last) and isinstance(before.args[1], Weight)


def _take_in(builder: Builder, cell: Cell, before: Op, scale: Cell, shift: Cell) -> None:
    """Changes the layer that gives ``cell`` so that it scales and shifts too."""
    assert isinstance(before.args[1], Weight)
    prefix, weight = before.args[1].name.removesuffix("weight"), builder.weight(before.args[1].name)
    shape = {"self": scale, "shape": [-1, *[1] * (weight.rank - 1)]}
    factors = {"self": weight, "other": builder.emit_one("aten.reshape.default", shape)}
    bias = before.args[2] if len(before.args) > 2 else None
    if isinstance(bias, Weight):
        old = builder.emit_one("aten.mul.Tensor", {"self": builder.weight(bias.name), "other": scale})
        shift = builder.emit_one("aten.add.Tensor", {"self": old, "other": shift}, name=f"{prefix}folded_bias")
    folded = builder.emit_one("aten.mul.Tensor", factors, name=f"{prefix}folded_weight")
    builder.rewrite(cell, {"weight": folded, "bias": shift})


def norm(builder: Builder, target: str, arguments: Arguments) -> list[Cell]:
    """Over the last dimensions."""
    cell: Cell = arguments["input"]
    if cell.rows_at >= cell.rank - len(arguments["normalized_shape"]):
        raise NotCapturable(f"{target} runs along the rows, so rows of different requests would mix")
    given = arguments | ({"cudnn_enable": True} if "cudnn_enable" in arguments else {})
    return builder.emit(target, given, rows_at=cell.rows_at)


def instance_norm(builder: Builder, target: str, arguments: Arguments) -> list[Cell]:
    if not arguments["use_input_stats"]:
        return batch_norm(builder, target, arguments)
    return plain_rows(builder, target, arguments | {"running_mean": None, "running_var": None})


def attention(builder: Builder, target: str, arguments: Arguments) -> list[Cell]:
    if arguments["dropout_p"] > 0:
        raise NotCapturable("dropout is on in attention: call eval() before, and pass dropout_p=0")
    if arguments["query"].rank < 3:
        raise NotCapturable(f"{target} runs along the rows, so rows of different requests would mix")
    return plain_rows(builder, target, arguments)


def embedding(builder: Builder, target: str, arguments: Arguments) -> list[Cell]:
    """Padding indices and sparse gradients matter in training alone."""
    if not arguments["weight"].is_weight:
        raise NotCapturable(f"{target} looks up rows of a table that follows from the input")
    indices: Cell = arguments["indices"]
    given = {"weight": arguments["weight"], "indices": indices}
    return builder.emit(target, given, rows_at=indices.rows_at)


def softmax(builder: Builder, target: str, arguments: Arguments) -> list[Cell]:
    name = "aten.log_softmax.int" if "log" in target else "aten.softmax.int"
    return along(builder, name, {name: value for name, value in arguments.items() if name != "half_to_float"})


def _all(rule: Rule, names: str) -> dict[str, Rule]:
    return {f"aten.{name}": rule for name in names.split()}


RULES: Final[dict[str, Rule]] = (
    _all(linear, "linear.default")
    | _all(matmul, "matmul.default mm.default bmm.default")
    | _all(addmm, "addmm.default")
    | _all(convolution, "conv1d.default conv2d.default conv3d.default conv1d.padding conv2d.padding conv3d.padding")
    | _all(convolution, "conv_transpose1d.default conv_transpose2d.input")
    | _all(pool, "max_pool1d.default max_pool2d.default max_pool2d_with_indices.default avg_pool1d.default")
    | _all(pool, "avg_pool2d.default adaptive_avg_pool1d.default adaptive_avg_pool2d.default")
    | _all(pool, "adaptive_max_pool1d.default adaptive_max_pool2d.default _adaptive_avg_pool2d.default")
    | _all(batch_norm, "batch_norm.default _native_batch_norm_legit_no_training.default")
    | _all(norm, "layer_norm.default rms_norm.default")
    | _all(instance_norm, "instance_norm.default")
    | _all(attention, "scaled_dot_product_attention.default")
    | _all(embedding, "embedding.default")
    | _all(softmax, "softmax.int log_softmax.int _softmax.default _log_softmax.default")
)
