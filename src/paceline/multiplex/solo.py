"""Models that cannot be captured: each in a thread of its own, one request after another, beside the device's thread."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, final

import torch
from torch import Tensor, nn

from paceline.clock import WallClock, to_microseconds, to_seconds
from paceline.errors import DeadlineExceeded, ExecutionError, InvalidRequest, NotReady, PacelineError, QueueFull
from paceline.multiplex.capture.check import flat
from paceline.multiplex.hosted import structured
from paceline.multiplex.ledger import Account
from paceline.multiplex.mailbox import Done, Outcome, tell
from paceline.multiplex.messages import TenantInfo, TensorInfo
from paceline.multiplex.tenant import TenantSpec

_RETRY_S: Final = 0.05
_END_S: Final = 5.0  # that closing waits for a request that runs


class _Outputs(tuple[Tensor, ...]):
    """With what they are to be put together; only the model's own Python knows, and only then."""

    together: Callable[[Sequence[Tensor]], Any]


@final
class Job:
    """Something for the model's thread to do. Whoever takes it out of the open ones answers it."""

    __slots__ = ("_open", "done", "run")

    def __init__(self, run: Callable[[], Outcome], done: Done, open_jobs: dict[Job, None]) -> None:
        self.run = run
        self.done = done
        self._open = open_jobs
        open_jobs[self] = None

    def cancel(self) -> None:
        """Nobody wants the answer any more: ``done`` is not called, unless it was just about to be."""
        self._open.pop(self, None)

    def answer(self, outcome: Outcome) -> bool:
        """False if it was answered or cancelled before."""
        try:
            del self._open[self]
        except KeyError:
            return False
        tell(self.done, outcome)
        return True

    @property
    def is_open(self) -> bool:
        return self in self._open


@final
class Solo:
    """A model as it is: its own Python runs, so it may hold up nobody but itself.

    ``flush`` is called after answers; ``threads`` is what one request may use.
    """

    def __init__(
        self,
        spec: TenantSpec,
        model: nn.Module,
        reasons: tuple[str, ...],
        account: Account,
        *,
        threads: int,
        flush: Callable[[], None],
    ) -> None:
        self.spec = spec
        self.reasons = reasons
        self._model = model
        self._account = account
        self._threads = threads
        self._flush = flush
        self._clock = WallClock()
        self._lock = threading.Lock()
        self._open: dict[Job, None] = {}
        self._inbox: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._is_closed = False
        self._thread = threading.Thread(target=self._serve, name=f"solo-{spec.name}", daemon=True)
        self._thread.start()

    @property
    def name(self) -> str:
        return self.spec.name

    def submit(self, inputs: Sequence[Tensor], deadline: int | None, done: Done) -> Job:
        """Queues a request. QueueFull, or NotReady once it is closed."""
        if not inputs or not all([isinstance(each, Tensor) for each in inputs]):
            raise InvalidRequest(f"{self.name} takes tensors", param="inputs")
        until = deadline if deadline is not None else self._clock.now() + to_microseconds(self.spec.slo_s)
        return self._post(lambda: self._outputs(inputs, until), done)

    def update(self, state: Mapping[str, Tensor]) -> None:
        """Gives the model another state, between two requests. InvalidRequest if it does not fit."""
        answer: queue.SimpleQueue[Outcome] = queue.SimpleQueue()
        self._post(lambda: self._load(state), answer.put)
        outcome = answer.get()
        if isinstance(outcome, PacelineError):
            raise outcome

    def close(self) -> None:
        """Answers what is open, also if the model does not come back."""
        with self._lock:
            self._is_closed = True
        self._inbox.put(None)
        for job in list(self._open):
            job.answer(NotReady(f"{self.name} is not served any more"))
        self._flush()

    def join(self) -> None:
        """Waits until the request that runs is over, but not for ever."""
        if threading.current_thread() is not self._thread:
            self._thread.join(_END_S)

    def structured(self, outputs: Sequence[Tensor]) -> Any:
        """The outputs as the model has returned them."""
        assert isinstance(outputs, _Outputs)
        return outputs.together(outputs)

    def info(self, examples: Sequence[Tensor]) -> TenantInfo:
        """What it takes, as far as examples tell; what it gives, only its own Python knows."""
        inputs = [
            TensorInfo(f"input_{place}", str(each.dtype).removeprefix("torch."), (-1, *each.shape[1:]))
            for place, each in enumerate(examples)
        ]
        return TenantInfo(
            name=self.name,
            inputs=tuple(inputs),
            outputs=(),
            family=self.spec.family,
            coalescible=False,
            reasons=self.reasons,
        )

    def _post(self, run: Callable[[], Outcome], done: Done) -> Job:
        with self._lock:
            if self._is_closed:
                raise NotReady(f"{self.name} is not served any more")
            if len(self._open) >= self.spec.max_queued:
                text = f"{len(self._open)} requests of {self.name!r} wait or run, which is its max_queued"
                raise QueueFull(text, retry_after_s=_RETRY_S)
            job = Job(run, done, self._open)
        self._inbox.put(job)
        return job

    # ── its own thread ───────────────────────────────────────────────────────────────────────

    def _serve(self) -> None:
        torch.set_num_threads(self._threads)  # of this thread alone
        while (job := self._inbox.get()) is not None:
            if job.is_open:
                began = self._clock.now()
                try:
                    outcome = job.run()
                except BaseException as error:  # its Python may do anything, also try to exit
                    outcome = ExecutionError(f"{self.name}: the model raised {type(error).__name__}: {error}")
                if job.answer(outcome):
                    self._count(outcome, self._clock.now() - began)
                self._flush()
            del job  # its tensors would stay until the next one comes

    def _count(self, outcome: Outcome, took: int) -> None:
        account = self._account
        account.device += took
        account.num_done += isinstance(outcome, _Outputs)
        account.num_late += isinstance(outcome, DeadlineExceeded)
        account.num_failed += type(outcome) is ExecutionError

    def _outputs(self, inputs: Sequence[Tensor], until: int) -> Outcome:
        late = self._clock.now() - until
        if late > 0:
            return DeadlineExceeded(f"{self.name}: it came up {to_seconds(late):.3g} s after its deadline")
        with torch.no_grad():
            tensors, structure, names = flat(self._model(*inputs))
        outputs = _Outputs(tensors)
        outputs.together = structured(structure, names)
        return outputs

    def _load(self, state: Mapping[str, Tensor]) -> Outcome:
        """Checked before, since torch loads what fits and only then complains."""
        own = self._model.state_dict()
        for name in own.keys() | state.keys():
            if name not in own or name not in state or own[name].shape != state[name].shape:
                return InvalidRequest(
                    f"{self.name}: {name!r} is missing, unknown or of another shape", param="state_dict"
                )
        self._model.load_state_dict(state)
        return ()
