"""What a rule is: how one operator is written for many tenants at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias, final

from paceline.multiplex.lower.writer import Writer
from paceline.multiplex.op import Graph, Op

Write: TypeAlias = Callable[[Writer, Op, int, str], bool]
"""Writes the op, whose first result is the value of this number, in the named variant; False if it cannot."""

Variants: TypeAlias = Callable[[Graph, Op], tuple[str, ...]]


def only_one(graph: Graph, op: Op) -> tuple[str, ...]:
    return ("",)


@final
@dataclass(frozen=True, slots=True)
class Rule:
    """``variants`` names the ways to write an op; the first is taken unless another was measured to be faster.

    ``exact`` are those whose bits may be the same in any company, in the order in which they are tried; None for the same
    as ``variants``.
    ``shared`` writes the op where all its weights are shared, in the variants ``shared_variants`` besides the plain one.
    ``may_chain``: on a CPU it may be part of a chain, which is exact.
    ``on_cuda`` are further variants there, all of them exact.
    ``copying`` are those, of both kinds, that keep a copy of the weights.
    """

    write: Write
    variants: Variants = only_one
    exact: Variants | None = None
    shared: Write | None = None
    shared_variants: tuple[str, ...] = ()
    may_chain: bool = False
    on_cuda: Variants = lambda graph, op: ()
    copying: frozenset[str] = frozenset()
