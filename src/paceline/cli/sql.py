"""``paceline sql``: a query with LLM calls over files."""

from __future__ import annotations

import json
import os
import sys
import time
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from paceline.cli import options as o
from paceline.cli.console import say, working
from paceline.errors import ConfigError

if TYPE_CHECKING:
    from paceline.sql import Explanation, LanguageModel, Result
    from paceline.sql.report import CallReport

QUERY, MODEL, LIMITS, ANSWERS = "Query", "Model", "Limits", "Kept answers"
_INTERRUPTED = 130  # as shells have it


def _option(panel: str, env: str, text: str, *names: str, unset: str | None = None, **more: Any) -> Any:
    shown: bool | str = True if unset is None else unset
    return typer.Option(
        *names, help=text, envvar=f"PACELINE_SQL_{env}", rich_help_panel=panel, show_default=shown, **more
    )


# fmt: off
Tables = Annotated[list[str] | None, _option(QUERY, "TABLE", "NAME=FILE: a Parquet, CSV or JSON file, or a pattern of such, and its name in the query. Repeatable.", "--table", "-t", metavar="NAME=FILE", unset="none")]
Output = Annotated[Path | None, _option(QUERY, "OUTPUT", "Write the rows to this file instead: .parquet, .csv, .json or .jsonl.", "--output", "-o", unset="print them")]
Explain = Annotated[bool, _option(QUERY, "EXPLAIN", "Say what would be asked, in which order and at what cost; ask nothing.", "--explain")]
Analyze = Annotated[bool, _option(QUERY, "ANALYZE", "Run it, and print what was predicted and what happened instead of the rows.", "--analyze")]
Engine = Annotated[str, _option(QUERY, "ENGINE", "What runs the rest of the query: duckdb, in this process, or spark.", "--engine")]

Model = Annotated[str | None, _option(MODEL, "MODEL", "With --endpoint the name that the server knows; else a folder or a hub id, run in this process.", "--model", unset="the one in the package")]
Endpoint = Annotated[str | None, _option(MODEL, "ENDPOINT", "A server with the OpenAI API. Its key is read from PACELINE_SQL_API_KEY or OPENAI_API_KEY.", "--endpoint", metavar="URL", unset="none: no server")]
System = Annotated[str, _option(MODEL, "SYSTEM", "A system text in front of every prompt.", "--system", unset="none")]
DataFirst = Annotated[bool, _option(MODEL, "DATA_FIRST", "Let the row stand before the question where several questions are asked about one row.", "--data-first")]

MaxRequests = Annotated[int | None, _option(LIMITS, "MAX_REQUESTS", "End with an error before more than so many requests are sent.", "--max-requests", min=0, unset="none")]
MaxCost = Annotated[float | None, _option(LIMITS, "MAX_COST", "End with an error once so much was spent, by the price table.", "--max-cost", min=0.0, unset="none")]
Prices = Annotated[Path | None, _option(LIMITS, "PRICES", "A price table of your own.", "--prices", unset="the one in the package")]

Store = Annotated[Path | None, _option(ANSWERS, "STORE", "The file that keeps answers for later queries; 'paceline sql cache show' says more.", "--store", unset="answers/answers.sqlite in the user's cache folder")]
NoStore = Annotated[bool, _option(ANSWERS, "NO_STORE", "Keep no answers on disk, and use none.", "--no-store")]
# fmt: on


def sql(
    query: Annotated[
        str, typer.Argument(metavar="QUERY", help="The SQL, a file that ends with .sql, or '-' for standard input.", show_default=False)
    ],
    table: Tables = None,
    output: Output = None,
    explain: Explain = False,
    analyze: Analyze = False,
    engine: Engine = "duckdb",
    model: Model = None,
    endpoint: Endpoint = None,
    system: System = "",
    data_first: DataFirst = False,
    max_requests: MaxRequests = None,
    max_cost: MaxCost = None,
    prices: Prices = None,
    store: Store = None,
    no_store: NoStore = False,
    quiet: o.Quiet = False,
    as_json: o.AsJson = False,
    debug: o.Debug = False,
) -> None:  # fmt: skip
    """Run a QUERY with LLM calls over files. Equal requests are asked once, in an order that the prefix cache likes.

    Example: paceline sql "SELECT review FROM t WHERE llm_filter('Is the review positive?', review)" -t t=reviews.csv

    Answers are kept, so that a query that is run again asks nothing twice: see 'paceline sql cache --help'.
    """
    _check(explain, analyze, output, store, no_store)
    text, files = _read(query), _files(table or ())
    from paceline.sql import connect

    began = time.monotonic()
    try:
        with ExitStack() as opened, connect(
            _model(model, endpoint, opened, quiet=quiet or as_json),
            endpoint=endpoint, api_key=os.environ.get("PACELINE_SQL_API_KEY"), engine=engine,
            store=not no_store if store is None else store, prices=prices, system=system, data_first=data_first,
            progress=not (quiet or as_json),
        ) as connection:  # fmt: skip
            for name, file in files:
                connection.register(name, file)
            if explain:
                with working(
                    "planning; on a machine's first query the planner is compiled ...",
                    quiet=quiet or as_json or not sys.stderr.isatty(),
                ):
                    explanation = connection.explain(text)
                _print_explanation(explanation, as_json)
            elif analyze:
                explanation = connection.analyze(text, max_requests=max_requests, max_cost=max_cost)
                _print_explanation(explanation, as_json)
            else:
                result = connection.sql(text, max_requests=max_requests, max_cost=max_cost)
                _print_result(result, output, began, quiet=quiet, as_json=as_json)
    except KeyboardInterrupt:
        say("stopped" if no_store else "stopped; run it again to go on: what was answered is kept", quiet=quiet)
        raise typer.Exit(_INTERRUPTED) from None


def _check(explain: bool, analyze: bool, output: Path | None, store: Path | None, no_store: bool) -> None:
    """Whatever can be known to be wrong before anything is asked and paid for. ConfigError."""
    from paceline.cli.sql_output import check_output

    if explain and analyze:
        raise ConfigError("give --explain, which asks nothing, or --analyze, which runs the query; not both")
    if store is not None and no_store:
        raise ConfigError("give --store FILE or --no-store, not both")
    if output is not None:
        if explain or analyze:
            raise ConfigError(
                "--output takes the rows of a query, and --explain and --analyze print none; leave one out"
            )
        check_output(output)


def _read(query: str) -> str:
    if query == "-":
        return sys.stdin.read()
    if not query.endswith(".sql"):
        return query
    try:
        return Path(query).read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"the query {query} cannot be read: {getattr(error, 'strerror', None) or error}") from error


def _files(tables: list[str] | tuple[str, ...]) -> list[tuple[str, str]]:
    """Names and files. ConfigError with a proposal where the name is missing."""
    files = []
    for given in tables:
        name, _, file = given.partition("=")
        if not name or not file:
            bare = given.strip("=")
            proposal = f"{Path(bare).name.partition('.')[0]}={bare}" if Path(bare).suffix else "reviews=reviews.csv"
            raise ConfigError(f"--table must be NAME=FILE, got {given!r}; try --table {proposal}")
        files.append((name, file))
    return files


def _model(model: str | None, endpoint: str | None, opened: ExitStack, *, quiet: bool) -> str | LanguageModel:
    """What ``connect`` takes for a model."""
    if endpoint is not None:
        if not model:
            raise ConfigError("--endpoint needs --model NAME: GET /v1/models lists the names that the server knows")
        return model
    from paceline.sql.model import MODELS

    if model is None or (model in MODELS and model != "endpoint"):
        return model or "embedded"
    from paceline.cli.model import choose_model
    from paceline.sql.clients.embedded import EmbeddedModel

    chosen = choose_model(model)
    with working(f"loading {chosen.name} ...", quiet=quiet):
        return opened.enter_context(closing(EmbeddedModel(str(chosen.folder))))


def _print_explanation(explanation: Explanation, as_json: bool) -> None:
    if not as_json:
        print(explanation)
        return
    told = {
        "text": str(explanation), "reasons": explanation.reasons, "calls": [_as_json(call) for call in explanation.calls],
        "num_requests": explanation.num_requests, "cost": explanation.cost, "seconds": explanation.seconds,
    }  # fmt: skip
    print(json.dumps(told, ensure_ascii=False))


def _as_json(call: CallReport) -> dict[str, Any]:
    from dataclasses import fields

    counts = {one.name: getattr(call, one.name) for one in fields(call) if one.name not in ("price", "failed")}
    return {**counts, "cost": call.cost, "num_errors": call.num_errors, "first_error": _first_error(call)}


def _first_error(call: CallReport) -> str | None:
    return next(iter(call.failed.values()), None)


def _print_result(result: Result, output: Path | None, began: float, *, quiet: bool, as_json: bool) -> None:
    from paceline.cli import sql_output

    seconds = time.monotonic() - began
    table = result.table
    if output is not None:
        sql_output.write(table, output)
    if as_json:
        rows = "" if output is not None else f'"rows": {sql_output.as_json(table)}, '
        totals = {"num_rows": table.num_rows, **_totals(result.report), "seconds": seconds}
        calls = json.dumps([_as_json(call) for call in result.report], ensure_ascii=False)
        print(f'{{{rows}{json.dumps(totals)[1:-1]}, "calls": {calls}}}')
    elif output is None:
        sql_output.show(table)
    for call in result.report:
        if call.num_errors:
            say(
                f"warning: {_count(call.num_errors, 'row')} without an answer in {call.call}; the first: {_first_error(call)}"
            )
    say(_summary(table.num_rows, _totals(result.report), seconds), quiet=quiet or as_json)


def _totals(calls: tuple[CallReport, ...]) -> dict[str, Any]:
    costs = [call.cost for call in calls if call.num_sent]
    return {
        "num_requests": sum(call.num_sent for call in calls),
        "num_kept": sum(call.num_stored for call in calls),
        "num_errors": sum(call.num_errors for call in calls),
        "prompt_tokens": sum(call.prompt_tokens for call in calls),
        "cached_tokens": sum(call.cached_tokens for call in calls),
        "output_tokens": sum(call.output_tokens for call in calls),
        "cost": None if None in costs else sum((cost or 0.0 for cost in costs), 0.0),
    }


def _summary(num_rows: int, totals: dict[str, Any], seconds: float) -> str:
    """All of it in a line.

    >>> counts = {"num_requests": 20, "num_kept": 0, "prompt_tokens": 900, "cached_tokens": 450, "output_tokens": 40}
    >>> _summary(1, {**counts, "cost": None}, 0.5)
    '[1 row; 20 requests, 940 tokens, 50 % of the prompts cached, 0.5 s]'
    """
    parts = [_count(totals["num_requests"], "request")]
    if totals["num_kept"]:
        parts.append(_count(totals["num_kept"], "kept answer"))
    if totals["prompt_tokens"]:
        parts.append(_count(totals["prompt_tokens"] + totals["output_tokens"], "token"))
        parts.append(f"{100 * totals['cached_tokens'] / totals['prompt_tokens']:.0f} % of the prompts cached")
        if totals["cost"] is not None:
            parts.append(f"${totals['cost']:.4f}")
    return f"[{_count(num_rows, 'row')}; {', '.join(parts)}, {seconds:.1f} s]"


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
