"""Runs of the engine in virtual time: at a constant number of requests, or as they arrive. No device is needed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice

from msgspec import structs

from paceline.llm.config import EngineConfig
from paceline.llm.request import Request
from paceline.llm.rows import BLOCK_SIZE
from paceline.llm.simulate.proposers import request
from paceline.llm.simulate.published import ServedModel
from paceline.llm.simulate.traces import AcceptanceTrace, under_way
from paceline.llm.simulate.virtual import SIMULATED, Arm, Meter, VirtualEngine
from paceline.metrics import Lifetime
from paceline.sim import Arrival, replay

# ── constant batch ──────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Throughput:
    """Decoding at a constant number of sequences."""

    tokens_per_s: float
    tokens_per_step: float  # of one sequence
    rows_per_step: float  # of one sequence
    step_s: float
    num_steps: int
    prediction_error: float  # moving mean of |predicted - actual| / actual
    num_failures: int  # of the policy or a proposer: steps that were plain for want of an answer


def constant_batch(
    served: ServedModel,
    traces: Sequence[AcceptanceTrace],
    batch: int,
    make: Arm,
    *,
    num_warm_up: int,
    config: EngineConfig = SIMULATED,
    cost_factor: float = 1.0,
) -> Throughput:
    """Always ``batch`` requests at once: one of ``traces`` begins, in order, whenever one ends, until there are no more.

    What ends while the first ``num_warm_up`` of them begin is not counted. At the start ``batch`` others are under way.
    Prompts are free but for their last token: they are found in the prefix cache.
    """
    known = [_after_whole_blocks(trace) for trace in (*under_way(traces, batch), *traces)]
    config = structs.replace(config, max_num_seqs=batch, prefix_caching=True)
    engine = VirtualEngine(served, known, make, config, cost_factor=cost_factor)
    _fill_prefix_cache(engine, max(trace.num_prompt for trace in known))
    requests = (request(index, trace, name=f"{index}") for index, trace in enumerate(known))
    first = [Arrival(engine.virtual.now(), item) for item in islice(requests, batch)]
    meter = engine.meter = Meter(on=False)
    engine.refill = _metered(requests, meter, num_warm_up)
    engine.give_up = lambda life: meter.is_over
    replay(engine, first, engine.execute, clock=engine.virtual)
    return Throughput(
        tokens_per_s=meter.num_tokens / meter.seconds,
        tokens_per_step=meter.num_tokens / meter.num_seqs,
        rows_per_step=meter.num_rows / meter.num_seqs,
        step_s=meter.seconds / meter.num_steps,
        num_steps=meter.num_steps,
        prediction_error=engine.scheduler.cost.error.mean,
        num_failures=engine.num_failures,
    )


def _after_whole_blocks(trace: AcceptanceTrace) -> AcceptanceTrace:
    """The trace with a prompt of whole blocks and one token: the cache holds all but that one."""
    return replace(trace, num_prompt=max(1, round(trace.num_prompt / BLOCK_SIZE)) * BLOCK_SIZE + 1)


def _fill_prefix_cache(engine: VirtualEngine, num_prompt: int) -> None:
    longest = AcceptanceTrace("", num_prompt + BLOCK_SIZE, 1, {})
    replay(engine, [Arrival(0, request(0, longest, name="prefix"))], engine.execute, clock=engine.virtual)


def _metered(requests: Iterator[Request], meter: Meter, num_before: int) -> Iterator[Request]:
    """The requests; the meter runs once ``num_before`` were taken, until one is wanted and there is none."""
    for number, item in enumerate(requests):
        meter.on = number >= num_before
        yield item
    meter.on, meter.is_over = False, True


# ── arrivals ────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Served:
    """What became of requests that arrived in their own time."""

    lives: Sequence[Lifetime] = field(repr=False)  # in order of their ends
    busy: float  # share of the time
    num_preemptions: int
    num_failures: int  # as in ``Throughput``


def serve(
    served: ServedModel,
    traces: Sequence[AcceptanceTrace],
    arrivals: Iterable[int],
    make: Arm,
    *,
    config: EngineConfig = SIMULATED,
    give_up: Callable[[Lifetime], bool] | None = None,
) -> Served:
    """Serves ``traces[i]``, as request ``"i"``, from ``arrivals[i]`` (µs) until all have ended.

    ``give_up`` sees each request that has ended, and ends the run there if it is true.
    """
    engine = VirtualEngine(served, traces, make, structs.replace(config, prefix_caching=False))
    if give_up is not None:
        engine.give_up = give_up
    items = (request(index, trace, name=f"{index}") for index, trace in enumerate(traces))
    done = replay(engine, map(Arrival, arrivals, items), engine.execute, clock=engine.virtual)
    return Served(engine.lives, done.utilisation, engine.scheduler.num_preemptions, engine.num_failures)
