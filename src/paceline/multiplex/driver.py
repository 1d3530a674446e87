"""The thread that owns the window and the device: it takes requests in, launches what the window says, answers."""

from __future__ import annotations

import contextlib
import itertools
import logging
import queue
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from typing import Final, TypeAlias, TypeVar, final

import torch
from torch import Tensor

from paceline.clock import WallClock, to_seconds
from paceline.errors import DeadlineExceeded, ExecutionError, NotReady, PacelineError
from paceline.multiplex.family import Family
from paceline.multiplex.hosted import Hosted
from paceline.multiplex.launch import launch
from paceline.multiplex.ledger import Ledger
from paceline.multiplex.load import Costs
from paceline.multiplex.lower.bundle import State, tensors_of
from paceline.multiplex.mailbox import Done, Mailbox, Outcome, tell
from paceline.multiplex.request import BundleResult, Plan, Request
from paceline.multiplex.ticket import Ticket
from paceline.multiplex.window import Window
from paceline.scheduling import Wait

T = TypeVar("T")
Action: TypeAlias = Callable[[], None]

_END_S: Final = 30.0  # that closing waits for the launch that runs
_CLOSED: Final = "the runtime was closed"
_DROPPED: Final[dict[str, type[PacelineError]]] = {"late": DeadlineExceeded, "failed": ExecutionError}

_log = logging.getLogger(__name__)


@final
class Driver:
    """Decides, acts and learns until it is closed. The first block may be called by any thread, the rest by its own.

    A request is open from when it is taken out of the inbox until somebody *claims* it, who then answers it. That is the
    driver's thread, and for those that are open at the end also whoever closes.
    """

    def __init__(self, ledger: Ledger, threads: int) -> None:
        self.clock = WallClock()
        self.window = Window(Costs())
        self.mailboxes: tuple[Mailbox, ...] = ()
        self.is_closed = False
        self._has_ended = False  # nobody but those who post looks into the inbox any more
        self._ledger = ledger
        self._threads = threads
        self._inbox: queue.SimpleQueue[Ticket | Action] = queue.SimpleQueue()
        self._hosted: dict[str, Hosted] = {}
        self._on_cuda: set[Family] = set()
        self._open: set[Ticket] = set()
        self._numbers = itertools.count(1)
        self._thread = threading.Thread(target=self._run, name="multiplex", daemon=True)
        self._thread.start()

    # ── any thread ───────────────────────────────────────────────────────────────────────────

    def post(self, item: Ticket | Action) -> None:
        """Has something done by the driver's thread, between two launches."""
        self._inbox.put(item)
        if self._has_ended:
            self._take_all()
            self.flush()

    def call(self, function: Callable[[], T]) -> T:
        """What ``function`` gives when the driver's thread runs it, between two launches. NotReady once it is closed."""
        if threading.current_thread() is self._thread:
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
        self, hosted: Hosted, inputs: tuple[Tensor, ...], rows: int, deadline: int | None, priority: int, done: Done
    ) -> Ticket:
        """Takes a request in; ``done`` gets its outputs, or the error that it ended with."""
        self.require_open()
        request = Request(hosted.name, rows, self.clock.now(), deadline, priority, None, str(next(self._numbers)))
        ticket = Ticket(hosted, request, inputs, done, self.drop)
        self.post(ticket)
        return ticket

    def drop(self, ticket: Ticket) -> None:
        """Nobody wants its answer any more."""
        self.post(lambda: self._cancel(ticket))

    def close(self) -> None:
        """Ends the thread; requests that are open get NotReady, also if the launch that runs does not come back."""
        self.is_closed = True
        self._inbox.put(lambda: None)  # it may sleep
        if threading.current_thread() is not self._thread:
            self._thread.join(_END_S)
        self._end()

    def require_open(self) -> None:
        """NotReady once it is closed."""
        if self.is_closed:
            raise NotReady(_CLOSED)

    def require_other_thread(self) -> None:
        """ExecutionError in a callback, which would wait for itself."""
        if threading.current_thread() is self._thread:
            raise ExecutionError("a callback must not wait for the runtime that calls it; submit() does not wait")

    def flush(self) -> None:
        """Wakes the event loops for which there are answers."""
        for mailbox in self.mailboxes:
            mailbox.flush()

    def _take_all(self) -> None:
        try:
            for _ in range(self._inbox.qsize()):  # not more: those who send faster must not keep it from launching
                self._take(self._inbox.get_nowait())
        except queue.Empty:  # others take from it, too, at the end
            pass

    def _take(self, item: Ticket | Action) -> None:
        if isinstance(item, Ticket):
            self._enter(item)
        else:
            item()

    # ── models ───────────────────────────────────────────────────────────────────────────────

    def host(self, hosted: Hosted) -> None:
        """Serves a model from now on."""
        self.window.register(hosted.spec)
        self._hosted[hosted.name] = hosted
        if hosted.family.device.type == "cuda":
            self._on_cuda.add(hosted.family)

    def dismiss(self, hosted: Hosted) -> None:
        """Serves a model no more, and answers its requests; its slot is the caller's again."""
        del self._hosted[hosted.name]
        self._on_cuda &= {each.family for each in self._hosted.values()}
        self.window.unregister(hosted.name)
        self._drop_expired(self.clock.now())

    def update(self, hosted: Hosted, weights: Mapping[str, Tensor]) -> None:
        """Other weights from now on; requests that were begun end with those that they were begun with."""
        family, slot = hosted.family, hosted.slot
        mine = [ticket for ticket in self._open if ticket.hosted is hosted and ticket.slot == slot]
        begun = [ticket for ticket in mine if ticket.request.started is not None]
        if begun:
            kept = family.add(family.views(slot))
            for ticket in begun:
                ticket.slot = kept
        family.update(slot, weights)

    # ── the loop ─────────────────────────────────────────────────────────────────────────────

    def _run(self) -> None:
        torch.set_num_threads(self._threads)  # of this thread alone
        try:
            while not self.is_closed:
                try:
                    self._turn()
                except Exception:  # a fault of ours: nobody may wait for ever because of it
                    _log.exception("the runtime's loop failed")
                    self._start_over()
        finally:
            self._end()

    def _turn(self) -> None:
        """Takes in what has come, then launches once or waits."""
        self._take_all()
        now = self.clock.now()
        plan = self.window.schedule(now)
        self._drop_expired(now)
        if isinstance(plan, Wait):
            self.flush()
            if plan.until is not None or not any(family.rest() for family in self._on_cuda):
                self._sleep(plan, now)
        else:
            self._launch(plan)
            self.flush()

    def _sleep(self, wait: Wait, now: int) -> None:
        patience_s = None if wait.until is None else to_seconds(max(0, wait.until - now))
        with contextlib.suppress(queue.Empty):
            self._take(self._inbox.get(timeout=patience_s))

    def _start_over(self) -> None:
        """Fails all that is open, and goes on with an empty window."""
        self._fail_all(ExecutionError("the runtime failed; its log says why"))
        self.window = Window(self.window.costs)
        for hosted in self._hosted.values():
            self.window.register(hosted.spec)

    def _end(self) -> None:
        """Nobody is left waiting, nor will be."""
        self.is_closed = self._has_ended = True
        self._take_all()
        self._fail_all(NotReady(_CLOSED))

    def _fail_all(self, error: PacelineError) -> None:
        for ticket in list(self._open):
            ticket.request.outcome = "failed" if isinstance(error, ExecutionError) else "aborted"
            ticket.request.reason = str(error)
            self._answer(ticket, error)
        self.flush()

    # ── requests ─────────────────────────────────────────────────────────────────────────────

    def _enter(self, ticket: Ticket) -> None:
        request = ticket.request
        self._open.add(ticket)
        try:
            if self._hosted.get(request.tenant) is not ticket.hosted or self.is_closed:
                raise NotReady(_CLOSED if self.is_closed else f"the model {request.tenant!r} was unregistered")
            self.window.submit(request, self.clock.now())
        except PacelineError as error:
            request.reason = str(error)
            self._ledger.refused(request)
            if self._claim(ticket):
                tell(ticket.done, error)
            return
        if request.num_rows != request.rows:
            ticket.begin_chunk()

    def _cancel(self, ticket: Ticket) -> None:
        """The request ends as "aborted", and is answered by nobody."""
        if self._claim(ticket):
            request = ticket.request
            if not self.is_closed:
                self.window.cancel(request)
            request.outcome, request.finished = "aborted", self.clock.now()
            self._ledger.ended(request)

    def _claim(self, ticket: Ticket) -> bool:
        """Closes a request; the one who gets True answers it."""
        try:
            self._open.remove(ticket)
        except KeyError:
            return False
        ticket.request.state = None  # a ring of references: what it holds would stay until it is found
        if ticket.slot != ticket.hosted.slot and not self.is_closed:
            self._release(ticket)
        return True

    def _release(self, ticket: Ticket) -> None:
        """Gives up a slot that ``update`` has kept, with the last request that needs it."""
        family, slot, own = ticket.hosted.family, ticket.slot, ticket.hosted.slot
        if not any(other.slot == slot and other.hosted.family is family for other in self._open):
            family.remove(slot)
            family.update(own, family.views(own))  # back to where they lay, beside their neighbours'

    def _answer(self, ticket: Ticket, outcome: Outcome, *, together: bool = False) -> None:
        if self._claim(ticket):
            self._ledger.ended(ticket.request, together=together)
            tell(ticket.done, outcome)

    def _drop_expired(self, now: int) -> None:
        """Answers requests that the window has dropped."""
        for request in self.window.expired(now):
            error = _DROPPED.get(request.outcome or "", NotReady)(f"{request.tenant}: {request.reason}")
            self._answer(request.state, error)  # type: ignore[arg-type]

    # ── launches ─────────────────────────────────────────────────────────────────────────────

    def _launch(self, plan: Plan) -> None:
        tickets: list[Ticket] = [request.state for request in plan.members]  # type: ignore[misc]
        family, segment = tickets[0].hosted.family, plan.members[0].segment
        began = self.clock.now()
        results, smooth = launch(family, segment, tickets)
        ended = self.clock.now()
        failed = frozenset(
            [] if smooth else [place for place, each in enumerate(results) if isinstance(each, ExecutionError)]
        )
        self._ledger.launched(plan, family.key, began, ended)
        self.window.commit(plan, BundleResult(to_seconds(ended - began), failed, disturbed=not smooth), ended)
        together, is_last = len(tickets) > 1, segment == len(family.segments) - 1
        for ticket, result in zip(tickets, results, strict=True):
            if isinstance(result, ExecutionError):
                ticket.request.reason = str(result)
                self._answer(ticket, result, together=together)
            elif is_last:
                self._end_pass(ticket, result, together=together)
            else:
                ticket.state = result

    def _end_pass(self, ticket: Ticket, result: State, *, together: bool) -> None:
        """All segments are done, for all rows or for a chunk of them."""
        outputs = tensors_of(result)
        if ticket.request.outcome is None:
            ticket.parts = [*ticket.parts, outputs]
            ticket.begin_chunk()
        else:
            self._answer(ticket, ticket.whole(outputs) if ticket.parts else outputs, together=together)
