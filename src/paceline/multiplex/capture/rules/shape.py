"""Other shapes for the same numbers: all in terms of reshape, transpose, permute, select, slice and split."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final, TypeAlias

from paceline.multiplex.capture.builder import Arguments, Builder, Cell
from paceline.multiplex.capture.rules.general import Rule, along, plain_rows
from paceline.multiplex.capture.traced import NotCapturable
from paceline.multiplex.op import Many, Rows, Value, Weight

Sizes: TypeAlias = Sequence[int | Rows]


def reshaped(builder: Builder, cell: Cell, sizes: Sequence[Any]) -> list[Cell]:
    """``cell`` with other sizes, of which one may be -1. The rows may be put elsewhere, but not among other numbers."""
    old, new = cell.sizes(), _known(cell.sizes(), sizes)
    if old == new:
        return [cell]
    if cell.is_weight:
        return builder.emit("aten.reshape.default", {"self": cell, "shape": new})
    rows_at = next((dim for dim, size in enumerate(new) if isinstance(size, Rows)), None)
    alone = (
        rows_at is not None
        and old[cell.rows_at] == new[rows_at]
        and _product(old[: cell.rows_at]) == _product(new[:rows_at])
    )
    if rows_at is None or not (alone or cell.rows_at == rows_at == 0):
        raise NotCapturable(f"a reshape from {_text(old)} to {_text(new)} mixes the rows with other numbers")
    stored = [new[rows_at], *new[:rows_at], *new[rows_at + 1 :]]
    if list(cell.spec.shape) == stored:
        return [cell.with_rows_at(rows_at)]
    return builder.emit("aten.reshape.default", {"self": cell, "shape": stored}, rows_at=rows_at)


def _known(old: Sizes, new: Sequence[Any]) -> list[int | Rows]:
    """The new sizes with -1 filled in."""
    if -1 not in new:
        return list(new)
    known = [size for size in new if size != -1]
    rest, partial = divmod(_product(old), max(_product(known), 1))
    if partial:
        raise NotCapturable(f"a reshape from {_text(old)} to {_text(new)} does not fit")
    follows = _has_rows(old) and not _has_rows(known)
    return [(Rows(rest) if follows else rest) if size == -1 else size for size in new]


def _product(sizes: Sizes) -> int:
    """For one row."""
    return math.prod(size.factor if isinstance(size, Rows) else size for size in sizes)


def _has_rows(sizes: Sizes) -> bool:
    return any(isinstance(size, Rows) for size in sizes)


def _text(sizes: Sequence[Any]) -> str:
    names = [
        ("rows" if size.factor == 1 else f"{size.factor} rows") if isinstance(size, Rows) else str(size)
        for size in sizes
    ]
    return f"[{', '.join(names)}]"


def reshape(builder: Builder, target: str, arguments: Arguments) -> list[Cell]:
    sizes = arguments["shape"] if "shape" in arguments else arguments["size"]
    return reshaped(builder, arguments["self"], sizes)


def flatten(builder: Builder, target: str, arguments: Arguments) -> list[Cell]:
    cell: Cell = arguments["self"]
    start, end = (arguments[name] % max(cell.rank, 1) for name in ("start_dim", "end_dim"))
    sizes = cell.sizes()
    return reshaped(builder, cell, [*sizes[:start], _joined(sizes[start : end + 1]), *sizes[end + 1 :]])


def _joined(sizes: Sizes) -> int | Rows:
    return Rows(_product(sizes)) if _has_rows(sizes) else _product(sizes)


def unflatten(builder: Builder, target: str, arguments: Arguments) -> list[Cell]:
    cell: Cell = arguments["self"]
    dim, sizes = arguments["dim"] % cell.rank, cell.sizes()
    return reshaped(builder, cell, [*sizes[:dim], *_known([sizes[dim]], arguments["sizes"]), *sizes[dim + 1 :]])


def squeeze(builder: Builder, target: str, arguments: Arguments) -> list[Cell]:
    cell: Cell = arguments["self"]
    dim = arguments.get("dim", list(range(cell.rank)))
    dims = {each % cell.rank for each in (dim if isinstance(dim, (list, tuple)) else [dim])}
    return reshaped(builder, cell, [size for place, size in enumerate(cell.sizes()) if place not in dims or size != 1])


def unsqueeze(builder: Builder, target: str, arguments: Arguments) -> list[Cell]:
    cell: Cell = arguments["self"]
    sizes = cell.sizes()
    sizes.insert(arguments["dim"] % (cell.rank + 1), 1)
    return reshaped(builder, cell, sizes)


def permuted(builder: Builder, cell: Cell, order: Sequence[int]) -> list[Cell]:
    """The dimensions in another order. Where only the rows change places, nothing is to be done."""
    if list(order) == list(range(cell.rank)):
        return [cell]
    if cell.is_weight:
        return builder.emit("aten.permute.default", {"self": cell, "dims": list(order)})
    rows_at = order.index(cell.rows_at)
    stored = [0, *(cell.place(dim) for dim in order if dim != cell.rows_at)]
    moved = [dim for dim, source in enumerate(stored) if dim != source]
    if not moved:
        return [cell.with_rows_at(rows_at)]
    if len(moved) == 2:
        swap = {"self": cell, "dim0": moved[0], "dim1": moved[1]}
        return builder.emit("aten.transpose.int", swap, rows_at=rows_at)
    return builder.emit("aten.permute.default", {"self": cell, "dims": stored}, rows_at=rows_at)


def permute(builder: Builder, target: str, arguments: Arguments) -> list[Cell]:
    cell: Cell = arguments["self"]
    return permuted(builder, cell, [dim % cell.rank for dim in arguments["dims"]])


def transpose(builder: Builder, target: str, arguments: Arguments) -> list[Cell]:
    cell: Cell = arguments["self"]
    dims = [arguments[name] for name in ("dim0", "dim1", "axis0", "axis1") if name in arguments]
    first, second = dims or (-1, -2)
    order = list(range(cell.rank))
    if cell.rank > 1:
        order[first], order[second] = order[second], order[first]
    return permuted(builder, cell, order)


def movedim(builder: Builder, target: str, arguments: Arguments) -> list[Cell]:
    cell: Cell = arguments["self"]
    source, destination = (
        [dim] if isinstance(dim := arguments[name], int) else dim for name in ("source", "destination")
    )
    places = dict(zip([dim % cell.rank for dim in destination], [dim % cell.rank for dim in source], strict=True))
    rest = iter(dim for dim in range(cell.rank) if dim not in places.values())
    return permuted(builder, cell, [places[dim] if dim in places else next(rest) for dim in range(cell.rank)])


def select(builder: Builder, target: str, arguments: Arguments) -> list[Cell]:
    """One place along a dimension; what a stack has there is taken from before it."""
    cell, dim = arguments["self"], arguments["dim"] % arguments["self"].rank
    place = cell.place(dim)
    size = cell.spec.shape[place]
    index = arguments["index"] % size if isinstance(size, int) else arguments["index"]
    made = builder.producer(cell)
    if made is not None and made.target == "aten.stack.default" and made.args[1:] == (place,) and dim != cell.rows_at:
        assert isinstance(made.args[0], Many)
        found = made.args[0].items[index]
        assert isinstance(found, (Value, Weight))
        return [builder.cell(found, rows_at=cell.rows_at - (dim < cell.rows_at))]
    return along(builder, "aten.select.int", {"self": cell, "dim": dim, "index": index})


def slice_(builder: Builder, target: str, arguments: Arguments) -> list[Cell]:
    """From ``start`` to ``end``, both within the tensor."""
    cell, dim = arguments["self"], arguments["dim"]
    size, step = cell.spec.shape[cell.place(dim)], arguments["step"]
    start, end = arguments["start"] or 0, arguments["end"]
    if start == 0 and step == 1 and (end is None or end == size or (isinstance(end, int) and end >= 2**62)):
        return [cell]
    if isinstance(size, Rows) or isinstance(start, Rows) or isinstance(end, Rows):
        raise NotCapturable("it picks some rows and leaves out others")
    start, end, _ = slice(start, end).indices(size)
    if (start, end, step) == (0, size, 1):
        return [cell]
    within = {"self": cell, "dim": dim, "start": start, "end": max(start, end), "step": step}
    return along(builder, "aten.slice.Tensor", within)


def slice_scatter(builder: Builder, target: str, arguments: Arguments) -> list[Cell]:
    """Writing to a part of a tensor, or, as tracers say it, to all of it."""
    cell, source = arguments["self"], arguments["src"]
    if cell.sizes() == source.sizes():
        return [source]
    return along(builder, target, arguments)


def split(builder: Builder, target: str, arguments: Arguments) -> list[Cell]:
    """``chunk`` and ``split``, with all sizes written out."""
    cell, dim = arguments["self"], arguments["dim"]
    total = cell.spec.shape[cell.place(dim)]
    sizes = arguments.get("split_sizes") or arguments.get("split_size")
    if isinstance(total, Rows):
        raise NotCapturable("it splits the rows")
    if not isinstance(sizes, list):
        each = sizes or -(-total // arguments["chunks"])
        sizes = [min(each, total - first) for first in range(0, total, each)]
    return along(builder, "aten.split_with_sizes.default", {"self": cell, "split_sizes": sizes, "dim": dim})


def unbind(builder: Builder, target: str, arguments: Arguments) -> list[Cell]:
    cell: Cell = arguments["self"]
    size = cell.spec.shape[cell.place(arguments["dim"])]
    if isinstance(size, Rows):
        raise NotCapturable("it takes the rows apart")
    return [
        select(builder, target, {"self": cell, "dim": arguments["dim"], "index": index})[0] for index in range(size)
    ]


def pad(builder: Builder, target: str, arguments: Arguments) -> list[Cell]:
    cell: Cell = arguments["self"]
    if cell.rows_at or len(arguments["pad"]) // 2 >= cell.rank:
        raise NotCapturable(f"{target} pads the rows")
    if arguments.get("mode", "constant") != "constant":
        return plain_rows(builder, target, arguments)
    padded = {"self": cell, "pad": arguments["pad"], "value": arguments["value"] or 0}
    return plain_rows(builder, "aten.constant_pad_nd.default", padded)


def index(builder: Builder, target: str, arguments: Arguments) -> list[Cell]:
    """Indexing one dimension by a list that is the same for all rows."""
    cell, given = arguments["self"], arguments["indices"]
    dims = [dim for dim, each in enumerate(given) if each is not None]
    if (
        len(dims) != 1
        or given[dims[0]].spec.dtype != "int64"
        or given[dims[0]].rank != 1
        or not given[dims[0]].is_weight
    ):
        raise NotCapturable("it indexes by something else than one fixed list of numbers")
    (count,) = cell.sizes()[dims[0] : dims[0] + 1]
    if not isinstance(count, int):
        raise NotCapturable("it picks rows by their number")
    positive = builder.emit_one("aten.remainder.Scalar", {"self": given[dims[0]], "other": count})
    return along(builder, "aten.index_select.default", {"self": cell, "dim": dims[0], "index": positive})


def _table(rule: Rule, names: str) -> dict[str, Rule]:
    return {f"aten.{name}": rule for name in names.split()}


RULES: Final[dict[str, Rule]] = (
    _table(reshape, "reshape.default view.default _unsafe_view.default view_copy.default _reshape_alias.default")
    | _table(flatten, "flatten.using_ints")
    | _table(unflatten, "unflatten.int")
    | _table(squeeze, "squeeze.default squeeze.dim squeeze.dims")
    | _table(unsqueeze, "unsqueeze.default")
    | _table(permute, "permute.default")
    | _table(transpose, "transpose.int swapaxes.default swapdims.default t.default mT.default numpy_T.default")
    | _table(movedim, "movedim.int movedim.intlist moveaxis.int moveaxis.intlist")
    | _table(select, "select.int")
    | _table(slice_, "slice.Tensor")
    | _table(slice_scatter, "slice_scatter.default")
    | _table(
        split,
        "chunk.default split.Tensor split.sizes split_with_sizes.default unsafe_split.Tensor unsafe_chunk.default",
    )
    | _table(unbind, "unbind.int")
    | _table(pad, "pad.default constant_pad_nd.default")
    | _table(index, "index.Tensor")
)
