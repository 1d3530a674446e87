"""Where requests of other processes reach the runtime, and its answers leave."""

from __future__ import annotations

import contextlib
import logging
import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Protocol, final

import torch

from paceline.errors import ExecutionError, PacelineError
from paceline.multiplex.config import MultiplexConfig
from paceline.multiplex.messages import (
    ITEM_BYTES,
    Answer,
    Answers,
    Array,
    AskStats,
    Cancel,
    Infer,
    Load,
    Loaded,
    NotLoaded,
    Piece,
    Pieces,
    Refused,
    RuntimeStats,
    Serve,
    Stats,
    TenantInfo,
    ToEngine,
    pack,
    refusal,
)
from paceline.process.frames import ChannelClosed

_log = logging.getLogger(__name__)

_MAX_ANSWERS = 128  # in one frame: with what else is in them, half of what a frame may hold

Outcome = Sequence[torch.Tensor] | PacelineError


class Ticket(Protocol):
    """A request that the runtime has taken."""

    def cancel(self) -> None: ...


class RequestRuntime(Protocol):
    """What a desk needs of the runtime. Every method may be called from any thread."""

    @property
    def num_launches(self) -> int:
        """Launches that have ended; grows as long as the device works."""
        ...

    def load(self, name: str, folder: str) -> TenantInfo: ...
    def submit(
        self,
        name: str,
        inputs: Sequence[torch.Tensor],
        *,
        deadline_s: float | None,
        priority: int,
        done: Callable[[Outcome], None],
    ) -> Ticket:
        """Takes a request or raises a RejectedError. ``done`` is called once, by the runtime's thread, unless cancelled."""
        ...

    def warmup(self) -> None:
        """Measures what the loaded models take, so that the first requests need not."""
        ...

    def stats(self) -> RuntimeStats: ...


@contextlib.contextmanager
def open_runtime(config: MultiplexConfig) -> Iterator[RequestRuntime]:
    """The runtime that ``config`` asks for, closed at the end."""
    from paceline.multiplex.engine import Runtime

    device = ("cuda" if torch.cuda.is_available() else "cpu") if config.device == "auto" else config.device
    with Runtime(
        device=device, numerics=config.numerics, memory_budget=config.memory_budget, threads=config.threads
    ) as runtime:
        yield runtime


@final
class Desk:
    """Open requests between a channel and a runtime.

    One thread calls ``take``; a thread of the desk sends, so that the runtime never waits for a slow reader, and
    whatever was done meanwhile leaves in one frame. A third loads models.
    """

    def __init__(self, runtime: RequestRuntime, send: Callable[[object], None]) -> None:
        self._runtime = runtime
        self._send = send
        self._pieces = Pieces()
        self._lock = threading.Lock()
        self._open: dict[int, Ticket | None] = {}  # until the answer is sent
        self._outbox: queue.SimpleQueue[tuple[int, Outcome] | None] = queue.SimpleQueue()
        self._num_seen = 0
        self._loader = ThreadPoolExecutor(1, thread_name_prefix="load")
        self._sender = threading.Thread(target=self._run, name="answers", daemon=True)
        self._sender.start()

    @property
    def idle(self) -> bool:
        return not self._open

    def stalled(self) -> bool:
        """Whether requests are open and no launch has ended since the last call."""
        before, self._num_seen = self._num_seen, self._runtime.num_launches
        return bool(self._open) and self._num_seen == before

    def take(self, message: ToEngine) -> None:
        """Does what the parent asks; what it cannot do is answered, not raised."""
        match message:
            case Piece():
                self._pieces.add(message)
            case Infer():
                self._submit(message)
            case Cancel(number):
                self._pieces.drop(number)
                with self._lock:
                    ticket = self._open.pop(number, None)
                if ticket is not None:
                    ticket.cancel()
            case AskStats():
                self._send(Stats(self._runtime.stats()))
            case Load():
                self._loader.submit(self.load, message)
            case Serve():
                pass  # said once, before the first request

    def load(self, message: Load) -> None:
        """Registers the model of a folder and says how it went."""
        try:
            self._send(Loaded(self._runtime.load(message.name, message.folder)))
        except PacelineError as error:
            self._send(NotLoaded(message.name, str(error)))
        except ChannelClosed:
            raise
        except Exception as error:
            _log.exception("model %s cannot be loaded", message.name)
            self._send(NotLoaded(message.name, f"{type(error).__name__}: {error}"))

    def warm_up(self) -> None:
        """Call it when the first models are loaded, before requests come."""
        self._runtime.warmup()

    def _submit(self, message: Infer) -> None:
        number = message.id
        with self._lock:
            self._open[number] = None
        try:
            inputs = [to_tensor(array) for array in self._pieces.unpack(number, message.inputs)]
            ticket = self._runtime.submit(
                message.model, inputs, deadline_s=message.deadline_s, priority=message.priority,
                done=lambda outcome: self._outbox.put((number, outcome)),
            )  # fmt: skip
        except PacelineError as error:
            self._outbox.put((number, error))
            return
        with self._lock:
            if number in self._open:  # not answered yet
                self._open[number] = ticket

    # -- the thread that sends --------------------------------------------------------------------------

    def _run(self) -> None:
        with contextlib.suppress(ChannelClosed):  # whoever receives notices, too, and ends this process
            while outcomes := self._next_outcomes():
                self._deliver(outcomes)

    def _next_outcomes(self) -> list[tuple[int, Outcome]]:
        """Waits for an outcome and takes those that have come meanwhile; empty at the end."""
        outcomes: list[tuple[int, Outcome]] = []
        while not outcomes or (len(outcomes) < _MAX_ANSWERS and not self._outbox.empty()):
            item = self._outbox.get()
            if item is None:
                self._outbox.put(None)  # found again by the next call
                break
            outcomes.append(item)
        return outcomes

    def _deliver(self, outcomes: Sequence[tuple[int, Outcome]]) -> None:
        answers: list[Answer] = []
        for number, outcome in outcomes:
            if number not in self._open:  # cancelled
                continue
            for frame in frames(number, outcome):
                if isinstance(frame, Answer):
                    answers.append(frame)
                else:
                    self._send(frame)
        if answers:
            self._send(Answers(answers))
        with self._lock:
            for number, _ in outcomes:
                self._open.pop(number, None)

    def __enter__(self) -> Desk:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._outbox.put(None)
        self._loader.shutdown(wait=False, cancel_futures=True)
        if error is None:
            self._sender.join()


def frames(number: int, outcome: Outcome) -> Iterator[Piece | Answer | Refused]:
    """What to send for the outcome of a request; outputs that cannot be sent become an ExecutionError."""
    if not isinstance(outcome, PacelineError):
        try:
            ahead, outputs = pack(number, [to_array(tensor) for tensor in outcome])
        except ExecutionError as error:
            outcome = error
        else:
            yield from ahead
            yield Answer(number, outputs)
            return
    yield refusal(number, outcome)


def to_tensor(array: Array) -> torch.Tensor:
    """A tensor with the numbers of ``array``, in memory of its own."""
    dtype = getattr(torch, array.dtype)
    if array.num_bytes == 0:
        return torch.empty(array.shape, dtype=dtype)
    return torch.frombuffer(bytearray().join(array.pieces), dtype=dtype).view(array.shape)


def to_array(tensor: torch.Tensor) -> Array:
    """The numbers of ``tensor``, which must not change while they are sent. ExecutionError for types without a name."""
    dtype = str(tensor.dtype).removeprefix("torch.")
    if dtype not in ITEM_BYTES:
        raise ExecutionError(f"an output of type {dtype} cannot be sent")
    flat = tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy()
    return Array(dtype, tuple(tensor.shape), (flat.data,))
