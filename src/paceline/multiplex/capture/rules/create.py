"""New tensors: constants of the model, unless they have the rows in their shape."""

from __future__ import annotations

from typing import Any, Final

from paceline.multiplex.capture.builder import Arguments, Builder, Cell
from paceline.multiplex.capture.evaluate import dtype_of
from paceline.multiplex.capture.rules.general import Rule
from paceline.multiplex.capture.rules.pointwise import to_dtype
from paceline.multiplex.capture.traced import NotCapturable
from paceline.multiplex.op import Rows


def filled(value: float | None) -> Rule:
    """A tensor of one number, ``value`` or the one that is asked for: written once and repeated."""

    def rule(builder: Builder, target: str, arguments: Arguments) -> list[Cell]:
        model: Cell | None = arguments.get("self")
        sizes: list[Any] = list(arguments["size"]) if model is None or "size" in arguments else model.sizes()
        number = arguments["fill_value"] if value is None else value
        dtype = arguments.get("dtype") or (None if model is None else dtype_of(model.spec.dtype))
        fresh: Arguments = {"size": [], "fill_value": number, "dtype": dtype}
        constant = builder.emit_one("aten.full.default", fresh, name=f"constant.{number}")
        return [spread(builder, constant, sizes).copy()]

    return rule


def spread(builder: Builder, cell: Cell, sizes: list[Any]) -> Cell:
    """A tensor broadcast to ``sizes``, which may ask for rows in any dimension (-1 keeps what is there)."""
    missing = len(sizes) - cell.rank
    old = [1] * missing + cell.sizes()
    new = [old[dim] if size == -1 else size for dim, size in enumerate(sizes)]
    if new == cell.sizes():
        return cell
    rows_at = next((dim for dim, size in enumerate(new) if isinstance(size, Rows)), 0)
    if cell.is_weight and rows_at and cell.rank >= len(new) - rows_at:
        cell = builder.emit_one("aten.reshape.default", {"self": cell, "shape": old})
        order = [rows_at, *(dim for dim in range(len(new)) if dim != rows_at)]
        cell = builder.emit_one("aten.permute.default", {"self": cell, "dims": order})
    elif not cell.is_weight and missing:
        stored = [cell.spec.shape[0], *[1] * missing, *cell.spec.shape[1:]]
        cell = builder.emit_one("aten.reshape.default", {"self": cell, "shape": stored})
    asked = [new[rows_at], *(size for dim, size in enumerate(new) if dim != rows_at)] if new else []
    return builder.emit_one("aten.expand.default", {"self": cell, "size": asked}, rows_at=rows_at)


def expand(builder: Builder, target: str, arguments: Arguments) -> list[Cell]:
    sizes = arguments["size"] if "size" in arguments else arguments["other"].sizes()
    return [spread(builder, arguments["self"], list(sizes))]


def repeat(builder: Builder, target: str, arguments: Arguments) -> list[Cell]:
    """Repeating a weight of one row for each row is broadcasting it; rows themselves cannot be repeated."""
    cell, times = arguments["self"], list(arguments["repeats"])
    sizes = [1] * (len(times) - cell.rank) + cell.sizes()
    plain = [size if once == 1 else once for size, once in zip(sizes, times, strict=True)]
    if all(once == 1 or size == 1 for size, once in zip(sizes, times, strict=True)):
        return [spread(builder, cell, plain).copy()]
    if cell.rows_at or len(times) > cell.rank or times[0] != 1:
        raise NotCapturable(f"{target} repeats rows")
    return builder.emit(target, arguments)


def overwritten(builder: Builder, target: str, arguments: Arguments) -> list[Cell]:
    """``copy`` and ``fill``: only shape and type of the tensor that is written to are left."""
    old = arguments["self"]
    new = arguments["src" if "src" in arguments else "value"]
    if not isinstance(new, Cell):
        return filled(None)(builder, target, {"self": old, "fill_value": new})
    (typed,) = to_dtype(builder, target, {"self": new, "dtype": dtype_of(old.spec.dtype)})
    return [spread(builder, typed, old.sizes()).copy()]


RULES: Final[dict[str, Rule]] = (
    {f"aten.{name}.default": filled(0.0) for name in ("zeros", "zeros_like", "new_zeros", "zero")}
    | {f"aten.{name}.default": filled(1.0) for name in ("ones", "ones_like", "new_ones")}
    | {f"aten.{name}.default": filled(None) for name in ("full", "full_like", "new_full")}
    | dict.fromkeys(["aten.expand.default", "aten.expand_as.default", "aten.broadcast_to.default"], expand)
    | dict.fromkeys(["aten.copy.default", "aten.fill.Scalar", "aten.fill.Tensor"], overwritten)
    | {"aten.repeat.default": repeat}
)
