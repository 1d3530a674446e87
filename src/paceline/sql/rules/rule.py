"""What a rule is, and what it may ask about the data."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, TypeAlias

from sqlglot import exp

from paceline.sql.plan import Node


class Counts(Protocol):
    """Knows the data."""

    def distinct(self, node: Node, expressions: Sequence[exp.Expr]) -> int | None:
        """How many different values the expressions have together over the rows of a node without calls."""
        ...


Rule: TypeAlias = Callable[[Node, Counts], Node]
"""A plan of the same rows that asks less, or asks earlier what removes most."""
