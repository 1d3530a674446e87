"""Do answers stay right when rows and fields are reordered? Questions with known answers, on the packaged model."""

from __future__ import annotations

from typing import Any, Final

import pyarrow as pa

from benchmarks.common.cells import Cells
from benchmarks.relational.protocol import Protocol
from paceline.sql import connect
from paceline.sql.clients.embedded import EmbeddedModel
from training.language.questions import QUESTIONS, Question
from training.language.tables import SYSTEM, make_table

TASKS: Final = ("sentiment", "rating", "extract")  # what the packaged model is good at
SEED: Final = 90_210  # no table of the training
ORDERS: Final = ("as_written", "auto")


def measure_judged(cells: Cells, protocol: Protocol) -> None:
    """Accuracy of every question with the fields as written and as planned."""
    if cells.get("judged") is not None:
        return
    model = EmbeddedModel()
    try:
        with connect(model, store=False, system=SYSTEM) as connection:
            cells.put("judged", list(_judged(connection, protocol.num_judged)))
    finally:
        model.close()


def _judged(connection: Any, num_rows: int) -> Any:
    for kind, questions in QUESTIONS.items():
        rows = make_table(kind, num_rows, SEED)
        connection.register("t", pa.Table.from_pylist(rows))
        for question in questions:
            if question.task in TASKS:
                truth = [question.truth(row) for row in rows]
                yield {
                    "table": kind,
                    "question": question.name,
                    "rows": len(rows),
                    **{order: _accuracy(connection, question, order, truth) for order in ORDERS},
                }


def _accuracy(connection: Any, question: Question, order: str, truth: list[str]) -> float:
    text = question.texts[0].replace("'", "''")
    options = f"field_order := '{order}'"
    if question.labels:
        labels = ", ".join(f"'{label}'" for label in question.labels)
        call = f"llm_choice('{text}', [{labels}], *, {options})"
    else:
        call = f"llm('{text}', *, max_tokens := 48, {options})"
    answers = connection.sql(f"SELECT {call} AS answer FROM t").table.column(0).to_pylist()
    return sum(answer == right for answer, right in zip(answers, truth, strict=True)) / len(truth)
