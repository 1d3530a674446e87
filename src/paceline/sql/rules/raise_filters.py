"""A filter with calls is moved above a join where the join leaves fewer different requests.

The other way never asks less: a join makes no new values of one side's columns, so what comes out of it is at most
what went in. Where as many are left, the filter stays and the join is smaller.
"""

from __future__ import annotations

from dataclasses import replace

from sqlglot import exp

from paceline.sql.plan import AskFilter, Join, Node, has_asks, inputs, transform
from paceline.sql.rules.rule import Counts

_KEEPING = (("INNER", "CROSS", "LEFT", "SEMI", "ANTI"), ("INNER", "CROSS", "RIGHT"))
"""For the left and the right side the joins that give no row without one of it: its filter may stand above or below."""


def raise_filters(node: Node, counts: Counts) -> Node:
    return transform(node, lambda one: _raised(one, counts) if isinstance(one, Join) else one)


def _raised(join: Join, counts: Counts) -> Node:
    """The join below the filters of its sides, where it leaves fewer requests."""
    for side, kinds in enumerate(_KEEPING):
        asking = inputs(join)[side]
        if not isinstance(asking, AskFilter) or asking.wanted is not None or join.kind not in kinds:
            continue
        lower = replace(join, left=asking.input) if side == 0 else replace(join, right=asking.input)
        above, below = _requests(lower, asking, counts), _requests(asking.input, asking, counts)
        if above is not None and below is not None and above < below:
            return replace(asking, input=_raised(lower, counts))
    return join


def _requests(node: Node, asking: AskFilter, counts: Counts) -> int | None:
    """Different requests over ``node``, as if other filters with calls let everything pass; None: not to be known."""
    plain = transform(node, lambda one: one.input if isinstance(one, AskFilter) else one)
    fields: list[exp.Expr] = [
        item.expression for one in asking.predicates for asked in one.asked for item in asked.call.fields
    ]
    return None if has_asks(plain) else counts.distinct(plain, fields)
