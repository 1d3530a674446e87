"""How each traced operator is written in normal form: rules by its name, general ones for whole groups."""

from __future__ import annotations

from typing import Final

from paceline.multiplex.capture.builder import Arguments, Builder, Cell
from paceline.multiplex.capture.rules import create, einsum, layers, pointwise, recurrent, shape
from paceline.multiplex.capture.rules.general import (
    Rule,
    along,
    cells,
    has_rows,
    plain_rows,
    pointwise_rule,
    spread_out,
)
from paceline.multiplex.operators import ALONG, POINTWISE, REDUCTIONS

_ALSO_OF_WEIGHTS: Final[dict[str, Rule]] = {**pointwise.RULES, **shape.RULES, **create.RULES}
RULES: Final[dict[str, Rule]] = {**_ALSO_OF_WEIGHTS, **layers.RULES, **recurrent.RULES, **einsum.RULES} | {
    "aten.std.dim": spread_out,
    "aten.var.dim": spread_out,
}


def write(builder: Builder, target: str, arguments: Arguments) -> list[Cell]:
    """Adds what ``target`` does to the graph. Raises NotCapturable."""
    rule = RULES.get(target)
    if target not in _ALSO_OF_WEIGHTS and all(cell.is_weight for cell in cells(arguments)) and not has_rows(arguments):
        return builder.emit(target, arguments)  # computed once and for all, so it may be any operator
    if rule is not None:
        return rule(builder, target, arguments)
    if target in POINTWISE:
        return pointwise_rule(builder, target, arguments)
    if target in REDUCTIONS or target in ALONG:
        return along(builder, target, arguments)
    return plain_rows(builder, target, arguments)
