"""Tiers B and B2: parametric detectors over rendered drives, in virtual time; spliced, and truly in the closed loop."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any, Final

import numpy as np

from benchmarks.streaming.protocol import CAP_S
from benchmarks.streaming.scenes import TRAITS, Scene, allowed, groups, pipelines
from benchmarks.streaming.work import Work
from paceline.streaming import oracle
from paceline.streaming.examples import change_cost, visited
from paceline.streaming.features import NAMES
from paceline.streaming.fit import Fitted, fit, fit_published, fit_rule, greedy
from paceline.streaming.frame import Floats, Ints
from paceline.streaming.policy import Fixed, Policy
from paceline.streaming.select import PacelinePolicy
from paceline.streaming.sweep import Run, Sweep, run

CELLS: Final = "b/"
_TIMED: Final = 1000  # decisions

Make = Callable[[], Policy]


def measure_b(work: Work) -> None:
    """All seeds without forecast and with it."""
    for seed in work.protocol.seeds:
        for forecast in (False, True):
            name = f"{CELLS}{'forecast' if forecast else 'plain'}/{seed}"
            if work.cells.get(name) is None:
                work.cells.put(name, _measure(work, seed, forecast))
        if not work.protocol.rotates:
            work.forget()


def _measure(work: Work, seed: int, forecast: bool) -> dict[str, Any]:
    train_groups, test_group = groups(work.protocol, seed)
    train = work.sweep(train_groups, forecast)
    began = time.monotonic()
    fitted = _fitted(work, train, work.scenes(train_groups), seed, forecast)
    fit_s = time.monotonic() - began
    test, logs = work.sweep([test_group], forecast), work.scenes([test_group])
    rule, published = fit_rule(train), fit_published(train, seed=seed)
    policies: dict[str, Make] = {
        "static": lambda: Fixed(fitted.advice.static),
        "rule": lambda: rule,
        "forest": lambda: published,
        "paceline": lambda: PacelinePolicy(fitted.advice, allowed=allowed()),
    }
    judge = _Judge(test, fitted.advice.static, {"seed": seed, "forecast": forecast})
    rows = [judge.spliced(name, _spliced(make, test, fitted.advice.static)) for name, make in policies.items()]
    rows += judge.oracles()
    late = 0
    for name, make in policies.items():
        runs = [run(pipelines(forecast), make(), log, found) for log, found in logs]
        rows.append(judge.closed(name, runs))
        late += sum(
            output.emit_us - output.capture_us > CAP_S * 1e6 for each in runs for output in each.simulated.outputs
        )
    return {
        "rows": rows,
        "statics": judge.statics(),
        "decision_us": _decision_us(PacelinePolicy(fitted.advice, allowed=allowed()), test),
        "age_violations": int(late),
        "fit": {
            "seconds": fit_s, "level": fitted.level, "switch_cost": fitted.advice.switch_cost, "explained": fitted.explained,
            "gain": fitted.gain, "worst": fitted.worst, "slope": fitted.advice.slope,
        },
    }  # fmt: skip


def _fitted(work: Work, train: Sweep, logs: Sequence[Scene], seed: int, forecast: bool) -> Fitted:
    """A first policy runs over logs of training; the one that counts also learns from what that one saw, and what its changes cost."""
    first = greedy(train, TRAITS, seed=seed)
    runs = [
        run(pipelines(forecast), PacelinePolicy(first, allowed=allowed()), log, found)
        for log, found in logs[: work.protocol.num_visited]
    ]
    part = train.only(range(len(runs)))
    seen = visited(part, train.configurations.index(first.static), first.traits, runs)
    return fit(train, TRAITS, seed=seed, visited=seen, change_cost=change_cost(part, runs))


def _spliced(make: Make, sweep: Sweep, static: str) -> Ints:
    """What a policy chooses, if each window is one of a run of its configuration alone.  # [L, W]"""
    names = sweep.configurations
    choice = np.zeros(sweep.truths.shape, np.int64)
    for log in range(sweep.num_logs):
        policy = make()
        choice[log, 0] = names.index(policy.choose(None, static, 0))
        for window in range(1, sweep.num_windows):
            ran = int(choice[log, window - 1])
            heard, now_us = float(sweep.agreement[ran, log, window - 1]), window * 1_000_000
            if not np.isnan(heard):
                policy.observe(names[ran], heard, now_us)
            choice[log, window] = names.index(policy.choose(sweep.features[ran, log, window - 1], names[ran], now_us))
    return choice


class _Judge:
    """Rows of the result, of one seed on its test logs."""

    def __init__(self, sweep: Sweep, static: str, about: dict[str, Any]) -> None:
        self._sweep, self._about = sweep, {"tier": "B", **about}
        self._static = sweep.configurations.index(static)
        self._base = self._scores(oracle.always(self._static, sweep.truths))
        self._oracle = self._scores(oracle.window_oracle(sweep.errors, self._static))

    def spliced(self, name: str, choice: Ints) -> dict[str, Any]:
        parts = oracle.split((self._sweep.errors, self._truths), self._sweep.offline_windows, choice, self._static)
        num_switches = float((choice[:, 1:] != choice[:, :-1]).sum(1).mean())
        row = self._row(name, self._scores(choice), closed_loop=False)
        choices = oracle.histogram(choice, self._sweep.configurations)
        return {**row, "num_switches": num_switches, "split": asdict(parts), "choices": choices}

    def oracles(self) -> list[dict[str, Any]]:
        errors, static = self._sweep.errors, self._static
        return [
            self.spliced("previous_oracle", oracle.previous_window_oracle(errors, static)),
            self.spliced("log_oracle", oracle.log_oracle(errors)),
            self.spliced("path_oracle", oracle.path_oracle(errors, switch_cost=1.0)),
            self.spliced("oracle", oracle.window_oracle(errors, static)),
        ]

    def closed(self, name: str, runs: Sequence[Run]) -> dict[str, Any]:
        row = self._row(name, np.array([each.score for each in runs]), closed_loop=True)
        return {**row, "num_switches": float(np.mean([len(each.simulated.switches) - 1 for each in runs]))}

    def statics(self) -> dict[str, float]:
        """Mean over test logs of every configuration alone."""
        every = oracle.mota_of(self._sweep.errors.sum(2), self._sweep.truths.sum(1))
        return dict(zip(self._sweep.configurations, np.nanmean(every, axis=1).tolist(), strict=True))

    def _row(self, name: str, scores: Floats, *, closed_loop: bool) -> dict[str, Any]:
        closed = oracle.share_closed(scores, self._base, self._oracle)
        over = oracle.interval(scores - self._base)
        return {
            **self._about,
            "closed_loop": closed_loop,
            "policy": name,
            "s_mota": float(np.nanmean(scores)),
            "relative_gain": float(np.nanmean(scores) / np.nanmean(self._base) - 1),
            "gain_low": over.low,
            "gain_high": over.high,
            "oracle_gap_closed": closed.value,
            "oracle_gap_closed_low": closed.low,
            "oracle_gap_closed_high": closed.high,
            "worst5": oracle.worst(scores, self._base),
            "regret": oracle.regret(scores, self._oracle),
        }

    def _scores(self, choice: Ints) -> Floats:
        return oracle.scores(self._sweep.errors, self._sweep.truths, choice)

    @property
    def _truths(self) -> Ints:
        return np.broadcast_to(self._sweep.truths, self._sweep.errors.shape)


def _decision_us(policy: Policy, sweep: Sweep) -> dict[str, float]:
    """Time of a choice, over windows as the static configuration showed them."""
    told = sweep.features[0].reshape(-1, len(NAMES))
    told = told[~np.isnan(told).any(1)]
    taken = []
    for place in range(_TIMED):
        began = time.perf_counter_ns()
        policy.choose(told[place % len(told)], sweep.configurations[0], 0)
        taken.append((time.perf_counter_ns() - began) / 1000)
    return {"p50": float(np.percentile(taken, 50)), "p99": float(np.percentile(taken, 99))}
