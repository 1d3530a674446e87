"""Small models for tests of the runtime, and a gate in front of its launches."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from paceline.multiplex import service
from paceline.multiplex.engine import Runtime
from paceline.multiplex.mailbox import Outcome

SLOW = "60s"  # an SLO that a noisy machine keeps
X = torch.zeros(1, 4)


def small(seed: int = 0, width: int = 8) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(4, width), nn.ReLU(), nn.LayerNorm(width), nn.Linear(width, 3)).eval()


class Lookup(nn.Module):
    """Raises for numbers outside of its table."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.table, self.out = nn.Embedding(10, 4), nn.Linear(4, 2)

    def forward(self, numbers: Tensor) -> Tensor:
        return self.out(self.table(numbers))  # type: ignore[no-any-return]


class Branching(nn.Module):
    """Cannot be captured."""

    def __init__(self) -> None:
        super().__init__()
        self.out = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(x) if x.sum() > 0 else -self.out(x)


@contextmanager
def serving(models: dict[str, nn.Module], example: Tensor = X, **options: Any) -> Iterator[Runtime]:
    with Runtime(**options) as runtime:
        for name, model in models.items():
            runtime.register(name, model, (example,), slo=SLOW)
        yield runtime


def close(made: Tensor, model: nn.Module, *inputs: Tensor) -> bool:
    with torch.inference_mode():
        return torch.allclose(made, model(*inputs), rtol=1e-4, atol=1e-5)


class Answers:
    """Outcomes of requests, for ``done``."""

    def __init__(self) -> None:
        self.outcomes: list[Outcome] = []
        self._came = threading.Semaphore(0)

    def __call__(self, outcome: Outcome) -> None:
        self.outcomes.append(outcome)
        self._came.release()

    def wait(self, count: int = 1) -> list[Outcome]:
        for _ in range(count):
            assert self._came.acquire(timeout=30), "an answer is missing"
        return self.outcomes


class Gate:
    """Launches stop in front of it while it is shut; ``reached`` tells that one has come."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._opened = threading.Event()
        self._opened.set()
        self.reached = threading.Event()
        self.sizes: list[int] = []
        run = service.launch

        def launch(family: Any, segment: int, members: Sequence[Any]) -> Any:
            self.sizes.append(len(members))
            self.reached.set()
            assert self._opened.wait(30)
            return run(family, segment, members)

        monkeypatch.setattr(service, "launch", launch)

    def shut(self) -> None:
        self.reached.clear()
        self._opened.clear()

    def open(self) -> None:
        self._opened.set()

    def stop_at(self, submit: Callable[[], Any]) -> Any:
        """Shuts, submits something and returns when its launch has come."""
        self.shut()
        found = submit()
        assert self.reached.wait(30)
        return found
