"""Where the requests of one event loop come in, and how their answers get back to it."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Protocol, final

from paceline.multiplex.mailbox import Mailbox
from paceline.multiplex.ticket import Ticket


class Served(Protocol):
    """Whoever serves them."""

    def drive(self, tickets: deque[Ticket]) -> None: ...
    def post(self, item: Ticket | Callable[[], None]) -> None: ...
    def drop(self, ticket: Ticket) -> None: ...


@final
class Door:
    """Of one event loop, used by its thread alone.

    What comes in during one turn of the loop is handed over at once. If the device stands still, short launches are done by
    the loop's own thread: waking another one, and being woken by it, takes longer than they do.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, served: Served) -> None:
        self.mailbox = Mailbox(loop)
        self._loop = loop
        self._served = served
        self._tickets: deque[Ticket] = deque()

    def post(self, ticket: Ticket) -> None:
        """Takes a request in; it is served when everybody else had a turn in the loop."""
        if not self._tickets:
            self._loop.call_soon(self._hand_over)
        self._tickets.append(ticket)

    def drop(self, ticket: Ticket) -> None:
        """Nobody wants its answer any more."""
        self._post_all(self._taken())
        self._served.drop(ticket)

    def _hand_over(self) -> None:
        tickets = self._taken()
        try:
            if tickets:
                self._served.drive(tickets)
        finally:
            self._post_all(tickets)
            self.mailbox.deliver()

    def _taken(self) -> deque[Ticket]:
        tickets, self._tickets = self._tickets, deque()
        return tickets

    def _post_all(self, tickets: deque[Ticket]) -> None:
        while tickets:
            self._served.post(tickets.popleft())
