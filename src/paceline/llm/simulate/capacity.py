"""How many requests per second a model on a device holds under an SLO: serve at a rate, look, try another."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import compress
from pathlib import Path
from statistics import fmean
from typing import NamedTuple, final

from paceline.clock import to_seconds
from paceline.errors import ConfigError
from paceline.llm.config import EngineConfig
from paceline.llm.load import StepLoad
from paceline.llm.simulate.published import ServedModel
from paceline.llm.simulate.runs import serve
from paceline.llm.simulate.traces import AcceptanceTrace, generate, pick, read_acceptance, under_way
from paceline.llm.simulate.virtual import SIMULATED, Arm
from paceline.metrics import Lifetime, Slo, percentile, slo_attainment
from paceline.sim import bursts, read_trace

Arrivals = Callable[[float], list[int]]
"""Arrival times (µs, ascending) of all requests at a rate per second."""

_PRECISION = 1.04  # of the rate found: one 4 % higher does not hold
_GROWTH = 1.15
_LEAST, _MOST = 0.01, 8.0  # of the plain estimate: below nothing holds, and what seems to hold above came too briefly
_SPAN = 2  # so many requests come as a steady load has at a time
_LEAST_COUNT, _MOST_COUNT = 300, 600


def random_arrivals(count: int, *, variation: float = 1.0, seed: int = 0) -> Arrivals:
    """Gamma-distributed gaps (1: Poisson, 2 to 4: bursts); the same pattern, faster or slower, for every rate."""
    return lambda rate: [arrival.at for arrival in bursts(rate, variation, range(count), seed=seed)]


def recorded_arrivals(times: Sequence[int]) -> Arrivals:
    """Recorded times (µs) with the clock scaled to the wanted mean rate.

    >>> recorded_arrivals([0, 1_000_000, 4_000_000])(1.0)
    [0, 500000, 2000000]
    """
    recorded = (len(times) - 1) / to_seconds(times[-1] - times[0]) if times[-1] > times[0] else 1.0
    return lambda rate: [round((at - times[0]) * recorded / rate) for at in times]


@final
@dataclass(frozen=True, slots=True)
class Setting:
    """What is served, and how it arrives."""

    served: ServedModel
    traces: Sequence[AcceptanceTrace] = field(repr=False)
    arrivals: Arrivals
    config: EngineConfig = SIMULATED
    num_left_out: int = 0  # requests that are longer than the model's context


def make_setting(
    served: ServedModel,
    workload: str,
    slo: Slo,
    *,
    count: int | None = None,
    acceptance: Path | None = None,
    arrivals: Path | None = None,
    variation: float = 1.0,
    seed: int = 0,
    config: EngineConfig = SIMULATED,
) -> Setting:
    """``count`` requests of a workload; None for as many as a steady load takes.

    Drafts fare as in the file ``acceptance``, without it as the published curves say. The file ``arrivals`` gives
    the pattern of arrivals and all lengths; without it gaps are random, with ``variation`` as standard deviation over mean.
    """
    if count is not None and count < 1:
        raise ConfigError(f"the number of requests must be >= 1, got {count}")
    most = count or _MOST_COUNT
    traces = pick(
        generate(workload, most, seed=seed) if acceptance is None else read_acceptance(acceptance),
        workload, most, seed=seed,
    )  # fmt: skip
    times: list[int] = []
    if arrivals is not None:
        recorded = read_trace(arrivals, limit=most)
        times = [at for at, _ in recorded]
        sizes = [(max(1, size.prompt_tokens), max(1, size.output_tokens)) for _, size in recorded]
        traces = [trace.resized(*size) for trace, size in zip(traces, sizes, strict=False)]
    fits = [trace.num_prompt + trace.num_output <= served.max_model_len for trace in traces]
    kept, times = list(compress(traces, fits)), list(compress(times, fits))
    if not kept:
        raise ConfigError(
            f"none of {len(traces)} requests fits into the {served.max_model_len} tokens of {served.model}"
        )
    if count is None:
        count = max(_LEAST_COUNT, _SPAN * estimate(served, kept, slo, config).num_seqs)
    kept, times = kept[:count], times[:count]
    pattern = recorded_arrivals(times) if times else random_arrivals(len(kept), variation=variation, seed=seed)
    return Setting(served, kept, pattern, config, len(fits) - sum(fits))


@final
@dataclass(frozen=True, slots=True)
class Figures:
    """What requests saw at a rate; nan where none counts."""

    rate: float  # requests per second
    attainment: float  # share of requests that met the SLO
    ttft_p50_s: float
    ttft_p99_s: float
    tpot_p50_s: float
    tpot_p99_s: float
    latency_mean_s: float
    latency_p99_s: float
    busy: float  # share of the time


def at_rate(setting: Setting, rate: float, slo: Slo, make: Arm) -> Figures:
    """Serves at ``rate`` requests per second.

    At the start as many requests are under way as a steady load has. Judged are those in the middle of the arrivals: the
    first find what is left of the start, the last find less and less to do.
    """
    return _serve(setting, rate, slo, make, allowed=1.0)


def capacity(
    setting: Setting, slo: Slo, make: Arm, *, share: float = 0.99, guess: float | None = None
) -> Figures | None:
    """The highest rate at which ``share`` of the requests meet ``slo``, to 4 %; None if no rate does.

    ``guess``: where to begin looking; a good one saves time.
    """

    def probe(rate: float) -> Figures | None:
        figures = _serve(setting, rate, slo, make, allowed=1.0 - share)
        return figures if figures.attainment >= share else None

    plain = estimate(setting.served, setting.traces, slo, setting.config).rate
    low = high = guess or plain
    best = probe(low)
    if best is None:
        step = _GROWTH
        while best is None and low > _LEAST * plain:
            high, low, step = low, low / step, step * step
            best = probe(low)
        if best is None:
            return None
    else:
        while low < _MOST * plain and (better := probe(high := low * _GROWTH)) is not None:
            best, low = better, high
    while high / low > _PRECISION:
        middle = math.sqrt(low * high)
        better = probe(middle)
        if better is None:
            high = middle
        else:
            best, low = better, middle
    return best


class Steady(NamedTuple):
    """A load without speculation, if all requests were alike and came evenly."""

    num_seqs: int  # at a time
    rate: float  # requests per second
    tpot_s: float


def estimate(served: ServedModel, traces: Sequence[AcceptanceTrace], slo: Slo, config: EngineConfig) -> Steady:
    """The highest steady load that keeps ``slo``, or that of a request alone."""
    loads = _steady_loads(served, traces, config)
    best = next(loads)
    for load in loads:
        if slo.tpot_s is not None and load.tpot_s > slo.tpot_s:
            break
        best = max(best, load, key=lambda load: load.rate)
    return best


def _steady_loads(served: ServedModel, traces: Sequence[AcceptanceTrace], config: EngineConfig) -> Iterator[Steady]:
    num_prompt = fmean(trace.num_prompt for trace in traces)
    num_output = fmean(trace.num_output for trace in traces)
    prefill_s = served.step_s(StepLoad(round(num_prompt) + 64, 0, 1)) - served.step_s(StepLoad(64, 0, 1))
    num_seqs = 1
    while num_seqs <= config.max_num_seqs:
        step_s = served.step_s(StepLoad(num_seqs, round(num_seqs * (num_prompt + num_output / 2.0)), num_seqs))
        rate = 1.0 / (num_output * step_s / num_seqs + prefill_s)
        yield Steady(num_seqs, rate, step_s / (1.0 - rate * prefill_s))
        num_seqs += 1 + num_seqs // 8


def _serve(setting: Setting, rate: float, slo: Slo, make: Arm, *, allowed: float) -> Figures:
    """Serves until the judged requests have ended, or more than the share ``allowed`` of them have missed ``slo``."""
    loads = _steady_loads(setting.served, setting.traces, setting.config)
    num_seqs = next((load.num_seqs for load in loads if load.rate >= rate), setting.config.max_num_seqs)
    traces = [*under_way(setting.traces, num_seqs), *setting.traces]
    arrivals = [*[0] * num_seqs, *setting.arrivals(rate)]
    count = len(setting.traces)
    judge = _Judge(slo, range(num_seqs + count // 4, num_seqs + count - count // 4), allowed)
    done = serve(setting.served, traces, arrivals, make, config=setting.config, give_up=judge)
    return _figures(rate, judge.lives, done.busy, slo)


@final
class _Judge:
    """Collects the judged requests, and ends a run that has nothing more to tell."""

    def __init__(self, slo: Slo, judged: range, allowed: float) -> None:
        self._slo = slo
        self._judged = judged
        self._allowed = allowed * len(judged)
        self._num_missed = 0
        self.lives: list[Lifetime] = []

    def __call__(self, life: Lifetime) -> bool:
        """Whether the run may end, now that ``life`` has."""
        if int(life.id) in self._judged:
            self.lives.append(life)
            self._num_missed += not self._slo.met_by(life)
        return self._num_missed > self._allowed or len(self.lives) == len(self._judged)


def _figures(rate: float, lives: Sequence[Lifetime], busy: float, slo: Slo) -> Figures:
    ttft, tpot, total = ([s for s in map(of, lives) if s == s] for of in (_ttft, _tpot, _total))
    return Figures(
        rate=rate,
        attainment=slo_attainment(lives, slo),
        ttft_p50_s=percentile(ttft, 50.0),
        ttft_p99_s=percentile(ttft, 99.0),
        tpot_p50_s=percentile(tpot, 50.0),
        tpot_p99_s=percentile(tpot, 99.0),
        latency_mean_s=fmean(total) if total else math.nan,
        latency_p99_s=percentile(total, 99.0),
        busy=busy,
    )


def _ttft(life: Lifetime) -> float:
    return life.ttft_s


def _tpot(life: Lifetime) -> float:
    return life.tpot_s


def _total(life: Lifetime) -> float:
    return life.total_s
