"""What to do when nothing better is known: one call per tenant, then their results side by side."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, final

import torch
from torch import Tensor

from paceline.multiplex.lower.calls import resolved
from paceline.multiplex.lower.form import Form
from paceline.multiplex.lower.group import at_line
from paceline.multiplex.lower.plain import plain_function
from paceline.multiplex.lower.rule import Write
from paceline.multiplex.lower.writer import Writer
from paceline.multiplex.op import Op, Rows, Spec, Value, Weight, reads


@final
class _Each:
    """One operator for every tenant by itself. Takes and gives FLAT tensors."""

    def __init__(
        self, op: Op, places: dict[int, int], factor: int, weights: list[Callable[[str], Tensor]], *, is_exact: bool
    ) -> None:
        self._op = op
        self._function = plain_function(op)
        self._places = places  # of a value among the arguments of a call
        self._factor = factor  # of the rows of its first value
        self._weights = weights
        self._is_exact = is_exact

    def __call__(self, *values: Tensor) -> Any:
        num_tenants = len(self._weights)
        parts = [value.chunk(num_tenants) for value in values]
        if self._is_exact:
            parts = [tuple(map(at_line, each)) for each in parts]
        results = [self._call(tenant, [part[tenant] for part in parts]) for tenant in range(num_tenants)]
        if len(self._op.outputs) == 1:
            return torch.cat(results)
        pairs = zip(self._op.outputs, zip(*results, strict=True), strict=True)
        return tuple(torch.cat(each, _rows_dimension(spec)) for spec, each in pairs)

    def _call(self, tenant: int, values: list[Tensor]) -> Any:
        num_rows = values[0].shape[0] if values else 1

        def value(index: int) -> Tensor:
            return values[self._places[index]]

        def rows(factor: int) -> int:
            return factor * num_rows // self._factor

        arguments = [resolved(each, value, self._weights[tenant], rows) for each in self._op.args]
        keywords = {key: resolved(each, value, self._weights[tenant], rows) for key, each in self._op.keywords.items()}
        return self._function(*arguments, **keywords)


def _rows_dimension(spec: Spec) -> int:
    """0 but for the states of recurrent layers."""
    return next(place for place, size in enumerate(spec.shape) if isinstance(size, Rows))


def _write(w: Writer, op: Op, first: int, variant: str) -> bool:
    w.num_loop_ops += 1
    w.group.require_placed([tensor.name for tensor in reads(op) if isinstance(tensor, Weight)])
    indices = list(dict.fromkeys(tensor.index for tensor in reads(op) if isinstance(tensor, Value)))
    weights = [_of(w, tenant) for tenant in range(w.num_tenants)]
    factor = w.factor(indices[0]) if indices else 1
    each = _Each(op, {index: place for place, index in enumerate(indices)}, factor, weights, is_exact=w.group.exact)
    names = [w.get(index, Form.FLAT) for index in indices]
    for place, name in enumerate(w.call_results(each, len(op.outputs), *names)):
        w.give(first + place, Form.FLAT, name)
    return True


def _of(w: Writer, tenant: int) -> Callable[[str], Tensor]:
    return lambda name: w.group.one(name, tenant)


LOOP: Final[Write] = _write
