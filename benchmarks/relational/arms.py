"""One query by each arm: what is sent, in which order. All but ours are written out here, step by step.

``plain``     every row is sent as it comes, the prefix cache is off
``cached``    the same with the prefix cache on
``dedup``     equal requests are sent once, in the order in which they come
``v1``        dedup, one order of fields for all rows, rows sorted
``ggr``       dedup, greedy group recursion as published
``paceline``  the query's SQL, as a user would run it
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from benchmarks.relational.queries import Query, Step
from benchmarks.relational.tables import DEPENDENT
from paceline.sql import connect, prompt
from paceline.sql.engines import Engine
from paceline.sql.model import Answer, Ask, LanguageModel
from paceline.sql.order import Encoded, encode
from paceline.sql.order.baselines import Plan, as_is, ggr, v1_rule

Orders = Callable[[Encoded], Plan]


@dataclass(slots=True)
class Run:
    """What one arm asked, and what the query gave."""

    seconds: float = 0.0
    requests: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    num_errors: int = 0
    outcome: list[str] = field(default_factory=list)

    def take(self, answer: Answer) -> None:
        self.requests += 1
        self.prompt_tokens += answer.prompt_tokens
        self.cached_tokens += answer.cached_tokens
        self.num_errors += answer.error is not None

    @property
    def digest(self) -> str:
        """Equal outcomes have equal digests."""
        return hashlib.sha256("\0".join(self.outcome).encode()).hexdigest()[:16]


def run_arm(
    arm: str, name: str, table: pa.Table, query: Query, model: LanguageModel, engine: str | Engine = "duckdb"
) -> Run:
    """Runs ``query`` over ``table``, which is called ``name`` among the made ones; our SQL on ``engine``."""
    run = Run()
    began = time.perf_counter()
    if arm == "paceline":
        _run_sql(table, query, model, engine, run)
    else:
        _run_steps(arm, name, table, query, model, run)
    run.seconds = time.perf_counter() - began
    return run


def _run_sql(table: pa.Table, query: Query, model: LanguageModel, engine: str | Engine, run: Run) -> None:
    with connect(model, store=False, engine=engine) as connection:
        connection.register("t", table)
        result = connection.sql(query.sql)
    for report in result.report:
        run.requests += report.num_sent
        run.prompt_tokens += report.prompt_tokens
        run.cached_tokens += report.cached_tokens
        run.num_errors += report.num_errors
    answers = result.table.column(0).to_pylist()
    run.outcome = [f"{answers[0]:.6f}"] if query.name == "aggregate" else sorted(map(str, answers))


def _run_steps(arm: str, name: str, table: pa.Table, query: Query, model: LanguageModel, run: Run) -> None:
    rows = table
    for step in query.steps:
        answers = _ask(arm, name, rows, step, model, run)
        if step.labels:
            rows = rows.filter(pa.array([answer == step.labels[0] for answer in answers]))
    run.outcome = query.outcome(answers)


def _ask(arm: str, name: str, table: pa.Table, step: Step, model: LanguageModel, run: Run) -> list[str]:
    """An answer for every row of ``table``."""
    fields = step.fields or tuple(table.column_names)
    texts = {key: [prompt.cell_text(key, prompt.value_text(v)) for v in table[key].to_pylist()] for key in fields}
    if arm in ("plain", "cached"):
        request_of, plan = np.arange(table.num_rows), _identity(table.num_rows, len(fields))
        first_of = request_of
    else:
        encoded = encode(table.select(list(fields)), list(fields))
        request_of, first_of = encoded.request_of, encoded.first_of
        plan = _plan(arm, name, encoded)
    found: dict[int, str] = {}

    def done(number: int, answer: Answer) -> None:
        run.take(answer)
        found[plan[0][number]] = answer.text if answer.text is not None else f"error: {answer.error}"

    model.ask(_asks(step, fields, texts, first_of, plan), done)
    return [found[request] for request in request_of.tolist()]


def _identity(num_rows: int, num_fields: int) -> Plan:
    return list(range(num_rows)), [tuple(range(num_fields))] * num_rows


def _plan(arm: str, name: str, encoded: Encoded) -> Plan:
    if arm == "dedup":
        return as_is(encoded.items)
    if arm == "v1":
        return v1_rule(encoded.items)
    groups = [g for g in DEPENDENT.get(name, ()) if set(g) <= set(encoded.fields)]
    return ggr(encoded.items, [[encoded.fields.index(key) for key in group] for group in groups])


def _asks(
    step: Step, fields: Sequence[str], texts: dict[str, list[str]], first_of: np.ndarray, plan: Plan
) -> Iterator[Ask]:
    before = ""
    for request, order in zip(*plan, strict=True):
        row = int(first_of[request])
        user = prompt.user_text(step.question, prompt.row_text([texts[fields[f]][row] for f in order]))
        yield Ask("", user, step.max_tokens, step.labels, "", _num_shared(before, user))
        before = user


def _num_shared(one: str, other: str) -> int:
    """Length of the common beginning, by halving."""
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if one[:middle] == other[:middle] else (low, middle - 1)
    return low
