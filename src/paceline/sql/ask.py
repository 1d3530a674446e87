"""One call over many rows: equal requests once, known answers from the store, the rest in the planned order.

Nothing here knows an SQL engine: rows come in as Arrow columns and answers go out by the rows' positions.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeAlias, final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from paceline.errors import ExecutionError
from paceline.sql import order, prompt
from paceline.sql.asker import Asker
from paceline.sql.call import Call
from paceline.sql.items import Items, Order
from paceline.sql.load import MEAN_OUTPUT, RequestLoad
from paceline.sql.model import Answer, Ask
from paceline.sql.report import CallReport
from paceline.sql.store import key as store_key

Result: TypeAlias = tuple[Any, str | None, int]
"""Value, error and attempts of one row."""


@final
class Requests:
    """The distinct requests of one call over a table's rows, and their answers as they come in.

    ``columns`` holds one column per field of the call, in order.
    """

    def __init__(self, call: Call, columns: pa.Table, asker: Asker) -> None:
        self.call = call
        self.num_rows = columns.num_rows
        self.model = asker.models(call.options.model)
        self.report = asker.report(call, columns.num_rows)
        self._asker = asker
        self.data_first = False
        self._errors: dict[int, str] = {}  # of rows that cannot be shown
        self._encode(columns)
        self.answers: list[Answer | None] = [None] * self.num_requests
        self.static_tokens = self.model.num_tokens(asker.system + (call.prompt or ""))
        self.report.num_distinct = self.num_requests

    @property
    def num_requests(self) -> int:
        return int(self._items.num_rows)

    def _encode(self, columns: pa.Table) -> None:
        texts = []
        for number, item in enumerate(self.call.fields):
            column, reason = prompt.column_texts(columns.column(number))
            if reason is not None:
                for row in np.flatnonzero(column.is_null().to_numpy(zero_copy_only=False)).tolist():
                    self._errors.setdefault(row, f"the field {item.key!r} {reason}")
            texts.append(column)
        names = [str(number) for number in range(len(texts))]
        table = pa.table(dict(zip(names, texts, strict=True)))
        if not names:
            self.request_of = np.zeros(self.num_rows, np.int32)
            self._items = Items(np.zeros((min(1, self.num_rows), 0), np.int32), ())
            self._cells: list[list[str]] = []
            return
        heads = {name: prompt.cell_text(item.key, "") for name, item in zip(names, self.call.fields, strict=True)}
        encoded = order.encode(
            table,
            names,
            num_tokens=self.model.num_tokens,
            text_of=lambda name, text: f"{heads[name]}{text}, ",
            unordered=[[str(number) for number in group] for group in self.call.unordered],
            pinned=[str(number) for number in self.call.pinned],
        )
        self.request_of, self._items = encoded.request_of, encoded.items
        first = table.take(pa.array(encoded.first_of))
        self._cells = [[f"{heads[name]}{text}" for text in first.column(name).to_pylist()] for name in names]

    # -- asking ---------------------------------------------------------------------------------------------------

    def answer(self, rows: NDArray[np.int64] | None = None) -> None:
        """Answers what ``rows`` (positions; None: all) need and is not known yet."""
        todo, keys = self.missing(rows)
        if not len(todo):
            return
        plan = self.plan(todo)
        self.report.plan(
            self.items_of(todo), plan, self.static_tokens, self.call.max_tokens, detail=self._asker.is_detailed
        )
        if not self._asker.is_dry:
            sequence = todo[plan.rows].tolist()
            asks = self._asks(sequence, plan)
            with self.report.timed():
                self._asker.send(
                    self.model,
                    asks,
                    [keys[one] for one in sequence],
                    lambda number, answer: self.take(sequence[number], answer),
                )

    def missing(self, rows: NDArray[np.int64] | None = None) -> tuple[NDArray[np.int64], dict[int, str]]:
        """Requests that must be sent, after a look into the store, and their keys."""
        wanted = np.arange(self.num_rows) if rows is None else rows
        if self._errors:
            wanted = wanted[~np.isin(wanted, np.fromiter(self._errors, np.int64, len(self._errors)))]
        self._rows_of = np.bincount(self.request_of[wanted], minlength=self.num_requests)
        fresh = [request for request in np.flatnonzero(self._rows_of).tolist() if self.answers[request] is None]
        if self.call.prompt is None:
            return np.zeros(0, np.int64), {}
        keys = {request: self._key(request) for request in fresh}
        stored = self._asker.known(list(keys.values()))
        for request in fresh:
            self.answers[request] = stored.get(keys[request])
        self.report.num_stored += len(stored)
        if stored:
            found = [request for request in fresh if self.answers[request] is not None]
            self._asker.watch(None, int(self._rows_of[found].sum()))
        return np.array([request for request in fresh if self.answers[request] is None], np.int64), keys

    def take(self, request: int, answer: Answer) -> None:
        self.answers[request] = answer
        self.report.count(answer)
        self._asker.watch(answer, int(self._rows_of[request]))
        if answer.error is not None and self.call.options.on_error == "fail":
            raise ExecutionError(f"{self.call}: {answer.error}")

    def plan(self, requests: NDArray[np.int64]) -> Order:
        items = self.items_of(requests)
        if items.num_fields == 0 or items.num_rows <= 1:
            identity = np.arange(items.num_fields, dtype=np.int16)[None, :]
            rows = np.arange(items.num_rows)
            return Order(rows, identity, np.zeros(len(rows), np.int32), 0.0, items.total, 0.0, "as it is")
        options = dataclasses.replace(
            self._asker.options,
            static=self.static_tokens,
            field_order=self.call.options.field_order,
        )
        return order.plan(items, options)

    def items_of(self, requests: NDArray[np.int64]) -> Items:
        return dataclasses.replace(self._items, codes=np.ascontiguousarray(self._items.codes[requests]))

    def ranks(self) -> NDArray[np.int64]:
        """For every row, when its request comes in the planned order of all."""
        rank = np.empty(self.num_requests, np.int64)
        rank[self.plan(np.arange(self.num_requests)).rows] = np.arange(self.num_requests)
        return rank[self.request_of]

    def _asks(self, sequence: Sequence[int], plan: Order) -> Iterator[Ask]:
        """The requests as they are sent, each with what it has in common with the one before."""
        head = len(self.call.prompt or "") + 1
        for place, (row, shared) in enumerate(self.shown(sequence, plan)):
            yield self.request(row, head + shared if place else 0)

    def shown(self, sequence: Sequence[int], plan: Order) -> Iterator[tuple[str, int]]:
        """Rows as JSON, and how many of their first characters the row before has too."""
        before: list[str] = []
        for place, request in enumerate(sequence):
            cells = [self._cells[number][request] for number in plan.fields_of(place).tolist()]
            same = list(itertools.takewhile(lambda pair: pair[0] == pair[1], zip(cells, before, strict=False)))
            row = prompt.row_text(cells) if cells else ""
            yield row, min(len(row), 1 + sum(len(cell) + 2 for cell, _ in same)) if place else 0
            before = cells

    def request(self, row: str, shared: int) -> Ask:
        call = self.call
        user = prompt.user_text(call.prompt or "", row, data_first=self.data_first)
        return Ask(self._asker.system, user, call.max_tokens, call.choices, call.schema, min(shared, len(user)))

    def _key(self, request: int) -> str:
        call = self.call
        cells = sorted(column[request] for column in self._cells)
        params: dict[str, object] = {"max_tokens": call.max_tokens, "choices": list(call.choices)}
        if self.data_first:
            params["data_first"] = True
        if call.options.field_order == "as_written" or call.pinned:
            params["fields"] = [item.key for item in call.fields]
            params["pinned"] = list(call.pinned)
        return store_key(
            self.model.name, self._asker.system, call.prompt or "", prompt.row_text(cells), params, call.schema
        )

    def mean_load(self) -> RequestLoad:
        """What one request weighs on average, before anything is known about hits."""
        data = self._items.total / max(1, self.num_requests)
        return RequestLoad(1, self.static_tokens + data, 0.0, min(self.call.max_tokens, MEAN_OUTPUT[self.call.kind]))

    # -- answers --------------------------------------------------------------------------------------------------

    def values(self, rows: NDArray[np.int64] | None = None) -> pa.Array:
        """The answers of ``rows`` (positions; None: all), read, as the call's ``on_error`` wants them.

        Raises:
            ExecutionError: an answer cannot be read, or was an error, and ``on_error`` is ``fail``.
        """
        wanted = np.arange(self.num_rows) if rows is None else rows
        found = {request: self._read(request) for request in np.unique(self.request_of[wanted]).tolist()}
        results = {
            row: (None, self._errors[row], 0) if row in self._errors else found[self.request_of[row]]
            for row in wanted.tolist()
        }
        return answers_array(self.call, results, self.report)

    def _read(self, request: int) -> Result:
        answer = self.answers[request]
        if answer is None:
            return (prompt.stand_in(self.call, request) if self._asker.is_dry else None), None, 0
        return read(self.call, answer)


def read(call: Call, answer: Answer) -> Result:
    """(value, error, attempts) of an answer."""
    if answer.text is None:
        return None, answer.error, answer.attempts
    try:
        return prompt.read_answer(call, answer.text), None, answer.attempts
    except prompt.UnreadableError as error:
        return None, str(error), answer.attempts


def answers_array(call: Call, results: Mapping[int, Result], report: CallReport) -> pa.Array:
    """Values by row (or group), in the order of ``results``; with ``on_error`` keep as structs with error and attempts."""
    failed = {row: error for row, (_, error, _) in results.items() if error is not None}
    report.failed.update(failed)
    if failed and call.options.on_error == "fail":
        raise ExecutionError(f"{call}: {next(iter(failed.values()))} ({len(failed)} of {len(results)} rows)")
    values, errors, attempts = zip(*results.values(), strict=True) if results else ((), (), ())
    array = pa.array(values, prompt.answer_type(call))
    if call.options.on_error != "keep":
        return array
    parts = [array, pa.array(errors, pa.string()), pa.array(attempts, pa.int32())]
    return pa.StructArray.from_arrays(parts, ["value", "error", "attempts"])
