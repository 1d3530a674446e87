"""The part of ``paceline demo`` that serves many models: 16 tenants one after another, and together."""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from paceline.cli.console import working
from paceline.cli.doctor import is_complete
from paceline.errors import ExecutionError

if TYPE_CHECKING:
    from rich.console import Console
    from torch import Tensor, nn

    from paceline.multiplex import Runtime

_NUM_TENANTS = 16
_WIDTH = 64
_ROUNDS = 30
_ANSWERS = 64  # asked of each tenant
_RTOL, _ATOL = 1e-4, 1e-5  # what ``close`` promises
_SLO_S = 0.005  # in the picture


def show_models(screen: Console) -> None:
    """Runs the models both ways, serves them at once, checks every answer and draws what happens under load."""
    if not is_complete("multiplex") or find_spec("torch") is None:
        screen.print("\n[bold]Many models[/]: left out; they need pip install 'paceline\\[multiplex]'")
        return
    import torch

    from paceline.multiplex import Runtime
    from paceline.multiplex.architectures import build

    screen.print(
        f"\n[bold]Many models[/]: {_NUM_TENANTS} small networks, each with weights of its own; every model gets one row"
    )
    torch.manual_seed(0)
    models = [build("mlp", width=_WIDTH) for _ in range(_NUM_TENANTS)]
    inputs = [torch.randn(1, _WIDTH) for _ in models]
    with working("measuring which kernels are best ...", quiet=not screen.is_terminal):
        apart_s, together_s = _compare(models, inputs)
    screen.print(
        f"  coalesce: one after another {1e6 * apart_s:.0f} µs, together {1e6 * together_s:.0f} µs: "
        f"{apart_s / together_s:.1f} times as fast"
    )
    folder = Path(tempfile.mkdtemp(prefix="paceline-demo-"))
    with Runtime() as runtime:
        for place, (model, x) in enumerate(zip(models, inputs, strict=True)):
            runtime.register(f"tenant-{place}", model, x, slo="1s")
        with working("warming up ...", quiet=not screen.is_terminal):
            runtime.warmup()
        seconds = _serve(runtime, models, inputs)
        stats, explained = runtime.stats(), runtime.explain("tenant-0")
        runtime.trace(folder / "trace.json")
    num = _NUM_TENANTS * _ANSWERS
    screen.print(
        f"  Runtime: {num} requests in {seconds:.2f} s, {num / stats.num_launches:.1f} to a launch; all answers are the models' own"
    )
    screen.print(f"  {explained}", markup=False, soft_wrap=True)
    (folder / "arrivals.svg").write_text(_picture(apart_s / _NUM_TENANTS, together_s))
    screen.print(f"  the same arrivals under three ways to serve them: {folder / 'arrivals.svg'}", soft_wrap=True)
    screen.print(f"  what the runtime did, for ui.perfetto.dev: {folder / 'trace.json'}", soft_wrap=True)


def _compare(models: Sequence[nn.Module], inputs: Sequence[Tensor]) -> tuple[float, float]:
    """Median seconds of the loop and of the models together, in turns, by one thread."""
    import torch

    from paceline.multiplex import coalesce

    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        together = coalesce(models, (inputs[0],))
        with torch.inference_mode():
            expected = [model(x) for model, x in zip(models, inputs, strict=True)]
            _check(together(inputs), expected)
            times = [
                (
                    _seconds(lambda: [model(x) for model, x in zip(models, inputs, strict=True)]),
                    _seconds(lambda: together(inputs)),
                )
                for _ in range(_ROUNDS)
            ]
    finally:
        torch.set_num_threads(num_threads)
    apart_s, together_s = (statistics.median(taken) for taken in zip(*times, strict=True))
    return apart_s, together_s


def _seconds(run: Callable[[], object]) -> float:
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


def _serve(runtime: Runtime, models: Sequence[nn.Module], inputs: Sequence[Tensor]) -> float:
    """Seconds until every tenant, all at once, has had its answers."""
    import torch

    async def tenant(place: int) -> list[Tensor]:
        return [await runtime.infer(f"tenant-{place}", inputs[place]) for _ in range(_ANSWERS)]

    async def all_tenants() -> list[list[Tensor]]:
        return await asyncio.gather(*(tenant(place) for place in range(len(models))))

    began = time.perf_counter()
    answers = asyncio.run(all_tenants())
    seconds = time.perf_counter() - began
    with torch.inference_mode():
        expected = [model(x) for model, x in zip(models, inputs, strict=True)]
    for own in zip(*answers, strict=True):
        _check(own, expected)
    return seconds


def _check(answers: Sequence[Tensor], expected: Sequence[Tensor]) -> None:
    """ExecutionError if an answer is not the model's own."""
    for place, (answer, right) in enumerate(zip(answers, expected, strict=True)):
        if not answer.shape == right.shape or not answer.allclose(right, rtol=_RTOL, atol=_ATOL):
            raise ExecutionError(f"tenant {place} of the demo got another answer than its model gives")


def _picture(alone_s: float, together_s: float) -> str:
    """Twice as much as one after another can do, in virtual time, with launches as long as they were here."""
    from paceline.multiplex.peers import OneByOne, threads
    from paceline.multiplex.picture import Panel, picture
    from paceline.multiplex.simulate import LaunchTime, calls, serve, window
    from paceline.multiplex.tenant import TenantSpec

    specs = [
        TenantSpec(name=f"tenant-{place}", family="mlp", segments=("mlp",), slo_s=_SLO_S)
        for place in range(_NUM_TENANTS)
    ]
    per_slot_s = max(0.0, (together_s - alone_s) / (_NUM_TENANTS - 1))
    times = {"mlp": LaunchTime(max(1e-6, alone_s - per_slot_s), per_slot_s)}
    arrivals = calls(specs, 2.0 / alone_s, 400)
    return picture(
        [
            Panel("one after another", serve(OneByOne(specs), specs, arrivals, times).timeline),
            Panel("a thread for each", threads(specs, arrivals, times).timeline),
            Panel("paceline", serve(window(specs, times), specs, arrivals, times).timeline),
        ]
    )
