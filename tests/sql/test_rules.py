"""Every rule on its own (and ``lift_projects`` before it): ``fixtures/rules/<rule>.sql`` holds pairs of a query and the outline of its plan afterwards.

A comment ``-- counts 10 100`` before a query says how many different requests are counted below and above a join.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from sqlglot import exp

from paceline.sql.parse import parse
from paceline.sql.plan import Join, Node, Plan, walk
from paceline.sql.render import outline
from paceline.sql.rules import RULES, Rule, apply
from paceline.sql.rules.lift_projects import lift_projects

FOLDER = Path(__file__).parent / "fixtures" / "rules"
TABLES = {
    "r": {"id": "INT", "p": "INT", "title": "TEXT", "review": "TEXT", "year": "INT"},
    "p": {"id": "INT", "name": "TEXT", "kind": "TEXT"},
}


class Counted:
    """Counts as the fixture says: one number for joins, one for everything else."""

    def __init__(self, below: int, above: int) -> None:
        self._below, self._above = below, above

    def distinct(self, node: Node, expressions: Sequence[exp.Expr]) -> int | None:
        return self._above if any(isinstance(one, Join) for one in walk(node)) else self._below


def plan_of(text: str) -> Plan:
    return parse(text, "duckdb", lambda name: TABLES.get(name.strip('"')), TABLES)


def lines(plan: Plan) -> list[str]:
    named = [line for name, node in plan.named for line in (f"{name}:", *outline(node, "duckdb", 1))]
    return [*named, *outline(plan.root, "duckdb")]


def after(rule: Rule, plan: Plan, counts: tuple[int, int]) -> Plan:
    """The plan after one rule, and the one on which the others rest."""
    return plan.map(lambda node: rule(lift_projects(node, Counted(*counts)), Counted(*counts)))


def pairs() -> Iterator[tuple[Rule, str, str, tuple[int, int]]]:
    for rule in RULES:
        parts = (FOLDER / f"{rule.__name__}.sql").read_text().split(";\n")
        for query, expected in zip(parts[0::2], parts[1::2], strict=False):
            counts = re.search(r"-- counts (\d+) (\d+)", query)
            below, above = map(int, counts.groups()) if counts else (10, 10)
            yield rule, query.strip(), expected.strip("\n"), (below, above)


PAIRS = list(pairs())


@pytest.mark.parametrize(
    ("rule", "query", "expected", "counts"), PAIRS, ids=lambda value: getattr(value, "__name__", None)
)
def test_fixture(rule: Rule, query: str, expected: str, counts: tuple[int, int]) -> None:
    plan = plan_of(query)
    changed = after(rule, plan, counts)
    assert "\n".join(lines(changed)) == expected


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_rules_change_nothing_the_second_time(rule: Rule) -> None:
    for other, query, _, counts in PAIRS:
        if other is rule:
            once = after(rule, plan_of(query), counts)
            assert after(rule, once, counts) == once


def test_all_rules_together_say_what_they_did() -> None:
    plan, reasons = apply(
        plan_of("SELECT id, llm('a', title) FROM r WHERE llm_filter('b', review) AND year > 3 ORDER BY year LIMIT 2"),
        Counted(1, 1),
    )
    assert [reason.partition(":")[0] for reason in reasons] == ["filter_before_llm", "stop_early"]
    assert [line.strip().partition(" ")[0] for line in lines(plan)] == [
        "Project", "Sort", "Ask", "Limit", "Sort", "AskFilter", "Filter", "Scan",
    ]  # fmt: skip
