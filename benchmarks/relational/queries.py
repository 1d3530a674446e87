"""The published kinds of queries (filter, projection, multi, aggregate, rag) over the made tables.

A query is one or two calls. Every arm sends the same questions about the same rows; ours runs the query's SQL.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean
from typing import Final

from benchmarks.relational.tables import CONTEXTS


@dataclass(frozen=True, slots=True)
class Step:
    """One call: its question, the fields that it is asked about (none: all), and how long an answer may be."""

    question: str
    max_tokens: int
    labels: tuple[str, ...] = ()
    fields: tuple[str, ...] = ()
    contexts: tuple[str, ...] = ()  # of the fields, those that may be exchanged
    pinned: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Query:
    """Calls one after the other, each about the rows for which the one before said its first label."""

    name: str
    sql: str
    steps: tuple[Step, ...]

    def outcome(self, answers: Sequence[str]) -> list[str]:
        """What the query gives, when ``answers`` are those of its last call, in no order.

        >>> query("movies", "filter").outcome(["yes", "no", "yes"])
        ['2']
        """
        if self.name == "filter":
            return [str(sum(answer == "yes" for answer in answers))]
        if self.name == "aggregate":
            return [f"{mean(map(int, answers)):.6f}"]
        return sorted(answers)


_KEEP: Final = ("yes", "no")
_REVIEW: Final = {"movies": "reviewcontent", "products": "text", "bird": "Text"}


def _filter(table: str) -> Query:
    question = "Is the text of this row positive? Answer yes or no."
    return Query("filter", f"SELECT count(*) FROM t WHERE llm_filter('{question}', *)", (Step(question, 8, _KEEP),))


def _projection(table: str) -> Query:
    question = "Summarise the row in a few words."
    sql = f"SELECT llm('{question}', *, max_tokens := 16) AS answer FROM t"
    return Query("projection", sql, (Step(question, 16),))


def _multi(table: str) -> Query:
    ask, tell = "Is the text positive? Answer yes or no.", "Name what is praised."
    field = _REVIEW[table]
    sql = f"SELECT llm('{tell}', *, max_tokens := 16) AS answer FROM t WHERE llm_filter('{ask}', {field})"
    return Query("multi", sql, (Step(ask, 8, _KEEP, (field,)), Step(tell, 16)))


def _aggregate(table: str) -> Query:
    question = "How many stars, from 1 to 5, fit the text?"
    labels = tuple("12345")
    listed = ", ".join(f"'{label}'" for label in labels)
    sql = f"SELECT avg(CAST(llm_choice('{question}', [{listed}], *) AS INT)) FROM t"
    return Query("aggregate", sql, (Step(question, 32, labels),))


def _rag(table: str) -> Query:
    contexts = CONTEXTS[table]
    asked = "claim" if table == "fever" else "question"
    question = "Do the texts support it? Answer yes or no."
    fields = f"unordered({', '.join(contexts)}), pin_last({asked})"
    sql = f"SELECT llm_choice('{question}', ['yes', 'no'], {fields}) AS answer FROM t"
    step = Step(question, 32, _KEEP, (*contexts, asked), contexts, (asked,))
    return Query("rag", sql, (step,))


_MAKERS: Final = {
    "filter": _filter,
    "projection": _projection,
    "multi": _multi,
    "aggregate": _aggregate,
    "rag": _rag,
}
QUERIES: Final = {
    "movies": ("filter", "projection", "multi", "aggregate"),
    "products": ("filter", "projection", "multi", "aggregate"),
    "bird": ("filter", "projection"),
    "beer": ("filter",),
    "pdmx": ("filter",),
    "fever": ("rag",),
    "squad": ("rag",),
}  # table -> the queries that are asked of it


def query(table: str, name: str) -> Query:
    return _MAKERS[name](table)
