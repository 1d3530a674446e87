"""The window in virtual time: goodput under overload, fairness, a noisy neighbour; all figures are the same on every machine."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from heapq import merge

import pytest

from paceline.multiplex.peers import OneByOne, PerTenant
from paceline.multiplex.simulate import (
    Arm,
    Call,
    LaunchTime,
    Mix,
    Served,
    Times,
    alone,
    calls,
    held_rate,
    serve,
    window,
)
from paceline.multiplex.tenant import TenantSpec
from paceline.sim import Arrival
from tests.multiplex.windows import many, spec

ONE: Times = {"f": LaunchTime(250e-6, 6e-6, 2e-6)}
SOLO_S = ONE["f"].seconds(1, 1)
FULL = 16 / ONE["f"].seconds(16, 1)
"""Requests per second of sixteen tenants, one row of each in every launch."""


def sixteen(slo_x: float = 5.0) -> list[TenantSpec]:
    return many(16, slo_s=slo_x * SOLO_S)


def mixed(slo_x: float = 5.0) -> tuple[list[TenantSpec], Times, float]:
    """Three families of eight and two models that join nobody; their capacity."""
    times = {f"m{place}": LaunchTime(200e-6 + place * 60e-6, 10e-6, 2e-6) for place in range(3)}
    times |= {f"odd{place}": LaunchTime(400e-6, 0.0, 5e-6) for place in range(2)}
    specs = [
        each
        for key, time in times.items()
        for each in many(8 if key[0] == "m" else 1, key, slo_s=slo_x * time.seconds(1, 1))
    ]
    seconds = sum(time.seconds(8 if key[0] == "m" else 1, 1) for key, time in times.items())
    return specs, times, len(specs) / seconds


def layered(slo_x: float = 5.0) -> tuple[list[TenantSpec], Times, float]:
    """Sixteen models of three equal layers and a head."""
    times = {"layer": LaunchTime(100e-6, 6e-6, 2e-6), "head": LaunchTime(60e-6, 3e-6, 1e-6)}
    chain = ("layer", "layer", "layer", "head")
    solo_s = sum(times[key].seconds(1, 1) for key in chain)
    specs = [spec(f"t{place}", segments=chain, slo_s=slo_x * solo_s) for place in range(16)]
    return specs, times, 16 / sum(times[key].seconds(16, 1) for key in chain)


class Noisy:
    """Launch times that vary by a tenth, and pauses of a millisecond now and then."""

    def __init__(self, time: LaunchTime) -> None:
        self._time = time
        self._chance = random.Random(0)

    def seconds(self, num_slots: int, rows_each: int) -> float:
        pause = 1e-3 if self._chance.random() < 0.002 else 0.0
        return self._time.seconds(num_slots, rows_each) * self._chance.lognormvariate(0.0, 0.1) + pause


def sweep(
    make: Callable[[], Arm], specs: list[TenantSpec], times: Times, capacity: float, mix: Mix = "poisson"
) -> list[float]:
    """Goodput at 0.5, 0.75, 1 and 1.5 times the capacity."""
    rates = [share * capacity for share in (0.5, 0.75, 1.0, 1.5)]
    return [serve(make(), specs, calls(specs, rate, 2000, mix=mix, seed=1), times).goodput for rate in rates]


# ── goodput ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.gate
@pytest.mark.parametrize("mix", ["poisson", "bursts", "zipf"])
def test_goodput_beyond_the_capacity_stays_at_its_peak(mix: Mix) -> None:
    specs = sixteen()
    goodput = sweep(lambda: window(specs, ONE), specs, ONE, FULL, mix)
    assert goodput[-1] >= 0.9 * max(goodput)


@pytest.mark.gate
@pytest.mark.parametrize("mix", ["poisson", "bursts", "zipf"])
@pytest.mark.parametrize("case", [mixed, layered])
def test_so_it_does_for_mixed_architectures_and_for_layers(
    case: Callable[[], tuple[list[TenantSpec], Times, float]], mix: Mix
) -> None:
    specs, times, capacity = case()
    goodput = sweep(lambda: window(specs, times), specs, times, capacity, mix)
    assert goodput[-1] >= 0.9 * max(goodput)


@pytest.mark.gate
@pytest.mark.parametrize("slo_x", [2.0, 3.0, 10.0])
def test_so_it_does_for_tight_and_wide_deadlines(slo_x: float) -> None:
    specs = sixteen(slo_x)
    goodput = sweep(lambda: window(specs, ONE), specs, ONE, FULL)
    assert goodput[-1] >= 0.9 * max(goodput)


@pytest.mark.gate
def test_so_it_does_on_a_noisy_machine() -> None:
    specs = sixteen()
    noisy = {"f": Noisy(ONE["f"])}
    goodput = sweep(lambda: window(specs, ONE), specs, noisy, FULL)  # type: ignore[arg-type]
    assert goodput[-1] >= 0.9 * max(goodput)


@pytest.mark.gate
@pytest.mark.parametrize("mix", ["poisson", "bursts", "zipf"])
def test_the_best_peer_is_beaten_by_half_at_least(mix: Mix) -> None:
    specs = sixteen()
    arrivals = calls(specs, 1.5 * FULL, 2000, mix=mix, seed=1)
    ours = serve(window(specs, ONE), specs, arrivals, ONE).goodput
    peers = [serve(make(specs), specs, arrivals, ONE).goodput for make in (OneByOne, PerTenant)]
    assert ours >= 1.5 * max(peers)


@pytest.mark.gate
def test_coalescing_holds_many_times_the_rate_of_the_same_scheduler_without_it() -> None:
    specs = sixteen()
    with_it = held_rate(lambda: window(specs, ONE), specs, ONE, num=1000, precision=0.1)
    without = held_rate(lambda: alone(specs, ONE), specs, ONE, num=1000, precision=0.1)
    assert with_it >= 4.0 * without > 0.0


def test_a_deadline_that_nobody_can_meet_holds_no_rate() -> None:
    specs = sixteen(0.5)
    assert held_rate(lambda: window(specs, ONE), specs, ONE, num=50) < 0.01


@pytest.mark.gate
def test_requests_that_come_together_are_held_for_each_other() -> None:
    specs = sixteen(2.0)
    chance = random.Random(0)
    arrivals = sorted(
        Arrival(tick * 2000 + chance.randrange(100), Call(each.name)) for tick in range(100) for each in specs
    )
    assert serve(window(specs, ONE), specs, arrivals, ONE).attainment >= 0.95


def test_below_capacity_everyone_is_in_time() -> None:
    specs = sixteen(10.0)
    served = serve(window(specs, ONE), specs, calls(specs, 0.5 * FULL, 2000), ONE)
    assert served.attainment == 1.0
    assert served.latency_s(99) <= 10.0 * SOLO_S


# ── fairness ────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.gate
@pytest.mark.parametrize("load", [2.0, 5.0])
def test_device_time_goes_by_weight_when_there_is_not_enough(load: float) -> None:
    specs = [spec(name, weight=weight, stackable=False) for name, weight in (("heavy", 3.0), ("a", 1.0), ("b", 1.0))]
    served = serve(window(specs, ONE), specs, calls(specs, load / SOLO_S, 3000, seed=2), ONE)
    heavy, a, b = [sum(record.in_time for record in served.of(each.name)) for each in specs]
    assert heavy / a == pytest.approx(3.0, rel=0.15)
    assert heavy / b == pytest.approx(3.0, rel=0.15)


@pytest.mark.gate
def test_whoever_comes_later_gets_a_share_and_no_more() -> None:
    specs = [spec(name, stackable=False) for name in ("first", "later")]
    early = calls(specs[:1], 2.0 / SOLO_S, 4000, seed=1)
    half = early[len(early) // 2].at
    late = [Arrival(half + at, call) for at, call in calls(specs[1:], 2.0 / SOLO_S, 2000, seed=2)]
    served = serve(window(specs, ONE), specs, list(merge(early, late, key=lambda arrival: arrival.at)), ONE)
    first = sum(record.in_time and record.arrival > half for record in served.of("first"))
    later = sum(record.in_time for record in served.of("later"))
    assert first == pytest.approx(later, rel=0.15)


def in_time(served: Served, specs: Sequence[TenantSpec]) -> float:
    records = [record for each in specs for record in served.of(each.name)]
    return sum(record.in_time for record in records) / len(records)


@pytest.mark.gate
@pytest.mark.parametrize("stackable", [False, True])
@pytest.mark.parametrize(("times_rate", "rows"), [(10, 1), (1, 64)], ids=["ten times the rate", "wide requests"])
def test_a_noisy_neighbour_harms_nobody_else(stackable: bool, times_rate: int, rows: int) -> None:
    specs = many(8, slo_s=0.003, stackable=stackable)
    rate = (0.6 if stackable else 0.09) / SOLO_S
    quiet = calls(specs[1:], 7 * rate, 1500, seed=2)
    noise = [
        Arrival(at, Call("f0", rows))
        for at, _ in calls(specs[:1], times_rate * rate, 1500 * times_rate, seed=9)
        if at <= quiet[-1].at
    ]
    both = list(merge(quiet, noise, key=lambda arrival: arrival.at))
    before = in_time(serve(window(specs, ONE), specs, quiet, ONE), specs[1:])
    assert in_time(serve(window(specs, ONE), specs, both, ONE), specs[1:]) >= before - 0.02


# ── the instrument itself ───────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("mix", ["poisson", "bursts", "zipf"])
def test_arrivals_have_the_rate_that_was_asked_for_and_a_seed(mix: Mix) -> None:
    specs = sixteen()
    arrivals = calls(specs, 1000.0, 8000, mix=mix, seed=3)
    assert arrivals == calls(specs, 1000.0, 8000, mix=mix, seed=3)
    assert arrivals != calls(specs, 1000.0, 8000, mix=mix, seed=4)
    assert [arrival.at for arrival in arrivals] == sorted(arrival.at for arrival in arrivals)
    assert 8000 / (arrivals[-1].at * 1e-6) == pytest.approx(1000.0, rel=0.2 if mix == "bursts" else 0.05)


def test_the_first_of_a_zipf_mix_sends_most() -> None:
    specs = sixteen()
    sent = [arrival.item.tenant for arrival in calls(specs, 1000.0, 4000, mix="zipf")]
    assert sent.count("f0") == pytest.approx(4 * sent.count("f3"), rel=0.2)


def test_equal_runs_are_equal() -> None:
    specs = sixteen()
    arrivals = calls(specs, 1.2 * FULL, 500)
    first, second = (serve(window(specs, ONE), specs, arrivals, ONE) for _ in range(2))
    assert list(first.timeline.launches) == list(second.timeline.launches)
    assert list(first.timeline.requests) == list(second.timeline.requests)


@pytest.mark.parametrize(
    "make", [window, alone, lambda specs, times: OneByOne(specs), lambda specs, times: PerTenant(specs)]
)
def test_every_call_is_answered_once_in_every_arm(make: Callable[..., Arm]) -> None:
    specs, times, capacity = layered()
    arrivals = calls(specs, capacity, 300)
    served = serve(make(specs, times), specs, arrivals, times)
    assert sorted(int(record.id) for record in served.timeline.requests) == list(range(300))


def test_without_coalescing_is_the_same_window_with_models_that_join_nobody() -> None:
    specs = sixteen()
    served = serve(alone(specs, ONE), specs, calls(specs, FULL, 300), ONE)
    assert {launch.num_slots for launch in served.timeline.launches} == {1}
    changed = [replace(each, stackable=False) for each in specs]
    assert served.goodput == serve(window(changed, ONE), specs, calls(specs, FULL, 300), ONE).goodput


def test_predictions_hold_after_a_while() -> None:
    specs = sixteen()
    made = partial(window, specs, ONE)()
    serve(made, specs, calls(specs, FULL, 2000), ONE)
    for num_slots in (1, 4, 8):
        assert made.costs["f"].predict(num_slots, 1).mean == pytest.approx(
            1e6 * ONE["f"].seconds(num_slots, 1), rel=0.15
        )
