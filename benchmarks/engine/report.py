"""The result for people: tables on the terminal, the same tables in this folder's README."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.engine.protocol import ARMS, BATCHES, GROUPS, RUNNER

COLUMNS = (*ARMS, RUNNER)
BEGIN, END = "<!-- results: begin -->", "<!-- results: end -->"
Rows = list[list[str]]


def show(result: dict[str, Any], console: Console) -> None:
    """Prints every table of the result."""
    for title, header, rows in tables(result):
        table = Table(title=title, title_justify="left", header_style="bold")
        for index, name in enumerate(header):
            table.add_column(name, justify="left" if index == 0 else "right")
        for row in rows:
            table.add_row(*row)
        console.print(table)
    for name, reason in result["missing"].items():
        console.print(f"no figure for {name}: {reason}", markup=False)


def tables(result: dict[str, Any]) -> Iterable[tuple[str, list[str], Rows]]:
    """(title, header, rows) of each table."""
    yield "Decode step, ms (median over rounds)", ["model, batch", *COLUMNS, "over fastest"], _decode(result)
    yield "Prefill, tokens/s, model A", ["prompts", *ARMS, "over best"], _prefill(result)
    yield "Goals", ["figure", "measured", "floor", "aim", ""], _goals(result)
    yield "Also measured", ["figure", "value"], _others(result)


def _decode(result: dict[str, Any]) -> Rows:
    rows = []
    for group in GROUPS:
        arms = result["decode_step_ms"].get(group, {})
        for batch in map(str, BATCHES):
            ratio = result["decode_over_fastest_peer"].get(group, {}).get(batch)
            values = [_number(arms.get(arm, {}).get(batch)) for arm in COLUMNS]
            rows.append([f"{group}, {batch}", *values, _number(ratio)])
    return rows


def _prefill(result: dict[str, Any]) -> Rows:
    keys = {"8x64": "prefill_tokens_per_s", "1x512": "prefill_512_tokens_per_s"}
    return [
        [shape, *(_number(result[key].get(arm)) for arm in ARMS), _number(result["prefill_over_best_peer"].get(shape))]
        for shape, key in keys.items()
    ]


def _goals(result: dict[str, Any]) -> Rows:
    return [
        [goal["name"], _number(goal["value"]), _bound(goal), f"{goal['aim']:g}", goal["verdict"]]
        for goal in result["goals"]
    ]


def _bound(goal: dict[str, Any]) -> str:
    return f"{'≤' if goal['at_most'] else '≥'} {goal['floor']:g}"


def _others(result: dict[str, Any]) -> Rows:
    rows = [["import paceline, s", _number(result["import_s"])]]
    for model, served in result["served"].items():
        ratio = served["served_tokens_per_s"] / served["offline_tokens_per_s"]
        rows.append([f"{model}: tokens/s served to 32 clients", _number(served["served_tokens_per_s"])])
        rows.append([f"{model}: tokens/s offline", _number(served["offline_tokens_per_s"])])
        rows.append([f"{model}: served over offline", _number(ratio)])
    for model, memory in result["memory"].items():
        megabytes = {name.removesuffix("_mb"): value for name, value in memory.items() if name.endswith("_mb")}
        rows += [[f"{model}: {name.replace('_', ' ')}, MB", _number(value)] for name, value in megabytes.items()]
    rows += [[f"perplexity, packaged target, {name}", f"{value:.4f}"] for name, value in result["perplexity"].items()]
    return rows


def _number(value: float | None) -> str:
    """Three significant digits, more where whole.

    >>> _number(0.0123456), _number(12.345), _number(1234.5), _number(None)
    ('0.0123', '12.3', '1234', '–')
    """
    if value is None:
        return "–"
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def write_readme(result: dict[str, Any], readme: Path) -> None:
    """Replaces what stands between the marks by the tables of this result."""
    before, _, rest = readme.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    parts = [_machine(result), *(_markdown(*table) for table in tables(result))]
    readme.write_text(f"{before}{BEGIN}\n\n" + "\n\n".join(parts) + f"\n\n{END}{after}")


def _machine(result: dict[str, Any]) -> str:
    device = result["device"]
    versions = ", ".join(f"{name} {version}" for name, version in result["versions"].items())
    return (
        f"{device['cpu']}, {device['num_cores']} cores ({', '.join(device['cpu_flags'])}), "
        f"{device['memory_gib']:g} GiB, {device['os']}, Python {device['python']}; commit {device['commit']}.\n"
        f"{versions}. Form: {result['protocol']['name']}, {result['protocol']['num_rounds']} rounds; "
        f"highest load average at the start of a round: {_number(result['load_average_max'])}."
    )


def _markdown(title: str, header: list[str], rows: Rows) -> str:
    lines = [f"**{title}**", "", f"| {' | '.join(header)} |", f"|{'---|' * len(header)}"]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)])
