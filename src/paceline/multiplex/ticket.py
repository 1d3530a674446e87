"""Requests on their way through the runtime, one or several together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol, final

import torch
from torch import Tensor

from paceline.errors import PacelineError
from paceline.multiplex.hosted import Hosted
from paceline.multiplex.lower.bundle import State
from paceline.multiplex.mailbox import Done, Outcome
from paceline.multiplex.request import Request


class Cancellable(Protocol):
    """A request that was taken."""

    def cancel(self) -> None:
        """Nobody wants the answer any more: ``done`` is not called, unless it was just about to be."""
        ...


@final
class Ticket:
    """What a launch needs of a request. ``drop`` is called when nobody wants the answer any more."""

    __slots__ = ("_drop", "done", "hosted", "inputs", "parts", "request", "slot", "state")

    def __init__(
        self, hosted: Hosted, request: Request, inputs: tuple[Tensor, ...], done: Done, drop: Callable[[Ticket], None]
    ) -> None:
        self.hosted = hosted
        self.slot = hosted.slot
        self.request = request
        self.inputs = inputs
        self.done = done
        self.state: State = inputs  # what the next segment takes
        self.parts: Sequence[tuple[Tensor, ...]] = ()  # outputs of chunks
        self._drop = drop
        request.state = self

    @property
    def num_rows(self) -> int:
        return self.request.num_rows

    def cancel(self) -> None:
        """Nobody wants the answer any more: ``done`` is not called, unless it was just about to be."""
        self._drop(self)

    def begin_chunk(self) -> None:
        """Takes the rows that come next."""
        request = self.request
        self.state = tuple([each.narrow(0, request.first_row, request.num_rows) for each in self.inputs])

    def whole(self, last: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """The outputs for all rows; ``last`` are those of the last chunk."""
        with torch.inference_mode():
            return tuple([torch.cat(column) for column in zip(*self.parts, last, strict=True)])


class Shaped(Protocol):
    """A model."""

    def structured(self, outputs: Sequence[Tensor], /) -> Any: ...


@final
class Batch:
    """Requests that are answered together."""

    def __init__(self) -> None:
        self.models: list[Shaped | None] = []  # None for one that was turned away
        self.tickets: list[Cancellable] = []

    def cancel(self) -> None:
        for ticket in self.tickets:
            ticket.cancel()

    def structured(self, outcomes: Sequence[Outcome]) -> list[Any]:
        pairs = zip(self.models, outcomes, strict=True)
        return [
            outcome if model is None or isinstance(outcome, PacelineError) else model.structured(outcome)
            for model, outcome in pairs
        ]
