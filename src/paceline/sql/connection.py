"""The front door: tables in, SQL with LLM calls, tables out."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, closing, nullcontext
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, final

import pyarrow as pa
from sqlglot import exp

from paceline.decision import CostModel
from paceline.decision.linear import Linear
from paceline.errors import ConfigError
from paceline.sql import frames, rules
from paceline.sql.asker import Asker, Budget, Memory, Store
from paceline.sql.call import call_expression, nearest
from paceline.sql.engines import ENGINES, Engine
from paceline.sql.execute import Counted, Execution
from paceline.sql.explain import Explanation, predicted_seconds
from paceline.sql.model import MODELS, Answer, LanguageModel
from paceline.sql.parse import parse
from paceline.sql.plan import Plan
from paceline.sql.prices import Price, load_prices
from paceline.sql.progress import Progress, ProgressBar
from paceline.sql.report import CallReport
from paceline.sql.store import AnswerStore

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl

_TYPICAL_LOAD = (1000.0, 100_000.0, 100_000.0, 10_000.0)


@final
@dataclass(frozen=True, slots=True)
class Result:
    """The rows of a query, and what was asked for them."""

    table: pa.Table
    report: tuple[CallReport, ...]

    def arrow(self) -> pa.Table:
        return self.table

    def df(self) -> pd.DataFrame:
        """As a pandas frame."""
        return frames.to_pandas(self.table)

    def pl(self) -> pl.DataFrame:
        """As a Polars frame."""
        return frames.to_polars(self.table)

    def fetchall(self) -> list[tuple[Any, ...]]:
        columns = [column.to_pylist() for column in self.table.columns]
        return list(zip(*columns, strict=True))


def connect(
    model: str | LanguageModel = "embedded",
    *,
    endpoint: str | None = None,
    api_key: str | None = None,
    engine: str | Engine = "duckdb",
    store: bool | str | os.PathLike[str] | Store = True,
    prices: str | os.PathLike[str] | None = None,
    system: str = "",
    data_first: bool = False,
    progress: bool = False,
) -> Connection:
    """A connection that answers LLM calls in SQL.

    Args:
        model: a name in the registry of language models (``embedded`` is the one in the package), an object, or with
            ``endpoint`` the name by which the server knows it.
        endpoint: URL of a server with the OpenAI API, such as ``http://localhost:8000/v1``.
        api_key: its key; without one, that of the environment.
        engine: which SQL engine runs the rest of the query.
        store: where answers are kept for later queries: True for the user's cache folder, a file, or False to keep
            them for this connection only.
        prices: a price table instead of the one in the package.
        system: a system text in front of every prompt.
        data_first: whether the row may stand before the question where several questions are asked about one row.
        progress: whether to show how far a query is, on a terminal.

    Raises:
        ConfigError: an unknown model or engine, or a wrong option.

    >>> from paceline.sql.model import Answer
    >>> class Shouting:
    ...     name = "shouting"
    ...     def num_tokens(self, text): return len(text)
    ...     def ask(self, asks, done):
    ...         for number, ask in enumerate(asks):
    ...             done(number, Answer("yes" if "!" in ask.user else "no"))
    ...     def close(self): pass
    >>> with connect(Shouting(), store=False) as con:
    ...     con.register("reviews", {"review": ["Great!", "Meh."]})
    ...     con.sql("SELECT review FROM reviews WHERE llm_filter('Is it loud?', review)").fetchall()
    [('Great!',)]
    """
    table = load_prices(prices)
    owned = ExitStack()

    def open_model() -> LanguageModel:
        if not isinstance(model, str):
            return model
        made = MODELS[model]() if endpoint is None else MODELS["endpoint"](endpoint, model, api_key=api_key)
        owned.callback(made.close)
        return made

    with ExitStack() as opened:
        running = opened.enter_context(closing(ENGINES[engine]())) if isinstance(engine, str) else engine
        kept = _store(store, opened)
        owned.push(opened.pop_all())
    return Connection(
        open_model, running, kept, owned, prices=table, system=system, data_first=data_first, progress=progress
    )


def _store(store: bool | str | os.PathLike[str] | Store, opened: ExitStack) -> Store:
    if store is False:
        return Memory()
    if store is True or isinstance(store, str | os.PathLike):
        return opened.enter_context(AnswerStore(None if store is True else store))
    return store


@final
class Connection:
    """Runs queries with LLM calls, one at a time. Made by ``connect``; usable in a ``with`` block."""

    def __init__(
        self,
        open_model: Callable[[], LanguageModel],
        engine: Engine,
        store: Store,
        owned: ExitStack,
        *,
        prices: Mapping[str, Price],
        system: str = "",
        data_first: bool = False,
        progress: bool = False,
    ) -> None:
        self._open_model = open_model
        self._engine = engine
        self._store = store
        self._owned = owned
        self._prices = prices
        self._system = system
        self._data_first = data_first
        self._progress = progress
        self._default: LanguageModel | None = None  # opened by the first query that asks something
        self._models: dict[str, LanguageModel] = {}
        self._speeds: dict[str, CostModel] = {}

    def register(self, name: str, data: Any) -> None:
        """Makes ``data`` a table: an Arrow, pandas or Polars frame, a dictionary of lists, or a path.

        Raises ConfigError for anything else.
        """
        if not name:
            raise ConfigError("a table needs a name")
        self._engine.register(name, frames.to_table(data))

    def add_model(self, name: str, model: LanguageModel) -> None:
        """Makes a model known to the option ``model := 'name'`` of single calls."""
        self._models[name] = model

    def sql(self, text: str, *, max_requests: int | None = None, max_cost: float | None = None) -> Result:
        """Runs a query.

        Args:
            max_requests: ends the query with an error before it sends more than this.
            max_cost: ends it once so much was spent, by the price table. Answers are kept either way.

        Raises:
            PlanError: the query cannot be understood or run.
            ResourceError: a limit was reached; what was answered is kept and not asked again.
            ExecutionError: an answer failed, and the call says ``on_error := 'fail'``.
            ConfigError: what would fail every request: an unknown model, a wrong key, no server.
        """
        result, _ = self._run(text, max_requests=max_requests, max_cost=max_cost)
        return result

    def explain(self, text: str) -> Explanation:
        """What a query would ask, without asking. The parts of the query without calls do run."""
        plan, reasons = self._plan(text)
        asker = Asker(
            self._model, self._store, Budget(prices=self._prices), self._system, is_dry=True, is_detailed=True
        )
        asker.may_put_data_first = self._data_first
        with closing(Execution(self._engine, asker)) as execution:
            execution.run(plan)
        calls = tuple(asker.reports)
        speed = self._speeds.get(calls[0].model) if calls else None
        return Explanation(plan, reasons, calls, self._engine.dialect, predicted_seconds(calls, speed))

    def analyze(self, text: str, *, max_requests: int | None = None, max_cost: float | None = None) -> Explanation:
        """Runs a query and tells what was predicted and what happened. Its answers are in the store afterwards."""
        _, explanation = self._run(text, max_requests=max_requests, max_cost=max_cost, detail=True)
        return explanation

    def map(
        self,
        data: Any,
        prompt: str,
        *,
        fields: Sequence[str] | None = None,
        output: str = "answer",
        function: str = "llm",
        labels: Sequence[str] | None = None,
        schema: str | None = None,
        **options: str | int,
    ) -> Any:
        """``data`` with one more column, ``output``: the answers about its rows. Gives the kind of frame that it gets.

        ``function`` is one of those of SQL, with ``labels`` or ``schema`` where it needs them and ``options`` theirs
        (``on_error="keep"``). ``fields`` are the columns that the model is shown, all unless given.
        """
        frame = frames.to_table(data)
        relation = frame if isinstance(frame, str) else self._engine.load(frame)
        try:
            call = call_expression(function, prompt, fields, labels=labels, schema=schema, options=options)
            query = exp.select("*", exp.alias_(call, output, quoted=True)).from_(exp.table_(relation, quoted=True))
            result = self.sql(query.sql(self._engine.dialect)).table
        finally:
            if not isinstance(frame, str):
                self._engine.drop(relation)
        return frames.like(result, data)

    def close(self) -> None:
        """Closes what this connection opened: its model, its engine and its store, but no object that was given."""
        self._owned.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _run(
        self, text: str, *, max_requests: int | None, max_cost: float | None, detail: bool = False
    ) -> tuple[Result, Explanation]:
        plan, reasons = self._plan(text)
        budget = Budget(max_requests=max_requests, max_cost=max_cost, prices=self._prices)
        asker = Asker(self._model, self._store, budget, self._system, is_detailed=detail)
        asker.may_put_data_first = self._data_first
        with closing(Execution(self._engine, asker)) as execution, self._watched(asker):
            table = execution.run(plan)
        self._learn(asker.reports)
        calls = tuple(asker.reports)
        return Result(table, calls), Explanation(plan, reasons, calls, self._engine.dialect, is_analyzed=True)

    def _watched(self, asker: Asker) -> AbstractContextManager[object]:
        if not self._progress:
            return nullcontext()
        bar = ProgressBar(Progress(total=0))

        def watch(answer: Answer | None, num_rows: int) -> None:
            bar.progress.total = sum(report.num_rows for report in asker.reports)
            bar.progress.price = asker.reports[-1].price
            if answer is None:
                bar.progress.take_stored(num_rows)
            else:
                bar.progress.take(answer, num_rows)
            bar.show()

        asker.watch = watch
        return bar

    def _plan(self, text: str) -> tuple[Plan, tuple[str, ...]]:
        written = parse(text, self._engine.dialect, self._engine.columns, self._engine.tables())
        return rules.apply(written, Counted(self._engine))

    def _model(self, name: str) -> LanguageModel:
        if self._default is None:
            self._default = self._open_model()
        if not name or name == self._default.name:
            return self._default
        if name not in self._models:
            raise ConfigError(f"unknown model {name!r}{nearest(name, [self._default.name, *self._models])}")
        return self._models[name]

    def _learn(self, reports: list[CallReport]) -> None:
        """Learns what requests take, for the time that EXPLAIN states."""
        for report in reports:
            if report.num_sent:
                speed = self._speeds.setdefault(report.model, Linear(_TYPICAL_LOAD))
                speed.observe(report.actual.features, report.seconds)


def map_rows(data: Any, prompt: str, **arguments: Any) -> Any:
    """``Connection.map`` on a connection to the embedded model, opened for this one time.

    >>> import polars
    >>> import paceline.sql
    >>> frame = polars.DataFrame({"review": ["I love it."]})
    >>> paceline.sql.map(frame, "Is the review positive?", function="llm_filter").columns  # doctest: +SKIP
    ['review', 'answer']
    """
    with connect() as connection:
        return connection.map(data, prompt, **arguments)
