"""``Runtime``: many models on one device, in this process."""

from __future__ import annotations

import asyncio
import atexit
import functools
import queue
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final, TypeAlias, TypeVar, final

from torch import Tensor, nn

from paceline.clock import to_microseconds
from paceline.errors import ConfigError, InvalidRequest, PacelineError
from paceline.multiplex.door import Door
from paceline.multiplex.driver import Driver
from paceline.multiplex.explain import Explained, explain
from paceline.multiplex.family import Numerics
from paceline.multiplex.hosted import Hosted, seconds
from paceline.multiplex.ledger import Ledger
from paceline.multiplex.mailbox import Done, Outcome, Tally
from paceline.multiplex.messages import RuntimeStats, TenantInfo
from paceline.multiplex.models import Model, Models
from paceline.multiplex.ticket import Batch, Cancellable
from paceline.multiplex.trace import chrome_json
from paceline.multiplex.warmup import warm_up
from paceline.process.atomic import write_atomic

_MEMORY_BUDGET: Final = 256 << 20
_LONGEST_S: Final = 1e6  # a deadline
T = TypeVar("T")
Inputs: TypeAlias = Tensor | Sequence[Tensor]


@final
class Runtime:
    """Serves registered models, joining what fits into one launch. All methods may be called from any thread.

    ``numerics``: "close" (results within 1e-4 relative, 1e-5 absolute of the model's own) or "exact" (the same bits for a
    request whatever is served beside it). ``memory_budget`` bounds the bytes of copies of weights that single groups of
    tenants get, per family (None: 256 MiB); ``threads`` is what one launch may use. Closing it answers everybody.

    >>> import torch
    >>> with Runtime() as runtime:
    ...     model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    ...     info = runtime.register("a", model.eval(), (torch.zeros(1, 4),), slo="1s")
    ...     runtime.infer_sync("a", torch.zeros(3, 4)).shape
    torch.Size([3, 2])
    """

    def __init__(
        self, *, device: str = "cpu", numerics: Numerics = "close", memory_budget: int | None = None, threads: int = 1
    ) -> None:
        if threads < 1:
            raise ConfigError(f"threads must be >= 1, got {threads}")
        self._ledger = Ledger()
        self._driver = Driver(self._ledger, threads)
        self._models = Models(
            self._driver, self._ledger, device=device, numerics=numerics, memory_budget=memory_budget or _MEMORY_BUDGET,
            threads=threads,
        )  # fmt: skip
        self._doors: dict[asyncio.AbstractEventLoop, Door] = {}
        self._lock = threading.Lock()
        atexit.register(self.close)  # a process that ends while a thread is in torch aborts

    # ── models ───────────────────────────────────────────────────────────────────────────────

    def register(
        self,
        name: str,
        model: nn.Module,
        example_inputs: Tensor | Sequence[Tensor],
        *,
        slo: float | str = "50ms",
        max_rows: int = 64,
        weight: float = 1.0,
        rate: float | None = None,
        max_queued: int = 64,
    ) -> TenantInfo:
        """Takes a model in, in evaluation mode and with its weights as they are now; ``example_inputs`` show what it takes.

        Dimension 0 of every input counts rows. A model that cannot be captured is served by itself, and its ``reasons`` say
        why. ``slo``: seconds, or a text like "25ms", within which an answer counts. ``max_rows``: rows a launch may hold
        of it; ``weight``: its part of the device when there is not enough for all; ``rate``: requests per second it may
        send; ``max_queued``: how many may wait. ConfigError if a value or the name cannot be had.
        """
        examples = (example_inputs,) if isinstance(example_inputs, Tensor) else tuple(example_inputs)
        bounds = {
            "slo_s": seconds(slo, "slo"),
            "max_rows": max_rows,
            "weight": weight,
            "rate": rate,
            "max_queued": max_queued,
        }
        return self._models.add(name, model, examples, bounds)

    def load(self, name: str, folder: str | Path, **bounds: Any) -> TenantInfo:
        """Takes a model in from a folder; what ``register`` calls ``weight``, ``rate`` and ``max_queued`` may be given.

        ModelError if the folder holds no model, or anything that could run by itself.
        """
        return self._models.load(name, Path(folder), bounds)

    def unregister(self, name: str) -> None:
        """Lets a model go; its requests get NotReady. InvalidRequest if there is none of this name."""
        self._models.remove(name)

    def update_weights(self, name: str, state: Mapping[str, Tensor]) -> None:
        """Gives a model another ``state_dict()``. InvalidRequest if it does not fit.

        Every answer comes from the old weights alone or from the new ones alone.
        """
        self._models.update(name, state)

    def warmup(self, *, max_rows: int = 1) -> None:
        """Measures what is best for the models that are registered, and what it takes, for up to ``max_rows`` rows each.

        Worth its while before traffic: without it, the first requests of each kind wait until that is learned.
        """
        warm_up(self._models, self._driver, max_rows)

    def explain(self, name: str) -> Explained:
        """With whom a model runs, or why it does not. InvalidRequest if there is none of this name."""
        return explain(self._models[name], self._models.hosted())

    # ── requests ─────────────────────────────────────────────────────────────────────────────

    def submit(
        self, name: str, inputs: Sequence[Tensor], *, deadline_s: float | None = None, priority: int = 0, done: Done
    ) -> Cancellable:
        """Takes a request; ``done`` is called once, by a thread of the runtime, with the outputs or the error.

        ``deadline_s``: seconds from now, instead of the model's own. ``inputs`` must not change until then, and the outputs
        must not be written to. InvalidRequest if it does not fit the model, NotReady once the runtime is closed.
        """
        return self._submit(self._models[name], inputs, deadline_s, priority, done)

    def _submit(
        self,
        model: Model,
        inputs: Sequence[Tensor],
        deadline_s: float | None,
        priority: int,
        done: Done,
        door: Door | None = None,
    ) -> Cancellable:
        if not isinstance(inputs, (tuple, list)):
            raise InvalidRequest(f"inputs must be a tuple of tensors, got {type(inputs).__name__}", param="inputs")
        if not isinstance(priority, int):
            raise InvalidRequest(f"priority must be a whole number, got {priority!r}", param="priority")
        deadline = None
        if deadline_s is not None:
            if not 0 < deadline_s < _LONGEST_S:
                raise InvalidRequest(
                    f"deadline_s must be > 0 and below {_LONGEST_S:g}, got {deadline_s}", param="deadline_s"
                )
            deadline = self._driver.clock.now() + to_microseconds(deadline_s)
        if isinstance(model, Hosted):
            rows = model.signature.num_rows(inputs, model.spec.name)
            return self._driver.submit(model, tuple(inputs), rows, deadline, priority, done, door)
        self._driver.require_open()
        return model.submit(inputs, deadline, done)

    async def infer(self, name: str, *inputs: Tensor, deadline_s: float | None = None, priority: int = 0) -> Any:
        """What the model returns for ``inputs``, which must not change until then.

        Raises InvalidRequest, QueueFull, Quarantined or DeadlineInfeasible if it is not even tried, DeadlineExceeded if it came
        too late, ExecutionError if the model failed. Cancelling it drops the request.
        """
        door, model = self._door(), self._models[name]
        future = door.mailbox.loop.create_future()
        ticket = self._submit(model, inputs, deadline_s, priority, functools.partial(door.mailbox.put, future), door)
        try:
            return model.structured(await future)
        except PacelineError:
            raise
        except BaseException:  # nobody waits any more
            ticket.cancel()
            raise

    def infer_sync(self, name: str, *inputs: Tensor, deadline_s: float | None = None, priority: int = 0) -> Any:
        """``infer`` for threads without an event loop."""
        model, answer = self._models[name], queue.SimpleQueue[Outcome]()
        ticket = self._submit(model, inputs, deadline_s, priority, answer.put)
        outcome = self._wait(answer, ticket)
        if isinstance(outcome, PacelineError):
            raise outcome
        return model.structured(outcome)

    async def infer_many(self, requests: Sequence[tuple[str, Inputs]], *, deadline_s: float | None = None) -> list[Any]:
        """What each request gives, in order: what the model returns, or the error that it ended with.

        One wake-up for all of them, so it costs less than as many ``infer``.
        """
        door = self._door()
        future: asyncio.Future[list[Outcome]] = door.mailbox.loop.create_future()
        batch = self._submit_many(requests, deadline_s, functools.partial(door.mailbox.put, future), door)
        try:
            return batch.structured(await future)
        except BaseException:
            batch.cancel()
            raise

    def infer_many_sync(self, requests: Sequence[tuple[str, Inputs]], *, deadline_s: float | None = None) -> list[Any]:
        """``infer_many`` for threads without an event loop."""
        answer: queue.SimpleQueue[list[Outcome]] = queue.SimpleQueue()
        batch = self._submit_many(requests, deadline_s, answer.put)
        outcomes = self._wait(answer, batch)
        return batch.structured(outcomes)

    def _wait(self, answer: queue.SimpleQueue[T], asked: Cancellable) -> T:
        try:
            self._driver.require_other_thread()
            return answer.get()
        except BaseException:  # the user has interrupted it
            asked.cancel()
            raise

    def _submit_many(
        self,
        requests: Sequence[tuple[str, Inputs]],
        deadline_s: float | None,
        done: Callable[[Any], None],
        door: Door | None = None,
    ) -> Batch:
        batch, tally = Batch(), Tally(len(requests), done)
        for place, (name, inputs) in enumerate(requests):
            answered = functools.partial(tally.put, place)
            try:
                model = self._models[name]
                given = (inputs,) if isinstance(inputs, Tensor) else inputs
                batch.tickets.append(self._submit(model, given, deadline_s, 0, answered, door))
                batch.models.append(model)
            except PacelineError as error:
                batch.models.append(None)
                answered(error)
            except BaseException:
                batch.cancel()
                raise
        if not batch.tickets:  # nobody else answers it
            self._driver.flush()
        return batch

    def _door(self) -> Door:
        loop = asyncio.get_running_loop()
        door = self._doors.get(loop)
        if door is None:
            with self._lock:
                for closed in [each for each in self._doors if each.is_closed()]:
                    del self._doors[closed]
                door = self._doors[loop] = Door(loop, self._driver)
                self._driver.doors = tuple(self._doors.values())
        return door

    # ── what people see ──────────────────────────────────────────────────────────────────────

    @property
    def num_launches(self) -> int:
        """Launches that have ended."""
        return self._ledger.num_launches

    def stats(self) -> RuntimeStats:
        """Counters and gauges."""
        num_waiting = 0 if self._driver.is_closed else self._driver.window.num_waiting
        return self._ledger.stats(num_waiting, self._models.families())

    def trace(self, path: str | Path) -> None:
        """Writes the newest requests and launches as a Chrome trace, which Perfetto opens."""
        write_atomic(Path(path), chrome_json(self._ledger.timeline()))

    def close(self) -> None:
        """Ends the runtime; requests that are open get NotReady. Safe to call twice."""
        self._driver.close()
        self._models.close()
        atexit.unregister(self.close)

    def __enter__(self) -> Runtime:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
