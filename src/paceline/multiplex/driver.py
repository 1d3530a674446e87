"""Who turns the crank: a thread of the runtime's own, or for short launches the thread of the event loop that asks."""

from __future__ import annotations

import contextlib
import itertools
import logging
import queue
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Final, TypeAlias, TypeVar, final

import torch
from torch import Tensor

from paceline.clock import WallClock, to_seconds
from paceline.errors import ExecutionError, NotReady
from paceline.multiplex.borrowed import Borrowed, Mine
from paceline.multiplex.door import Door
from paceline.multiplex.hosted import Hosted
from paceline.multiplex.ledger import Ledger
from paceline.multiplex.mailbox import Done
from paceline.multiplex.request import Plan, Request
from paceline.multiplex.service import CLOSED, Service
from paceline.multiplex.ticket import Ticket
from paceline.multiplex.window import Window
from paceline.scheduling import Wait

T = TypeVar("T")
Action: TypeAlias = Callable[[], None]

_END_S: Final = 30.0  # that closing waits for the launch that runs
_BRIEF_S: Final = 1e-3  # of the launches that an event loop does by itself before others in it have their turn

_log = logging.getLogger(__name__)


@final
class Driver:
    """Decides, acts and learns until it is closed. The first block may be called by any thread, ``drive`` by that of an event
    loop, the rest by its own.

    The service is in the hands of one thread at a time; its own gives it up only to sleep.
    """

    def __init__(self, ledger: Ledger, threads: int) -> None:
        self.clock = WallClock()
        self.service = Service(ledger, self.clock)
        self.doors: tuple[Door, ...] = ()
        self._has_ended = False  # nobody but those who post looks into the inbox any more
        self._threads = threads
        self._inbox: queue.SimpleQueue[Ticket | Action] = queue.SimpleQueue()
        self._numbers = itertools.count(1)
        self._mine = Mine()
        self._borrowed = Borrowed(threads)
        self._is_asleep = False  # the thread, with nothing to do
        self._planned: Plan | None = None  # a launch that was decided on by ``drive`` and left to the thread
        self._thread = threading.Thread(target=self._run, name="multiplex", daemon=True)
        self._thread.start()

    # ── any thread ───────────────────────────────────────────────────────────────────────────

    @property
    def window(self) -> Window:
        return self.service.window

    @property
    def is_closed(self) -> bool:
        return self.service.is_closed

    def post(self, item: Ticket | Action) -> None:
        """Has something done by the driver's thread, between two launches."""
        self._inbox.put(item)
        if self._has_ended:
            self._take_all()
            self.flush()

    def call(self, function: Callable[[], T]) -> T:
        """What ``function`` gives when the driver's thread runs it, between two launches. NotReady once it is closed."""
        if self._mine.is_held:
            return function()
        answer: Future[T] = Future()

        def run() -> None:
            try:
                self.require_open()
                answer.set_result(function())
            except BaseException as error:  # whatever it is, whoever waits must know
                answer.set_exception(error)

        self.post(run)
        return answer.result()

    def submit(
        self,
        hosted: Hosted,
        inputs: tuple[Tensor, ...],
        rows: int,
        deadline: int | None,
        priority: int,
        done: Done,
        door: Door | None,
    ) -> Ticket:
        """Takes a request in; ``done`` gets its outputs, or the error that it ended with."""
        self.require_open()
        request = Request(hosted.name, rows, self.clock.now(), deadline, priority, None, str(next(self._numbers)))
        way = door or self
        ticket = Ticket(hosted, request, inputs, done, way.drop)
        way.post(ticket)
        return ticket

    def drop(self, ticket: Ticket) -> None:
        """Nobody wants its answer any more."""
        self.post(lambda: self.service.cancel(ticket))

    def close(self) -> None:
        """Ends the thread; requests that are open get NotReady, also if the launch that runs does not come back."""
        self.service.is_closed = True
        self._inbox.put(_nothing)  # it may sleep
        if not self._mine.is_held:
            self._thread.join(_END_S)
        self._end()

    def require_open(self) -> None:
        """NotReady once it is closed."""
        if self.service.is_closed:
            raise NotReady(CLOSED)

    def require_other_thread(self) -> None:
        """ExecutionError in a callback, which would wait for itself."""
        if self._mine.is_held:
            raise ExecutionError("a callback must not wait for the runtime that calls it; submit() does not wait")

    def flush(self) -> None:
        """Wakes the event loops for which there are answers."""
        for door in self.doors:
            door.mailbox.flush()

    def _take_all(self) -> None:
        try:
            for _ in range(self._inbox.qsize()):  # not more: those who send faster must not keep it from launching
                self._take(self._inbox.get_nowait())
        except queue.Empty:  # others take from it, too, at the end
            pass

    def _take(self, item: Ticket | Action) -> None:
        if isinstance(item, Ticket):
            self.service.enter(item)
        else:
            item()

    # ── an event loop's thread ───────────────────────────────────────────────────────────────

    def drive(self, tickets: deque[Ticket]) -> None:
        """Takes requests in and launches them, if the device stands still; else it leaves them where they are.

        What would hold up the event loop for long is left to the thread.
        """
        if not self._is_asleep or not self._mine.acquire(blocking=False):
            return
        try:
            if self._is_free():
                with self._borrowed:
                    self._guarded(tickets)
                if not self.service.idle:
                    self._is_asleep = False
                    self._inbox.put(_nothing)
        finally:
            self._mine.release()

    def _is_free(self) -> bool:
        """Nobody else wants the device, and it makes no difference which thread launches."""
        if not self._is_asleep or not self._inbox.empty() or self.is_closed:
            return False
        return not self.service.on_cuda and self._borrowed.is_plain()

    def _guarded(self, tickets: deque[Ticket]) -> None:
        try:
            self._serve(tickets)
        except BaseException as error:  # an interrupt may have come anywhere
            self._start_over()
            if not isinstance(error, Exception):
                raise

    def _serve(self, tickets: deque[Ticket]) -> None:
        service, left_s = self.service, _BRIEF_S
        while tickets:
            service.enter(tickets.popleft())
        while not service.idle:
            plan = service.decide(self.clock.now())
            if isinstance(plan, Wait):
                return
            left_s -= plan.predicted_s
            if not plan.predicted_s or left_s < 0.0:
                self._planned = plan
                return
            service.launch(plan)

    # ── the loop ─────────────────────────────────────────────────────────────────────────────

    def _run(self) -> None:
        torch.set_num_threads(self._threads)  # of this thread alone
        try:
            while not self.is_closed:
                try:
                    self._turn()
                except Exception:  # a fault of ours: nobody may wait for ever because of it
                    with self._mine:
                        self._start_over()
        finally:
            with self._mine:
                self._end()

    def _turn(self) -> None:
        """Takes in what has come, then launches once or waits."""
        with self._mine:
            self._take_all()
            now = self.clock.now()
            plan = self.service.decide(now)
            if not isinstance(plan, Wait):
                self.service.launch(plan)
                self.flush()
                return
            self.flush()
            if plan.until is None and any(family.rest() for family in self.service.on_cuda):
                return
            self._is_asleep = plan.until is None
        self._sleep(plan, now)

    def _sleep(self, wait: Wait, now: int) -> None:
        patience_s = None if wait.until is None else to_seconds(max(0, wait.until - now))
        with contextlib.suppress(queue.Empty):
            item = self._inbox.get(timeout=patience_s)
            self._is_asleep = False
            with self._mine:
                self._launch_planned()
                self._take(item)

    def _launch_planned(self) -> None:
        """Before anything else: its requests may be cancelled, and weights change, before a decision or after a launch."""
        plan, self._planned = self._planned, None
        if plan is not None:
            self.service.launch(plan)
            self.flush()

    def _start_over(self) -> None:
        _log.exception("the runtime's loop failed")
        self._planned = None
        self.service.start_over()
        self.flush()

    def _end(self) -> None:
        """Nobody is left waiting, nor will be."""
        self.service.is_closed = self._has_ended = True
        self._take_all()
        self.service.fail_all(NotReady(CLOSED))
        self.flush()


def _nothing() -> None:
    """Wakes the thread."""
