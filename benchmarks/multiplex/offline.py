"""Arms without a front end: callables that take one input per model and give one output per model."""

from __future__ import annotations

import copy
import functools
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap

from benchmarks.common.rounds import interleaved
from benchmarks.multiplex.protocol import LOOP, OURS
from paceline.multiplex import coalesce

Call = Callable[[Sequence[Tensor]], Sequence[Tensor]]
Maker = Callable[[Sequence[nn.Module], Tensor], Call]

_NUM_WORKERS: Final = 2  # threads that share the models of the arm ``threads``
_RECOMPILES: Final = 1024
_MOST_CALLS: Final = 2000  # in a round


def loop(models: Sequence[nn.Module], example: Tensor) -> Call:
    """One model after another."""
    return lambda inputs: [model(x) for model, x in zip(models, inputs, strict=True)]


def threads(models: Sequence[nn.Module], example: Tensor) -> Call:
    """The models in two threads: what a thread per model can be at best, without waking one for every model."""
    pool = ThreadPoolExecutor(_NUM_WORKERS, initializer=torch.set_num_threads, initargs=(1,))
    shares = [range(start, len(models), _NUM_WORKERS) for start in range(_NUM_WORKERS)]

    def part(share: range, inputs: Sequence[Tensor]) -> list[Tensor]:
        with torch.inference_mode():
            return [models[place](inputs[place]) for place in share]

    def call(inputs: Sequence[Tensor]) -> list[Tensor]:
        outputs: list[Any] = [None] * len(models)
        for share, made in zip(shares, pool.map(part, shares, [inputs] * len(shares)), strict=True):
            for place, output in zip(share, made, strict=True):
                outputs[place] = output
        return outputs

    return call


def batching(models: Sequence[nn.Module], example: Tensor) -> Call:
    """One batch through the one model that all tenants share, by hand: as good as it gets."""
    if len({id(model) for model in models}) > 1:
        raise ValueError("a batch needs one model")
    rows = example.shape[0]
    return lambda inputs: models[0](torch.cat(list(inputs))).split(rows)


def ensemble(models: Sequence[nn.Module]) -> Callable[[Tensor], Tensor]:
    """``torch.func``'s: ``[R, n, …] -> [R, n, …]``."""
    base = copy.deepcopy(models[0])  # while it runs its parameters are replaced, and others may run the model
    if all(model is models[0] for model in models):
        parameters: dict[str, Any] = {name: tensor.detach() for name, tensor in base.named_parameters()}
        buffers: dict[str, Any] = dict(base.named_buffers())
        axes: int | None = None
    else:
        parameters, buffers = stack_module_state(list(models))
        parameters = {name: tensor.detach() for name, tensor in parameters.items()}
        axes = 0

    def one(parameters: dict[str, Tensor], buffers: dict[str, Tensor], x: Tensor) -> Any:
        return functional_call(base, (parameters, buffers), (x,))

    together = vmap(one, in_dims=(axes, axes, 0))
    return lambda stacked: together(parameters, buffers, stacked)


def vmapped(models: Sequence[nn.Module], example: Tensor) -> Call:
    together = ensemble(models)
    return lambda inputs: together(torch.stack(list(inputs))).unbind()


def compiled(models: Sequence[nn.Module], example: Tensor) -> Call:
    """Each model compiled by itself."""
    torch._dynamo.config.recompile_limit = _RECOMPILES
    return loop([torch.compile(model) for model in models], example)  # type: ignore[misc]


def paceline(models: Sequence[nn.Module], example: Tensor) -> Call:
    return coalesce(models, (example,))


MAKERS: Final[Mapping[str, Maker]] = {
    LOOP: loop, "threads": threads, "batching": batching, "vmap": vmapped, "compile": compiled, OURS: paceline,
}  # fmt: skip


@dataclass(slots=True)
class Compared:
    """Seconds per call of every arm in every round, and how far its outputs are from the models' own."""

    seconds: dict[str, list[float]] = field(default_factory=dict)
    max_diff: dict[str, float] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)  # arms that cannot do it, and why

    def as_cell(self) -> dict[str, Any]:
        return {"seconds": self.seconds, "max_diff": self.max_diff, "missing": self.missing}


def compare(
    models: Sequence[nn.Module], inputs: Sequence[Tensor], arms: Sequence[str], *, num_rounds: int, round_s: float
) -> Compared:
    """Runs the arms in turns. Made and warmed up before the clock runs; one that raises then is left out."""
    found, calls = Compared(), {}
    with torch.inference_mode():
        expected = [model(x) for model, x in zip(models, inputs, strict=True)]
    for arm in arms:
        try:
            call = MAKERS[arm](models, inputs[0])
            with torch.inference_mode():
                found.max_diff[arm] = max_diff(call(inputs), expected)
        except Exception as error:  # another library's; the result says what it said
            found.missing[arm] = f"{type(error).__name__}: {error}".partition("\n")[0][:200]
        else:
            calls[arm] = functools.partial(call, inputs)
    with torch.inference_mode():
        time_arms(calls, found, num_rounds, round_s)
    return found


def time_arms(calls: Mapping[str, Callable[[], object]], found: Compared, num_rounds: int, round_s: float) -> None:
    """Fills ``found.seconds``; every arm has as many calls in a round as fit into ``round_s``, at least one."""
    counts = {arm: max(1, min(_MOST_CALLS, int(round_s / _seconds(call, 2)))) for arm, call in calls.items()}
    found.seconds = {arm: [] for arm in calls}
    for _, arm in interleaved(list(calls), num_rounds):
        found.seconds[arm].append(_seconds(calls[arm], counts[arm]))


def _seconds(call: Callable[[], object], count: int) -> float:
    began = time.perf_counter()
    for _ in range(count):
        call()
    return (time.perf_counter() - began) / count


def max_diff(outputs: Sequence[Tensor], expected: Sequence[Tensor]) -> float:
    """The largest absolute difference; ValueError if a shape differs."""
    for made, right in zip(outputs, expected, strict=True):
        if made.shape != right.shape:
            raise ValueError(f"an output has shape {list(made.shape)}, should have {list(right.shape)}")
    return max((made - right).abs().max().item() for made, right in zip(outputs, expected, strict=True))


def median_seconds(cell: Mapping[str, Any], arm: str) -> float | None:
    """Of an arm in a stored cell; None if it did not take part."""
    taken = cell["seconds"].get(arm)
    return statistics.median(taken) if taken else None
