"""Accounts of device time."""

from __future__ import annotations

from paceline.multiplex.fairness import Shares
from paceline.multiplex.tenant import Tenant, TenantSpec


def tenant(name: str, weight: float = 1.0, slo_s: float = 0.001) -> Tenant:
    return Tenant(TenantSpec(name=name, family="f", segments=("f/0",), slo_s=slo_s, weight=weight))


def test_using_exactly_ones_share_gives_no_lead() -> None:
    shares, heavy, light = Shares(), tenant("heavy", 3.0), tenant("light")
    shares.enter(heavy)
    shares.enter(light)
    for _ in range(100):
        shares.advance(4000)
        shares.charge(heavy, 3000)
        shares.charge(light, 1000)
    assert (shares.lead(heavy), shares.lead(light)) == (0, 0)


def test_a_lead_is_the_time_until_the_share_has_caught_up_beyond_one_slo() -> None:
    shares, greedy, patient = Shares(), tenant("greedy"), tenant("patient")
    shares.enter(greedy)
    shares.enter(patient)
    shares.advance(10_000)
    shares.charge(greedy, 10_000)
    assert shares.lead(greedy) == 10_000 - 1_000  # it had 5 ms more than its half, which takes 10 ms to earn
    assert shares.lead(patient) == 0
    shares.advance(10_000)
    shares.charge(patient, 10_000)
    assert shares.lead(greedy) == 0


def test_nobody_saves_up_while_away() -> None:
    shares, busy, away = Shares(), tenant("busy"), tenant("away")
    shares.enter(busy)
    shares.advance(1_000_000)
    shares.charge(busy, 1_000_000)
    shares.enter(away)
    shares.advance(4_000)
    shares.charge(away, 4_000)
    assert shares.lead(away) == 3_000


def test_an_idle_device_forgives() -> None:
    shares, greedy, other = Shares(), tenant("greedy"), tenant("other")
    shares.enter(greedy)
    shares.enter(other)
    shares.advance(10_000)
    shares.charge(greedy, 10_000)
    shares.leave(other)
    shares.leave(greedy)
    shares.enter(greedy)
    assert shares.lead(greedy) == 0


def test_the_pace_is_what_a_weight_earns_among_those_who_have_work() -> None:
    shares, heavy, light = Shares(), tenant("heavy", 3.0), tenant("light")
    shares.enter(light)
    assert shares.pace(light) == 1.0
    shares.enter(heavy)
    assert (shares.pace(light), shares.pace(heavy)) == (4.0, 4.0 / 3.0)
