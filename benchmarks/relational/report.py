"""The result for people: tables on the terminal, and in this folder's README."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks.common.tables import Table, markdown, number, show, write_between_marks
from benchmarks.relational.plans import PLANNERS
from benchmarks.relational.protocol import ARMS

HERE = Path(__file__).parent
PLAIN_WIDTH = 160  # of a log


def present(result: dict[str, Any], *, readme: bool) -> None:
    """Prints the tables; ``readme`` puts them into this folder's README."""
    found = list(tables(result))
    show(found, Console() if sys.stdout.isatty() else Console(width=PLAIN_WIDTH))
    if readme:
        write_between_marks(HERE / "README.md", [_machine(result), *(markdown(table) for table in found if table.rows)])


def tables(result: dict[str, Any]) -> Iterator[Table]:
    """Every table of the result; those of sections that were not measured have no rows."""
    yield Table("Goals", ["figure", "measured", "floor", "aim", ""], list(_goals(result)))
    yield Table(
        "Share of data tokens found in the row before",
        ["table, rows × columns", *PLANNERS, "bound"],
        list(_plans(result["plans"], "hit")),
    )
    yield Table(
        "Seconds of planning",
        ["table, rows × columns", *PLANNERS],
        [r[:-1] for r in _plans(result["plans"], "seconds")],
    )
    yield Table(
        "Seconds end to end (share of prompt tokens from the cache)",
        ["backend, table, query", *ARMS, "cached over paceline"],
        list(_end_to_end(result["end_to_end"])),
    )
    yield Table(
        "Accuracy of the packaged model", ["table, question", "as written", "planned"], list(_judged(result["judged"]))
    )


def _goals(result: dict[str, Any]) -> Iterator[list[str]]:
    for goal in result["goals"]:
        bound = f"{'≤' if goal['at_most'] else '≥'} {goal['floor']:g}"
        yield [goal["name"], number(goal["value"]), bound, f"{goal['aim']:g}", goal["verdict"]]


def _plans(rows: list[dict[str, Any]], figure: str) -> Iterator[list[str]]:
    cases = {(row["table"], row["rows"], row["columns"]): row["bound"] for row in rows}
    found = {(row["table"], row["rows"], row["planner"]): row[figure] for row in rows}
    for (table, num_rows, columns), bound in cases.items():
        values = [number(found.get((table, num_rows, planner))) for planner in PLANNERS]
        yield [f"{table}, {num_rows:,} × {columns}", *values, number(bound)]


def _end_to_end(rows: list[dict[str, Any]]) -> Iterator[list[str]]:
    found = {(row["backend"], row["table"], row["query"], row["arm"]): row for row in rows}
    for backend, table, query in dict.fromkeys(key[:3] for key in found):
        cells = [found.get((backend, table, query, arm)) for arm in ARMS]
        by_arm = dict(zip(ARMS, cells, strict=True))
        cached, ours = by_arm["cached"], by_arm["paceline"]
        ratio = cached["seconds"] / ours["seconds"] if cached and ours else None
        yield [f"{backend}, {table}, {query}", *map(_cell, cells), number(ratio)]


def _cell(row: dict[str, Any] | None) -> str:
    if row is None:
        return "–"
    return f"{number(row['seconds'])} ({row['cached_tokens'] / max(1, row['prompt_tokens']):.0%})"


def _judged(rows: list[dict[str, Any]]) -> Iterator[list[str]]:
    for row in rows:
        yield [f"{row['table']}, {row['question']}", f"{row['as_written']:.3f}", f"{row['auto']:.3f}"]


def _machine(result: dict[str, Any]) -> str:
    device = result["device"]
    return (
        f"{device['cpu']}, {device['num_cores']} cores, {device['memory_gib']} GiB, {device['os']}, "
        f"Python {device['python']}; commit {device['commit']}. Form: {result['protocol']['name']}; "
        f"load average at the start {device['load_average']}."
    )
