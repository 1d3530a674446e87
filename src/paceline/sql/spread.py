"""Requests sent by many machines: the port to an engine that has them, and where an order of requests is cut."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, Protocol, runtime_checkable

import numpy as np

from paceline.sql.model import MODELS, Answer, Ask, LanguageModel

MIN_SPREAD: Final = 64  # requests; fewer are all in flight at once from one machine too
MAX_WAVE_REQUESTS: Final = 2048  # of one task: what is sent before a budget is looked at, or a failure heard of
MAX_WAVE_CHARS: Final = 16 << 20


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """How another process opens the same model: its name in the registry and arguments, as JSON has them."""

    kind: str
    arguments: dict[str, Any]
    secrets: dict[str, str] = field(default_factory=dict, repr=False)  # arguments that no text may show

    def open(self) -> LanguageModel:
        """Raises ConfigError if the model is not to be had here."""
        return MODELS[self.kind](**self.arguments, **self.secrets)


@runtime_checkable
class Portable(Protocol):
    """A model that other processes can ask too."""

    def spec(self, num_clients: int) -> ModelSpec:
        """For one of so many clients, which together keep the limits that were set for one."""
        ...


class Request(NamedTuple):
    """An ask and the key of its answer in the store."""

    key: str
    ask: Ask


@runtime_checkable
class Spreading(Protocol):
    """An engine whose machines can send requests."""

    def spread(
        self,
        model: Portable,
        requests: Iterable[Request],
        done: Callable[[int, Answer], None],
        store: dict[str, Any] | None,
    ) -> None:
        """Sends requests, the order kept on each machine, and calls ``done`` once for each with its number.

        ``store`` are the arguments of an ``AnswerStore`` that machines which reach it share. A request that fails is an
        answer; ConfigError and ResourceError are raised as ``LanguageModel.ask`` does. Where ``done`` raises, what was
        answered by then is handed over before.
        """
        ...


def waves(requests: Iterable[Request], num_tasks: int) -> Iterator[list[Request]]:
    """Stretches of an order that so many tasks send in one go."""
    wave: list[Request] = []
    num_chars = 0
    for request in requests:
        wave.append(request)
        num_chars += len(request.ask.user)
        if len(wave) >= num_tasks * MAX_WAVE_REQUESTS or num_chars >= num_tasks * MAX_WAVE_CHARS:
            yield wave
            wave, num_chars = [], 0
    if wave:
        yield wave


def subtree_ranks(shared: Sequence[int], max_requests: int) -> list[int]:
    """For every request of an order, the rank of the subtree that it is sent with.

    ``shared`` are the characters in common with the request before. A subtree of more than ``max_requests`` is cut
    where its requests have least in common, into those one level below.

    >>> subtree_ranks([0, 5, 5, 2, 5, 9], 3)
    [0, 0, 0, 1, 1, 1]
    >>> subtree_ranks([0, 5, 5, 2, 5, 9], 2)
    [0, 1, 2, 3, 4, 4]
    """
    depths = np.asarray(shared)
    starts = np.zeros(len(depths), np.int64)
    pending = [(0, len(depths))]
    while pending:
        begin, end = pending.pop()
        starts[begin : begin + 1] = 1
        inner = depths[begin + 1 : end]
        if end - begin > max_requests and len(inner):
            cuts = (np.flatnonzero(inner == inner.min()) + begin + 1).tolist()
            pending += zip([begin, *cuts], [*cuts, end], strict=True)
    return [int(rank) for rank in np.cumsum(starts) - 1]
