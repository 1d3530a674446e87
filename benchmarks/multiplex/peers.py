"""What others do with many models, each a policy of the same thread that owns the device, behind the same front end.

Requests come through one ``SimpleQueue``; answers go back through the runtime's own mailbox, many by one wake-up of the event loop.
So an arm differs from another in what it runs when, and in nothing else.
"""

from __future__ import annotations

import asyncio
import functools
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol, final

import torch
from torch import Tensor, nn

from benchmarks.multiplex.offline import ensemble
from paceline.errors import DeadlineExceeded
from paceline.multiplex.mailbox import Mailbox, Tally

MAX_BATCH: Final = 64  # rows
_END_S: Final = 10.0


@final
class Job:
    """A request: rows for a tenant, wanted by ``deadline`` (``time.perf_counter`` seconds, None: whenever)."""

    __slots__ = ("deadline", "done", "future", "tenant", "x")

    def __init__(
        self, tenant: int, x: Tensor, deadline: float | None, future: asyncio.Future[Any], done: Callable[[Any], None]
    ) -> None:
        self.tenant = tenant
        self.x = x
        self.deadline = deadline
        self.future = future
        self.done = done

    @property
    def wanted(self) -> bool:
        """Nobody has given it up, and its time is not over; else it is answered with the reason."""
        if self.future.done():
            return False
        if self.deadline is None or time.perf_counter() <= self.deadline:
            return True
        self.done(DeadlineExceeded("it was not begun before its deadline"))
        return False


class Policy(Protocol):
    """What runs when; all by the thread that owns the device."""

    @property
    def idle(self) -> bool: ...

    def take(self, job: Job) -> None: ...

    def launch(self) -> None:
        """Runs something and answers it; not called while idle."""
        ...


@final
class Device:
    """A thread with a policy. Answers gather while there is more to do, for ``patience_s`` at most."""

    def __init__(self, policy: Policy, patience_s: float) -> None:
        self._policy = policy
        self._patience_s = patience_s
        self._inbox: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self.mailbox: Mailbox | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def put(self, job: Job | None) -> None:
        """RuntimeError if the thread has died: nobody would answer."""
        if not self._thread.is_alive():
            raise RuntimeError("the thread of this arm has died; its error was printed")
        self._inbox.put(job)

    def close(self) -> None:
        self._inbox.put(None)
        self._thread.join(_END_S)

    def _run(self) -> None:
        torch.set_num_threads(1)  # of this thread
        with torch.inference_mode():
            while self._turn():
                pass

    def _turn(self) -> bool:
        """Takes in what has come, launches until it has to hand over; False at the end."""
        policy, inbox = self._policy, self._inbox
        began: float | None = None
        while began is None or not (policy.idle and inbox.empty()):
            while policy.idle or not inbox.empty():
                job = inbox.get()
                if job is None:
                    return False
                policy.take(job)
            now = time.perf_counter()
            began = now if began is None else began
            policy.launch()
            if time.perf_counter() - began > self._patience_s:
                break
        if self.mailbox is not None:
            self.mailbox.flush()
        return True


@final
class Fifo:
    """Sequential: first come, first served, whatever the model; nothing is turned away."""

    def __init__(self, models: Sequence[nn.Module]) -> None:
        self._models = models
        self._waiting: deque[Job] = deque()

    @property
    def idle(self) -> bool:
        return not self._waiting

    def take(self, job: Job) -> None:
        self._waiting.append(job)

    def launch(self) -> None:
        job = self._waiting.popleft()
        if not job.future.done():
            job.done((self._models[job.tenant](job.x),))


@final
class PerModel:
    """Dynamic batching as servers do it: the model whose request has waited longest, with all that waits for it.

    Nothing is delayed for company: the device is never idle while something waits. What waits beyond its deadline is turned away.
    """

    def __init__(self, models: Sequence[nn.Module]) -> None:
        self._models = models
        self._waiting: dict[int, deque[Job]] = {}  # tenants in the order of their oldest request, about

    @property
    def idle(self) -> bool:
        return not self._waiting

    def take(self, job: Job) -> None:
        self._waiting.setdefault(job.tenant, deque()).append(job)

    def launch(self) -> None:
        tenant = next(iter(self._waiting))
        jobs, rest = _batch(self._waiting.pop(tenant))
        if rest:
            self._waiting[tenant] = rest
        if len(jobs) == 1:
            jobs[0].done((self._models[tenant](jobs[0].x),))
        elif jobs:
            made = self._models[tenant](torch.cat([job.x for job in jobs]))
            for job, output in zip(jobs, made.split([job.x.shape[0] for job in jobs]), strict=True):
                job.done((output,))


def _batch(waiting: deque[Job]) -> tuple[list[Job], deque[Job]]:
    """The first jobs that are still wanted, up to ``MAX_BATCH`` rows, and the rest."""
    jobs: list[Job] = []
    rows = 0
    while waiting and (not jobs or rows + waiting[0].x.shape[0] <= MAX_BATCH):
        job = waiting.popleft()
        if job.wanted:
            jobs.append(job)
            rows += job.x.shape[0]
    return jobs, waiting


@final
class Ensemble:
    """``torch.func``'s vmap over all models, with zeros for those of whom nothing waits. Late ones are turned away."""

    def __init__(self, models: Sequence[nn.Module], example: Tensor) -> None:
        self._together = ensemble(models)
        self._num_models = len(models)
        self._empty = torch.zeros_like(example[:1])
        self._waiting: dict[int, deque[Job]] = {}

    @property
    def idle(self) -> bool:
        return not self._waiting

    def take(self, job: Job) -> None:
        self._waiting.setdefault(job.tenant, deque()).append(job)

    def launch(self) -> None:
        jobs = [job for tenant in list(self._waiting) if (job := self._next(tenant)) is not None]
        if not jobs:
            return
        rows = max(job.x.shape[0] for job in jobs)
        columns = [self._empty if rows == 1 else self._empty.expand(rows, *self._empty.shape[1:])] * self._num_models
        for job in jobs:
            columns[job.tenant] = job.x if job.x.shape[0] == rows else _padded(job.x, rows)
        made = self._together(torch.stack(columns)).unbind()
        for job in jobs:
            job.done((made[job.tenant][: job.x.shape[0]],))

    def _next(self, tenant: int) -> Job | None:
        waiting = self._waiting[tenant]
        found = None
        while waiting and found is None:
            job = waiting.popleft()
            found = job if job.wanted else None
        if not waiting:
            del self._waiting[tenant]
        return found


def _padded(x: Tensor, rows: int) -> Tensor:
    return torch.cat([x, x.new_zeros(rows - x.shape[0], *x.shape[1:])])


@final
class Echo:
    """No model at all: what is left is the front end."""

    def __init__(self) -> None:
        self._waiting: deque[Job] = deque()

    @property
    def idle(self) -> bool:
        return not self._waiting

    def take(self, job: Job) -> None:
        self._waiting.append(job)

    def launch(self) -> None:
        for job in self._waiting:
            job.done((job.x,))
        self._waiting.clear()


@final
class FrontEnd:
    """``infer`` and ``infer_many`` for one event loop, over one device for all tenants or one for each."""

    def __init__(self, policies: Sequence[Policy], *, patience_s: float) -> None:
        self._devices = [Device(policy, patience_s) for policy in policies]
        self._mailbox: Mailbox | None = None

    def _open(self) -> Mailbox:
        loop = asyncio.get_running_loop()
        if self._mailbox is None or self._mailbox.loop is not loop:
            self._mailbox = Mailbox(loop)
            for device in self._devices:
                device.mailbox = self._mailbox
        return self._mailbox

    def _device(self, tenant: int) -> Device:
        return self._devices[tenant % len(self._devices)]

    async def infer(self, tenant: int, x: Tensor, deadline_s: float | None = None) -> Tensor:
        mailbox = self._open()
        future: asyncio.Future[Any] = mailbox.loop.create_future()
        deadline = None if deadline_s is None else time.perf_counter() + deadline_s
        self._device(tenant).put(Job(tenant, x, deadline, future, functools.partial(mailbox.put, future)))
        outputs = await future
        return outputs[0]  # type: ignore[no-any-return]

    async def infer_many(self, requests: Sequence[tuple[int, Tensor]]) -> list[Tensor]:
        mailbox = self._open()
        future: asyncio.Future[Any] = mailbox.loop.create_future()
        tally = Tally(len(requests), functools.partial(mailbox.put, future))
        for number, (tenant, x) in enumerate(requests):
            self._device(tenant).put(Job(tenant, x, None, future, functools.partial(tally.put, number)))
        return [outputs[0] for outputs in await future]

    def close(self) -> None:
        for device in self._devices:
            device.close()
