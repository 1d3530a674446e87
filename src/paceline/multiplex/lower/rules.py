"""Which rule writes which operator."""

from __future__ import annotations

from collections.abc import Container
from typing import Final

from paceline.multiplex.lower.chain import TABLE
from paceline.multiplex.lower.conv import CONV1D, CONV2D
from paceline.multiplex.lower.embedding import EMBEDDING_RULE
from paceline.multiplex.lower.linear import LINEAR, MATMUL
from paceline.multiplex.lower.loop import LOOP
from paceline.multiplex.lower.norm import GROUP_NORM, LAYER_NORM
from paceline.multiplex.lower.pointwise import POINTWISE_RULE
from paceline.multiplex.lower.recurrent import RECURRENT_RULE
from paceline.multiplex.lower.rule import Rule, Write
from paceline.multiplex.lower.runs import fits
from paceline.multiplex.lower.shape import as_it_is, expand
from paceline.multiplex.lower.writer import Writer
from paceline.multiplex.op import Graph, Op, Value, Weight, reads
from paceline.multiplex.operators import POINTWISE, RECURRENT

EACH: Final = "each"
"""The variant that every operator has: one call per tenant."""

RULES: Final[dict[str, Rule]] = {
    "aten.linear.default": LINEAR,
    "aten.matmul.default": MATMUL,
    "aten.conv1d.default": CONV1D,
    "aten.conv2d.default": CONV2D,
    "aten.layer_norm.default": LAYER_NORM,
    "aten.group_norm.default": GROUP_NORM,
    "aten.embedding.default": EMBEDDING_RULE,
    "aten.expand.default": Rule(expand),
    **dict.fromkeys(RECURRENT, RECURRENT_RULE),
}
"""Operators that read weights of single tenants."""


def write(w: Writer, op: Op, first: int, variant: str) -> None:
    """Writes one operator in the best form that is known for it."""
    stacked = any(isinstance(tensor, Weight) and tensor.name in w.group.stacked for tensor in reads(op))
    if variant == EACH or not any(rule(w, op, first, variant) for rule in _choices(op, stacked)):
        LOOP(w, op, first, variant)


def _choices(op: Op, stacked: bool) -> tuple[Write, ...]:
    if op.target in POINTWISE:
        return (POINTWISE_RULE.write,) if stacked else (POINTWISE_RULE.write, as_it_is)
    rule = RULES.get(op.target)
    if not stacked:
        return (as_it_is,) if rule is None or rule.shared is None else (rule.shared, as_it_is)
    return () if rule is None else (rule.write,)


def variants(
    graph: Graph,
    op: Op,
    stacked: Container[str],
    *,
    exact: bool = False,
    copies: bool = True,
    on_cuda: bool = False,
) -> tuple[str, ...]:
    """Ways to write this operator if these weights differ between tenants; the first is the usual one.

    Without ``copies`` those are left out that keep a copy of the weights.
    """
    rule = RULES.get(op.target)
    if rule is None or not any(isinstance(tensor, Weight) for tensor in reads(op)):
        return ("",)
    found: tuple[str, ...] = ("", *rule.shared_variants)
    if any(isinstance(tensor, Weight) and tensor.name in stacked for tensor in reads(op)):
        found = (rule.exact if exact and rule.exact is not None else rule.variants)(graph, op)
        if on_cuda:
            found += rule.on_cuda(graph, op)
    if rule.may_chain and not on_cuda and fits(graph, op):
        found = (TABLE, *found) if exact else (*found, TABLE)
    return found if copies else tuple([each for each in found if each not in rule.copying])


def kernel_key(graph: Graph, op: Op) -> str:
    """The same for operators that take the same time: operator, and shapes of what it reads."""
    specs = graph.specs()
    shapes = [
        (specs[tensor.index] if isinstance(tensor, Value) else graph.weights[tensor.name]).shape for tensor in reads(op)
    ]
    shown = [",".join(str(size) if isinstance(size, int) else f"n{size.factor}" for size in shape) for shape in shapes]
    return f"{op.target}({';'.join(shown)})"
