"""Rewrites of a plan, in the order in which they are tried.

sqlglot's own optimizer is never used: it moves conditions with calls into joins, where they are asked of every pair.
"""

from __future__ import annotations

import inspect
from typing import Final

from paceline.sql.plan import Plan
from paceline.sql.rules.back_to_back import back_to_back
from paceline.sql.rules.drop_unused import drop_unused
from paceline.sql.rules.filter_before_llm import filter_before_llm
from paceline.sql.rules.guard_calls import guard_calls
from paceline.sql.rules.lift_projects import lift_projects
from paceline.sql.rules.merge_calls import merge_calls
from paceline.sql.rules.merge_filters import merge_filters
from paceline.sql.rules.raise_filters import raise_filters
from paceline.sql.rules.rule import Counts, Rule
from paceline.sql.rules.stop_early import stop_early

RULES: Final[tuple[Rule, ...]] = (
    lift_projects,  # first: the other rules need not look through names
    drop_unused,  # what nobody reads is not asked
    merge_calls,  # one call written twice is one column
    filter_before_llm,  # conditions without calls, joins and semi-joins first
    raise_filters,  # above joins that leave fewer different requests
    merge_filters,  # neighbours, to be asked in the order that the pilot finds
    stop_early,  # once it is known which filters stand under a LIMIT
    guard_calls,  # last among those that move calls: what a CASE leaves out depends on where a call stands
    back_to_back,  # calls that are left side by side
)


def apply(plan: Plan, counts: Counts) -> tuple[Plan, tuple[str, ...]]:
    """The plan after all rules, and in words what those did that changed it."""
    reasons = []
    for rule in RULES:
        before = plan
        plan = plan.map(lambda node, rule=rule: rule(node, counts))  # type: ignore[misc]
        if plan != before:
            reasons.append(f"{rule.__name__}: {_first_sentence(rule)}")
    return plan, tuple(reasons)


def _first_sentence(rule: Rule) -> str:
    text = inspect.getdoc(inspect.getmodule(rule)) or ""
    return " ".join(text.split("\n\n")[0].split())
