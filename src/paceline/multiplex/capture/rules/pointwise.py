"""Operators that give back what they take, and those that other names stand for."""

from __future__ import annotations

import math
from typing import Final

from paceline.multiplex.capture.builder import Arguments, Builder, Cell
from paceline.multiplex.capture.evaluate import dtype_of
from paceline.multiplex.capture.rules.general import Rule, pointwise_rule
from paceline.multiplex.capture.traced import NotCapturable


def same(builder: Builder, target: str, arguments: Arguments) -> list[Cell]:
    """The very tensor."""
    return [next(iter(arguments.values()))]


def copy(builder: Builder, target: str, arguments: Arguments) -> list[Cell]:
    """The same numbers."""
    return [next(iter(arguments.values())).copy()]


def nothing(builder: Builder, target: str, arguments: Arguments) -> list[Cell]:
    """A check that tracing itself has passed."""
    return []


def dropout(builder: Builder, target: str, arguments: Arguments) -> list[Cell]:
    if arguments["train"] and arguments["p"] > 0:
        raise NotCapturable("dropout is on: call eval() before")
    return [arguments["input"]]


def to_dtype(builder: Builder, target: str, arguments: Arguments) -> list[Cell]:
    """``to``: types change, devices are the runtime's business."""
    source = arguments["self"]
    other = arguments.get("other")
    dtype = arguments.get("dtype") if other is None else dtype_of(other.spec.dtype)
    if dtype is None or dtype == dtype_of(source.spec.dtype):
        return [source]
    return builder.emit("aten.to.dtype", {"self": source, "dtype": dtype}, rows_at=source.rows_at)


def number_of_weight(builder: Builder, target: str, arguments: Arguments) -> list[Cell]:
    """A weight read as a number stays a tensor of one number."""
    source: Cell = arguments["self"]
    if not source.is_weight:
        raise NotCapturable("it reads a number of its input back into Python")
    return builder.emit("aten.reshape.default", {"self": source, "shape": []})


def masked_fill(builder: Builder, target: str, arguments: Arguments) -> list[Cell]:
    """JSON has no infinity, so it becomes a weight."""
    value = arguments["value"]
    if math.isfinite(value):
        return pointwise_rule(builder, target, arguments)
    filled = _constant(builder, value, arguments["self"].spec.dtype)
    return pointwise_rule(builder, "aten.masked_fill.Tensor", arguments | {"value": filled})


def where(builder: Builder, target: str, arguments: Arguments) -> list[Cell]:
    """``where`` with numbers in the place of tensors."""
    tensor = next((arguments[name] for name in ("self", "other") if isinstance(arguments[name], Cell)), None)
    dtype = "float32" if tensor is None else tensor.spec.dtype
    both = {
        name: value if isinstance(value := arguments[name], Cell) else _constant(builder, value, dtype)
        for name in ("self", "other")
    }
    return pointwise_rule(builder, "aten.where.self", arguments | both)


def _constant(builder: Builder, value: float, dtype: str) -> Cell:
    arguments = {"size": [], "fill_value": value, "dtype": dtype_of(dtype)}
    return builder.emit_one("aten.full.default", arguments, name=f"constant.{value}")


RULES: Final[dict[str, Rule]] = (
    dict.fromkeys(["aten.alias.default", "aten.detach.default", "aten.lift_fresh.default"], same)
    | dict.fromkeys(
        ["aten.clone.default", "aten.contiguous.default", "aten.lift_fresh_copy.default", "aten.positive.default"], copy
    )
    | dict.fromkeys(["aten.dropout.default", "aten.feature_dropout.default", "aten.alpha_dropout.default"], dropout)
    | dict.fromkeys(
        [
            "aten.to.dtype", "aten.to.device", "aten.to.dtype_layout", "aten.to.other", "aten._to_copy.default",
            "aten.type_as.default",
        ],
        to_dtype,
    )
    | {
        "aten._assert_tensor_metadata.default": nothing,
        "aten.item.default": number_of_weight,
        "aten.masked_fill.Scalar": masked_fill,
        "aten.where.ScalarOther": where,
        "aten.where.ScalarSelf": where,
        "aten.where.Scalar": where,
    }
)  # fmt: skip
