"""Queries from the first prompt to the last answer: on the embedded engine, on the mock server, on any endpoint."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any

from benchmarks.common.cells import Cells
from benchmarks.relational import tables
from benchmarks.relational.arms import Run, run_arm
from benchmarks.relational.mock_server import MODEL, MockServer
from benchmarks.relational.protocol import (
    ARMS,
    EMBEDDED_BLOCKS,
    EMBEDDED_SEQS,
    FILTERED,
    MOCK_CACHE_TOKENS,
    Protocol,
)
from benchmarks.relational.queries import QUERIES, query
from paceline.sql import EndpointModel
from paceline.sql.clients.embedded import EmbeddedModel
from paceline.sql.engines import ENGINES, Engine
from paceline.sql.model import LanguageModel

PREFIX = "end_to_end"

Opened = tuple[LanguageModel, Callable[[], float]]
"""A model that knows no prompt yet, and seconds that passed on a device that no clock here shows."""


@contextlib.contextmanager
def embedded(arm: str) -> Iterator[Opened]:
    model = EmbeddedModel(prefix_caching=arm != "plain", num_blocks=EMBEDDED_BLOCKS, max_num_seqs=EMBEDDED_SEQS)
    try:
        yield model, lambda: 0.0
    finally:
        model.close()


@contextlib.contextmanager
def mock(arm: str) -> Iterator[Opened]:
    """Time passes on the mock device alone: none for its own work or for HTTP."""
    with MockServer(cache_tokens=0 if arm == "plain" else MOCK_CACHE_TOKENS) as server:
        model = EndpointModel(server.url, MODEL, api_key="")
        try:
            yield model, lambda: server.counts.device_s
        finally:
            model.close()


def endpoint(url: str, name: str) -> Callable[[str], AbstractContextManager[Opened]]:
    """A server that is there already, with its prefix cache on: what it has cached of one arm may serve the next."""

    @contextlib.contextmanager
    def opened(arm: str) -> Iterator[Opened]:
        model = EndpointModel(url, name)
        try:
            yield model, lambda: 0.0
        finally:
            model.close()

    return opened


def measure_embedded(cells: Cells, protocol: Protocol) -> None:
    for name in dict.fromkeys(name for table in FILTERED for name in QUERIES[table]):  # the filters of all tables first
        for table in FILTERED:
            if name in QUERIES[table]:
                _measure(cells, "embedded", embedded, table, name, protocol.embedded_rows)


def measure_mock(cells: Cells, protocol: Protocol) -> None:
    for table, names in QUERIES.items():
        for name in names:
            _measure(cells, "mock", mock, table, name, protocol.mock_rows)


def measure_endpoint(cells: Cells, protocol: Protocol, url: str, model: str) -> None:
    """The filters, ours on Spark: the published set-up. A server's cache cannot be turned off from here: no ``plain``."""
    engine = ENGINES["spark"]()
    try:
        for table in FILTERED:
            opened = endpoint(url, model)
            _measure(cells, "endpoint", opened, table, "filter", protocol.embedded_rows, ARMS[1:], engine)
    finally:
        engine.close()


def _measure(
    cells: Cells,
    backend: str,
    opened: Callable[[str], AbstractContextManager[Opened]],
    table: str,
    name: str,
    num_rows: int,
    arms: Sequence[str] = ARMS,
    engine: str | Engine = "duckdb",
) -> None:
    """One cell for each arm, so that an interrupted run goes on behind the last."""
    made = tables.make(table, num_rows)
    for arm in arms:
        cell = f"{PREFIX}/{table}/{name}/{backend}/{arm}"
        if cells.get(cell) is not None:
            continue
        with opened(arm) as (model, device_s):
            run = run_arm(arm, table, made, query(table, name), model, engine)
            seconds = device_s() or run.seconds
        cells.put(cell, {**_record(run), "seconds": seconds, "rows": num_rows})


def _record(run: Run) -> dict[str, Any]:
    return {
        "requests": run.requests,
        "prompt_tokens": run.prompt_tokens,
        "cached_tokens": run.cached_tokens,
        "num_errors": run.num_errors,
        "outcome": run.digest,
    }


def rows(cells: Cells) -> list[dict[str, Any]]:
    found = []
    for cell, values in cells.having(f"{PREFIX}/").items():
        table, name, backend, arm = cell.split("/")
        found.append({"table": table, "query": name, "backend": backend, "arm": arm, **values})
    return found


def speedups(rows: list[dict[str, Any]], over: str, arm: str) -> dict[tuple[str, str, str], float]:
    """Seconds of ``over`` by those of ``arm``, by table, query and backend."""
    seconds = {(row["table"], row["query"], row["backend"], row["arm"]): row["seconds"] for row in rows}
    return {
        key[:3]: seconds[(*key[:3], over)] / value
        for key, value in seconds.items()
        if key[3] == arm and (*key[:3], over) in seconds
    }
