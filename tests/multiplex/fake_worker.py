"""A process of models whose runtime is made up: what a model does is the name of its folder."""

from __future__ import annotations

import os
import queue
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from paceline.errors import DeadlineInfeasible, ExecutionError, InvalidRequest, ModelError, PacelineError, QueueFull
from paceline.multiplex.desk import Desk, Outcome
from paceline.multiplex.messages import RuntimeStats, TenantInfo, TenantStats, TensorInfo, ToEngine
from paceline.multiplex.worker import serve
from paceline.process.child import Child

Inputs = Sequence[torch.Tensor]


def _raise(inputs: Inputs) -> Inputs:
    raise ExecutionError("the launch failed")


def _sleep(inputs: Inputs) -> Inputs:
    time.sleep(float(inputs[0].sum()))
    return inputs


MODELS: dict[str, Callable[[Inputs], Inputs]] = {
    "double": lambda inputs: [tensor * 2 for tensor in inputs],
    "same": lambda inputs: inputs,
    "sleep": _sleep,
    "raise": _raise,
    "crash": lambda inputs: os._exit(7),
    "odd": lambda inputs: [torch.zeros(2, dtype=torch.complex64)],
}
REFUSALS: dict[str, PacelineError] = {
    "full": QueueFull("the queue is full", retry_after_s=2.5),
    "wrong": InvalidRequest("x has the wrong shape", param="x", code="wrong_shape"),
    "late": DeadlineInfeasible("it takes 3 s"),
}


class FakeTicket:
    def __init__(self) -> None:
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


class FakeRuntime:
    """One request after the other, in a thread of its own."""

    def __init__(self) -> None:
        self.num_launches = 0
        self.num_cancelled = 0
        self.models: dict[str, str] = {}
        self._work: queue.SimpleQueue[tuple[str, Inputs, Callable[[Outcome], None], FakeTicket]] = queue.SimpleQueue()
        threading.Thread(target=self._run, daemon=True).start()

    def load(self, name: str, folder: str) -> TenantInfo:
        if not Path(folder).is_dir():
            raise ModelError("there is no such folder")
        if Path(folder).name == "broken":
            raise ZeroDivisionError("a bug while loading")
        self.models[name] = Path(folder).name
        tensor = TensorInfo("x", "float32", (-1, 4))
        return TenantInfo(name=name, inputs=(tensor,), outputs=(tensor,), family="f", coalescible=True)

    def submit(
        self, name: str, inputs: Inputs, *, deadline_s: float | None, priority: int, done: Callable[[Outcome], None]
    ) -> FakeTicket:
        kind = self.models.get(name)
        if kind is None:
            raise InvalidRequest(f"there is no model {name}", param="model")
        if kind in REFUSALS:
            raise REFUSALS[kind]
        ticket = FakeTicket()
        self._work.put((kind, inputs, done, ticket))
        return ticket

    def warmup(self) -> None:
        pass

    def stats(self) -> RuntimeStats:
        tenants = {name: TenantStats(num_done=self.num_launches) for name in self.models}
        return RuntimeStats(num_launches=self.num_launches, num_waiting=self.num_cancelled, tenants=tenants)

    def _run(self) -> None:
        while True:
            kind, inputs, done, ticket = self._work.get()
            if ticket.cancelled:
                self.num_cancelled += 1
                continue
            try:
                outcome: Outcome = MODELS[kind](inputs)
            except PacelineError as error:
                outcome = error
            self.num_launches += 1
            done(outcome)


def main() -> None:
    torch.set_num_threads(1)
    with Child[ToEngine].connect(ToEngine) as child, Desk(FakeRuntime(), child.send) as desk:
        serve(child, desk)


if __name__ == "__main__":
    main()
