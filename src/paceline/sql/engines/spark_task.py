"""What a task of Spark does that sends requests: batches of them in, batches of answers out."""

from __future__ import annotations

import socket
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

from paceline.errors import PacelineError
from paceline.sql.asker import Asker, Memory, Store
from paceline.sql.model import Answer, Ask
from paceline.sql.spread import ModelSpec
from paceline.sql.store import AnswerStore

REQUESTS: Final = pa.schema([
    ("subtree", pa.int32()), ("number", pa.int64()), ("key", pa.string()),
    ("system", pa.string()), ("user", pa.string()), ("max_tokens", pa.int32()),
    ("choices", pa.list_(pa.string())), ("schema", pa.string()), ("shared", pa.int32()),
])  # fmt: skip
ANSWERS: Final = pa.schema([
    ("number", pa.int64()), ("text", pa.string()), ("error", pa.string()), ("attempts", pa.int32()),
    ("prompt_tokens", pa.int64()), ("cached_tokens", pa.int64()), ("output_tokens", pa.int64()),
])  # fmt: skip

STOPPED: Final = -1  # number of the row that tells why a task ended early: an error's name and its text

_UNLIMITED: Final = 1 << 30
_DRAWN: Final = 32


@dataclass(frozen=True, slots=True)
class Task:
    """Plain data, as it travels to other machines."""

    model: ModelSpec
    store: dict[str, Any] | None  # arguments of the AnswerStore of ``host``
    host: str

    def answer(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Answers ``REQUESTS`` in their order, those without one in the store. Gives ``ANSWERS``."""
        answers: list[tuple[Any, ...]] = []
        with ExitStack() as stack:
            try:
                model = stack.enter_context(closing(self.model.open()))
                asker = Asker(lambda name: model, self._open_store(stack))
                source = _Source(batches, asker, answers)
                asker.send(
                    model,
                    source.asks(),
                    source.keys,
                    lambda place, answer: answers.append((source.numbers[place], *answer)),
                )
            except PacelineError as error:  # would meet every further attempt too
                answers.append((STOPPED, type(error).__name__, str(error), 0, 0, 0, 0))
        columns = zip(*answers, strict=True) if answers else [[]] * len(ANSWERS)
        arrays = [pa.array(list(column), kind.type) for column, kind in zip(columns, ANSWERS, strict=True)]
        yield pa.RecordBatch.from_arrays(arrays, schema=ANSWERS)

    def _open_store(self, stack: ExitStack) -> Store:
        """The driver's store on its own machine; SQLite files are not to be shared over a network."""
        if self.store is None or socket.gethostname() != self.host or not Path(self.store["path"]).is_file():
            return Memory()
        return stack.enter_context(AnswerStore(**self.store))


class _Source:
    """Requests as they are drawn. Earlier attempts at the same task have left their answers in the store."""

    def __init__(self, batches: Iterable[pa.RecordBatch], asker: Asker, answers: list[tuple[Any, ...]]) -> None:
        self._batches = batches
        self._asker = asker
        self._answers = answers
        self.numbers: list[int] = []
        self.keys: list[str] = []

    def asks(self) -> Iterator[Ask]:
        shared = 0  # with the last request that was sent
        for rows in self._drawn():
            known = self._asker.known([row["key"] for row in rows])
            for row in rows:
                shared = min(shared, row["shared"])
                answer = known.get(row["key"])
                if answer is not None:
                    self._answers.append((row["number"], *answer))
                    continue
                self.numbers.append(row["number"])
                self.keys.append(row["key"])
                choices = tuple(row["choices"])
                yield Ask(row["system"], row["user"], row["max_tokens"], choices, row["schema"], shared)
                shared = _UNLIMITED

    def _drawn(self) -> Iterator[list[dict[str, Any]]]:
        """A few at a time: what another attempt answers meanwhile need not be asked."""
        for batch in self._batches:
            for start in range(0, batch.num_rows, _DRAWN):
                yield batch.slice(start, _DRAWN).to_pylist()


def requests_table(numbered: Iterable[tuple[int, int, str, Ask]]) -> pa.Table:
    """``REQUESTS`` of (subtree, number, key, ask)."""
    columns = zip(*((*row[:3], *row[3]) for row in numbered), strict=True)
    arrays = [pa.array(list(column), kind.type) for column, kind in zip(columns, REQUESTS, strict=True)]
    return pa.Table.from_arrays(arrays, schema=REQUESTS)


def answers_by_number(table: pa.Table) -> tuple[dict[int, Answer], list[tuple[str, str]]]:
    """Answers, the first for each number; and the names and texts of errors that ended tasks."""
    answers: dict[int, Answer] = {}
    stopped: list[tuple[str, str]] = []
    for number, *fields in zip(*(column.to_pylist() for column in table.columns), strict=True):
        if number == STOPPED:
            stopped.append((fields[0], fields[1]))
        else:
            answers.setdefault(number, Answer(*fields))
    return answers, stopped
