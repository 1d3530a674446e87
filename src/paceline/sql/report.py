"""What a query would ask, and what it did ask: one report per call."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np

from paceline.sql import order
from paceline.sql.items import Items, Order
from paceline.sql.load import MEAN_OUTPUT, RequestLoad
from paceline.sql.model import Answer
from paceline.sql.prices import Price


@dataclass(slots=True)
class CallReport:
    """Counts of one call. Hits are tokens found in the prefix cache; those of the static prompt count too."""

    call: str
    model: str
    num_rows: int
    price: Price | None = None  # None: not known
    reached: float = 1.0  # EXPLAIN: share of the rows that are expected to come this far
    num_distinct: int = 0  # requests among these rows
    num_stored: int = 0  # of the requests, answered by the store
    num_planned: int = 0  # requests that were to be sent
    static_tokens: float = 0.0
    data_tokens: float = 0.0
    max_output_tokens: int = 0
    hits: dict[str, float] = field(default_factory=dict)  # predicted: as is, sorted, planned, bound
    planner: str = ""
    num_sent: int = 0
    failed: dict[int, str] = field(default_factory=dict)  # why, by row (by group for llm_agg)
    prompt_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0
    seconds: float = 0.0

    @property
    def cost(self) -> float | None:
        """What was spent; None if the price is not known."""
        return self.price.cost(self.prompt_tokens, self.cached_tokens, self.output_tokens) if self.price else None

    @property
    def num_errors(self) -> int:
        """Rows (or groups) without an answer."""
        return len(self.failed)

    @property
    def planned_tokens(self) -> float:
        return self.static_tokens + self.data_tokens

    @property
    def actual(self) -> RequestLoad:
        return RequestLoad(
            self.num_sent, float(self.prompt_tokens), float(self.cached_tokens), float(self.output_tokens)
        )

    @property
    def expected_tokens(self) -> tuple[int, int, int]:
        """Of prompts, in the cache, and decoded, if all that is planned is sent and answers are of usual length."""
        usual = MEAN_OUTPUT[self.call.partition("(")[0]] * self.num_planned
        hits = 0.0 if self.is_too_short else self.hits.get("planned", 0.0)
        return round(self.planned_tokens), round(hits), round(min(usual, self.max_output_tokens))

    @property
    def is_too_short(self) -> bool:
        """Whether prompts are on average below what the provider caches at all."""
        return self.price is not None and self.planned_tokens < self.price.minimum * self.num_planned

    @property
    def expected(self) -> RequestLoad:
        """What EXPLAIN expects to be sent, by the share of rows that come this far."""
        prompt, cached, output = self.expected_tokens
        share = self.reached
        return RequestLoad(share * self.num_planned, share * prompt, share * cached, share * output)

    @contextmanager
    def timed(self) -> Iterator[None]:
        """Adds the seconds of a block, however it ends."""
        began = time.monotonic()
        try:
            yield
        finally:
            self.seconds += time.monotonic() - began

    def count(self, answer: Answer) -> None:
        """Adds an answer that came from the model."""
        self.num_sent += 1
        self.prompt_tokens += answer.prompt_tokens
        self.cached_tokens += answer.cached_tokens
        self.output_tokens += answer.output_tokens

    def plan(self, items: Items, plan: Order, static: int, max_tokens: int, *, detail: bool) -> None:
        """Adds a batch that is about to be sent; ``detail`` also measures it as it came, sorted, and at most."""
        shared = static * max(0, items.num_rows - 1)
        self.num_planned += items.num_rows
        self.static_tokens += static * items.num_rows
        self.data_tokens += items.total
        self.max_output_tokens += max_tokens * items.num_rows
        self.planner = plan.planner
        found = {"planned": plan.hits, "bound": plan.bound}
        if detail:
            found |= _unplanned(items) | {"bound": max(plan.hits, min(order.bounds(items)))}
        for name, hits in found.items():
            self.hits[name] = self.hits.get(name, 0.0) + hits + shared

    def plan_repeated(self, num_requests: int, static: float, data: float, max_tokens: int) -> None:
        """Adds a second question about rows that were just sent, and are found in the cache."""
        self.num_planned += num_requests
        self.static_tokens += static * num_requests
        self.data_tokens += data
        self.max_output_tokens += max_tokens * num_requests
        for name in ("planned", "bound"):
            self.hits[name] = self.hits.get(name, 0.0) + data

    def plan_texts(self, num_tokens: int, num_requests: int, max_tokens: int) -> None:
        """Adds a batch of texts that share nothing but the question."""
        self.num_planned += num_requests
        self.data_tokens += num_tokens
        self.max_output_tokens += max_tokens * num_requests


def _unplanned(items: Items) -> dict[str, float]:
    if not items.num_fields or items.num_rows < 2:
        return {"as is": 0.0, "sorted": 0.0}
    identity = np.arange(items.num_fields, dtype=np.int16)[None, :]
    first = np.zeros(items.num_rows, np.int32)
    options = order.OrderOptions(cache_tokens=0)  # from the row before alone
    sequences = {"as is": np.arange(items.num_rows), "sorted": np.lexsort(items.codes.T[::-1])}
    return {name: order.evaluate(items, rows, identity, first, options) for name, rows in sequences.items()}
