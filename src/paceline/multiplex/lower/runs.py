"""Which operators of a graph become chains."""

from __future__ import annotations

from collections.abc import Callable, Container
from dataclasses import dataclass
from typing import final

from paceline.multiplex.lower.chain import Tracer
from paceline.multiplex.native import library
from paceline.multiplex.op import Graph, Op


@final
@dataclass(frozen=True, slots=True)
class Run:
    """Operators from ``start`` up to ``stop`` that are one chain."""

    start: int
    stop: int
    tracer: Tracer


def runs_of(graph: Graph, is_wanted: Callable[[Op], bool], skipped: Container[int] = ()) -> list[Run]:
    """The longest runs that have an operator which is wanted in a chain; values in ``skipped`` are there already."""
    runs: list[Run] = []
    start, tracer, has_wanted = 0, Tracer(graph), False

    def close(stop: int) -> None:
        if has_wanted and tracer.seal(stop):
            runs.append(Run(start, stop, tracer))

    for place, (op, first) in enumerate(zip(graph.ops, graph.first_values(), strict=True)):
        if first in skipped:
            continue
        if not tracer.add(op, first):
            close(place)
            start, tracer, has_wanted = place, Tracer(graph), False
            if not tracer.add(op, first):
                start = place + 1
                continue
        has_wanted = has_wanted or is_wanted(op)
    close(len(graph.ops))
    return runs


def fits(graph: Graph, op: Op) -> bool:
    """Whether this operator, which reads weights, can be in a chain."""
    first = graph.first_values()[next(place for place, each in enumerate(graph.ops) if each is op)]
    return library.level() is not None and Tracer(graph).add(op, first)
