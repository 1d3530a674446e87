"""What is open, and what is done about it: requests go into the window, its launches to the device, and answers out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, final

from torch import Tensor

from paceline.clock import WallClock, to_seconds
from paceline.errors import DeadlineExceeded, ExecutionError, NotReady, PacelineError
from paceline.multiplex.family import Family
from paceline.multiplex.hosted import Hosted
from paceline.multiplex.launch import launch
from paceline.multiplex.ledger import Ledger
from paceline.multiplex.load import Costs
from paceline.multiplex.lower.bundle import State, tensors_of
from paceline.multiplex.mailbox import Outcome, tell
from paceline.multiplex.request import BundleResult, Plan
from paceline.multiplex.ticket import Ticket
from paceline.multiplex.window import Window
from paceline.scheduling import Wait

CLOSED: Final = "the runtime was closed"
_DROPPED: Final[dict[str, type[PacelineError]]] = {"late": DeadlineExceeded, "failed": ExecutionError}
_ALL_WELL: Final[frozenset[int]] = frozenset()


@final
class Service:
    """Used by one thread at a time; ``fail_all`` by any.

    A request is open from when it enters until somebody *claims* it, who then answers it. That is whoever launches, and for
    those that are open at the end also whoever closes.
    """

    def __init__(self, ledger: Ledger, clock: WallClock) -> None:
        self.window = Window(Costs())
        self.is_closed = False
        self.on_cuda: set[Family] = set()
        self._clock = clock
        self._ledger = ledger
        self._hosted: dict[str, Hosted] = {}
        self._open: set[Ticket] = set()

    @property
    def idle(self) -> bool:
        """Nothing is open."""
        return not self._open

    # ── models ───────────────────────────────────────────────────────────────────────────────

    def host(self, hosted: Hosted) -> None:
        """Serves a model from now on."""
        self.window.register(hosted.spec)
        self._hosted[hosted.name] = hosted
        if hosted.family.device.type == "cuda":
            self.on_cuda.add(hosted.family)

    def dismiss(self, hosted: Hosted) -> None:
        """Serves a model no more, and answers its requests; its slot is the caller's again."""
        del self._hosted[hosted.name]
        self.on_cuda &= {each.family for each in self._hosted.values()}
        self.window.unregister(hosted.name)
        self.drop_expired(self._clock.now())

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

    def start_over(self) -> None:
        """Fails all that is open, and goes on with an empty window."""
        self.fail_all(ExecutionError("the runtime failed; its log says why"))
        self.window = Window(self.window.costs)
        for hosted in self._hosted.values():
            self.window.register(hosted.spec)

    # ── requests ─────────────────────────────────────────────────────────────────────────────

    def enter(self, ticket: Ticket) -> None:
        """Queues a request, or answers why not."""
        request = ticket.request
        self._open.add(ticket)
        try:
            if self._hosted.get(request.tenant) is not ticket.hosted or self.is_closed:
                raise NotReady(CLOSED if self.is_closed else f"the model {request.tenant!r} was unregistered")
            self.window.submit(request, self._clock.now())
        except PacelineError as error:
            request.reason = str(error)
            self._ledger.refused(request)
            if self._claim(ticket):
                tell(ticket.done, error)
            return
        if request.num_rows != request.rows:
            ticket.begin_chunk()

    def cancel(self, ticket: Ticket) -> None:
        """The request ends as "aborted", and is answered by nobody."""
        if self._claim(ticket):
            request = ticket.request
            if not self.is_closed:
                self.window.cancel(request)
            request.outcome, request.finished = "aborted", self._clock.now()
            self._ledger.ended(request)

    def fail_all(self, error: PacelineError) -> None:
        for ticket in list(self._open):
            ticket.request.outcome = "failed" if isinstance(error, ExecutionError) else "aborted"
            ticket.request.reason = str(error)
            self._answer(ticket, error)

    def drop_expired(self, now: int) -> None:
        """Answers requests that the window has dropped."""
        for request in self.window.expired(now):
            error = _DROPPED.get(request.outcome or "", NotReady)(f"{request.tenant}: {request.reason}")
            self._answer(request.state, error)  # type: ignore[arg-type]

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

    # ── launches ─────────────────────────────────────────────────────────────────────────────

    def decide(self, now: int) -> Plan | Wait:
        """What to launch now; whoever it is too late for is answered."""
        plan = self.window.schedule(now)
        self.drop_expired(now)
        return plan

    def launch(self, plan: Plan) -> None:
        """Runs a launch that the window has decided on, tells it what came of it, and answers who is done."""
        tickets: list[Ticket] = [request.state for request in plan.members]  # type: ignore[misc]
        family, segment = tickets[0].hosted.family, plan.members[0].segment
        began = self._clock.now()
        results, smooth = launch(family, segment, tickets)
        ended = self._clock.now()
        failed = _ALL_WELL
        if not smooth:
            failed = frozenset([place for place, each in enumerate(results) if isinstance(each, ExecutionError)])
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
