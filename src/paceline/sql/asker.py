"""What the calls of one query share: models, kept answers, a budget, and what was used of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol, final

from paceline.errors import ConfigError, ResourceError
from paceline.sql.call import Call
from paceline.sql.model import Answer, Ask, LanguageModel
from paceline.sql.order import OrderOptions
from paceline.sql.prices import Price, price_of
from paceline.sql.report import CallReport
from paceline.sql.spread import MIN_SPREAD, Portable, Request, Spreading
from paceline.sql.store import AnswerStore

_FLUSH_ANSWERS: Final = 256  # a crash may lose this many paid answers, or those of this long
_FLUSH_S: Final = 1.0


class Store(Protocol):
    """Where answers are kept: ``AnswerStore`` on disk, or ``Memory`` for one query."""

    def get_many(self, keys: Iterable[str]) -> dict[str, Answer]: ...

    def put_many(self, answers: Iterable[tuple[str, Answer]]) -> None: ...


@final
class Memory:
    """Keeps answers while a connection lives."""

    def __init__(self) -> None:
        self._answers: dict[str, Answer] = {}

    def get_many(self, keys: Iterable[str]) -> dict[str, Answer]:
        return {key: self._answers[key]._replace(attempts=0) for key in keys if key in self._answers}

    def put_many(self, answers: Iterable[tuple[str, Answer]]) -> None:
        self._answers.update((key, answer) for key, answer in answers if answer.error is None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """What one query may use; None is no limit. ``max_cost`` is in the currency of ``prices``."""

    max_requests: int | None = None
    max_cost: float | None = None
    prices: Mapping[str, Price] = field(default_factory=dict)

    def price(self, model: str) -> Price | None:
        """ConfigError if there is a limit and nobody knows what the model costs."""
        price = price_of(model, self.prices)
        if price is None and self.max_cost is not None:
            raise ConfigError(f"max_cost needs a price for the model {model!r}; add it to the price table")
        return price


@dataclass(slots=True)
class Asker:
    """What all calls of one query share: models, the store, the budget, and what was used of it."""

    models: Callable[[str], LanguageModel]
    store: Store
    budget: Budget = field(default_factory=Budget)
    system: str = ""
    options: OrderOptions = field(default_factory=OrderOptions)
    may_put_data_first: bool = False  # where several questions are asked about one row
    spreading: Spreading | None = None  # the engine, if its machines can send requests
    is_dry: bool = False  # EXPLAIN: count and predict, ask nothing
    is_detailed: bool = False  # measure other orders too
    watch: Callable[[Answer | None, int], None] = lambda answer, num_rows: None  # None: from the store
    reports: list[CallReport] = field(default_factory=list)
    reached: float = 1.0  # EXPLAIN: share of a relation's rows that are expected to come so far

    def report(self, call: Call, num_rows: int) -> CallReport:
        """A new report, in the order in which calls are made."""
        model = self.models(call.options.model).name
        made = CallReport(str(call), model, num_rows, price=self.budget.price(model), reached=self.reached)
        self.reports.append(made)
        return made

    def known(self, keys: Sequence[str]) -> dict[str, Answer]:
        found: dict[str, Answer] = {}
        for start in range(0, len(keys), 10_000):
            found.update(self.store.get_many(keys[start : start + 10_000]))
        return found

    def send(
        self, model: LanguageModel, asks: Iterable[Ask], keys: Sequence[str], done: Callable[[int, Answer], None]
    ) -> None:
        """Asks in order. What was answered is in the store, however this ends."""
        self._check_before(len(keys))
        waiting: list[tuple[str, Answer]] = []
        flushed = time.monotonic()

        def heard(number: int, answer: Answer) -> None:
            nonlocal flushed
            waiting.append((keys[number], answer))
            if len(waiting) >= _FLUSH_ANSWERS or time.monotonic() - flushed > _FLUSH_S:
                self.store.put_many(waiting)
                waiting.clear()
                flushed = time.monotonic()
            done(number, answer)
            self._check_cost(sum(report.cost or 0.0 for report in self.reports), "has cost")

        try:
            self._send(model, asks, keys, heard)
        finally:
            self.store.put_many(waiting)

    def _send(
        self, model: LanguageModel, asks: Iterable[Ask], keys: Sequence[str], heard: Callable[[int, Answer], None]
    ) -> None:
        """From here, or from the engine's machines where there are any, they can open the model, and it pays."""
        if self.spreading is None or not isinstance(model, Portable) or len(keys) < MIN_SPREAD:
            model.ask(asks, heard)
            return
        store = self.store.arguments if isinstance(self.store, AnswerStore) else None
        self.spreading.spread(model, map(Request, keys, asks), heard, store)

    def _check_before(self, more: int) -> None:
        """What is about to be sent must fit into the budget, by all that is known."""
        needed = sum(report.num_sent for report in self.reports) + more
        limit = self.budget.max_requests
        if limit is not None and needed > limit:
            raise ResourceError(
                f"the query needs {needed} requests so far, max_requests is {limit}; raise it, or ask for fewer rows "
                "(what was answered is kept)"
            )
        if self.budget.max_cost is not None:
            expected = [report.price.cost(*report.expected_tokens) for report in self.reports if report.price]
            self._check_cost(sum(expected), "is expected to cost")

    def _check_cost(self, cost: float, verb: str) -> None:
        limit = self.budget.max_cost
        if limit is not None and cost > limit:
            raise ResourceError(f"the query {verb} {cost:.4g}, max_cost is {limit:g}; raise it (answers are kept)")
