"""The served arms: 16 models behind ``infer``, opened together and asked in turns."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from typing import Any, Final, Protocol, final

import torch
from torch import Tensor, nn

from benchmarks.multiplex.offline import ensemble
from benchmarks.multiplex.peers import Ensemble, Fifo, FrontEnd, PerModel
from benchmarks.multiplex.protocol import LOOP, OURS
from paceline.multiplex import Runtime

PATIENCE_S: Final = 100e-6  # that answers of a peer wait for others, so that one wake-up serves several
_SLO_S: Final = 30.0  # where a request says nothing


class Arm(Protocol):
    """Tenants are numbers from 0."""

    def infer(self, tenant: int, x: Tensor, deadline_s: float | None = None) -> Awaitable[Any]: ...

    def infer_many(self, requests: Sequence[tuple[int, Tensor]]) -> Awaitable[list[Any]]: ...

    def close(self) -> None: ...


@final
class Paceline:
    """The runtime, warmed up."""

    def __init__(
        self, models: Sequence[nn.Module], example: Tensor, *, numerics: Any = "close", max_rows: int = 1
    ) -> None:
        self.runtime = Runtime(numerics=numerics)
        self._names = [f"tenant-{place}" for place in range(len(models))]
        for name, model in zip(self._names, models, strict=True):
            self.runtime.register(name, model, example, slo=_SLO_S)
        self.runtime.warmup(max_rows=max_rows)

    def infer(self, tenant: int, x: Tensor, deadline_s: float | None = None) -> Awaitable[Any]:
        return self.runtime.infer(self._names[tenant], x, deadline_s=deadline_s)

    def infer_many(self, requests: Sequence[tuple[int, Tensor]]) -> Awaitable[list[Any]]:
        return self.runtime.infer_many([(self._names[tenant], x) for tenant, x in requests])

    def close(self) -> None:
        self.runtime.close()


@contextlib.contextmanager
def opened(
    models: Sequence[nn.Module], example: Tensor, *, patience_s: float = PATIENCE_S, max_rows: int = 1
) -> Iterator[dict[str, Arm]]:
    """Every arm that can serve these models, by its name."""
    makers: Mapping[str, Callable[[], Arm]] = {
        LOOP: lambda: FrontEnd([Fifo(models)], patience_s=patience_s),
        "threads": lambda: FrontEnd([Fifo(models) for _ in models], patience_s=patience_s),
        "batching": lambda: FrontEnd([PerModel(models)], patience_s=patience_s),
        OURS: lambda: Paceline(models, example, max_rows=max_rows),
    }
    with contextlib.ExitStack() as stack:
        arms = {name: make() for name, make in makers.items()}
        for arm in arms.values():
            stack.callback(arm.close)
        if _can_vmap(models, example):
            arms["vmap"] = FrontEnd([Ensemble(models, example)], patience_s=patience_s)
            stack.callback(arms["vmap"].close)
        yield arms


def _can_vmap(models: Sequence[nn.Module], example: Tensor) -> bool:
    """``torch.func`` has no rule for some operators, LSTMs among them."""
    try:
        with torch.inference_mode():
            ensemble(models)(torch.stack([example] * len(models)))
    except (RuntimeError, NotImplementedError):
        return False
    return True


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """No garbage is collected meanwhile."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
