"""Logs of the rendered road, parametric detectors over them, and the configurations that a policy chooses from."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Final

from benchmarks.streaming.protocol import AGES_S, CAP_S, FEWEST, RATE_HZ, Protocol
from paceline.streaming.configuration import Configuration, grid
from paceline.streaming.frame import Log, Size
from paceline.streaming.parametric import LADDER, ParametricDetections
from paceline.streaming.pipeline import Pipeline
from paceline.streaming.policy import Policy
from paceline.streaming.profile import Runtimes
from paceline.streaming.render import Drive
from paceline.streaming.select import within_age
from paceline.streaming.sweep import MakePipeline

CONFIGURATIONS: Final = {forecast: grid(LADDER, AGES_S, forecast=forecast) for forecast in (False, True)}
TRAITS: Final = {each.name: (LADDER[each.detector].runtime_s, each.max_age_s) for each in CONFIGURATIONS[False]}
_P99: Final = 2.326  # deviations
_FIRST: Final = {"train": 1_000_000, "test": 1_005_000, "shared": 2_000_000}  # seeds of drives
_APART: Final = 10_000

Scene = tuple[Log, ParametricDetections]


def allowed() -> tuple[str, ...]:
    """Configurations that end in time: jitter of runtimes is log-normal."""
    p99_s = {
        each.name: LADDER[each.detector].runtime_s * (1 + _P99 * LADDER[each.detector].jitter)
        for each in CONFIGURATIONS[False]
    }
    return within_age(p99_s, 1 / RATE_HZ, CAP_S)


def pipelines(forecast: bool) -> MakePipeline:
    return partial(_pipeline, CONFIGURATIONS[forecast])


def _pipeline(configurations: tuple[Configuration, ...], policy: Policy, size: Size) -> Pipeline:
    profiled = {name: [detector.runtime_s] for name, detector in LADDER.items()}
    return Pipeline(configurations, policy, Runtimes(profiled), size=size, max_output_age_s=CAP_S)


def scenes(kind: str, seed: int, count: int, duration_s: float) -> Iterator[Scene]:
    """So many logs with enough in them, in the order of their seeds."""
    place = _FIRST[kind] + seed * _APART
    while count:
        log = Drive(seed=place, duration_s=duration_s, rate_hz=RATE_HZ).log
        place += 1
        if sum(int((~truth.ignored).sum()) for truth in log.truths) < FEWEST * duration_s / 20:
            continue
        count -= 1
        yield log, ParametricDetections(log, seed=seed)


def groups(protocol: Protocol, seed: int) -> tuple[list[tuple[str, int, int]], tuple[str, int, int]]:
    """What a seed learns from and what it is tested on, each as kind, seed and number of logs."""
    if protocol.rotates:
        others = [("shared", other, protocol.num_test) for other in protocol.seeds if other != seed]
        return others, ("shared", seed, protocol.num_test)
    return [("train", seed, protocol.num_train)], ("test", seed, protocol.num_test)
