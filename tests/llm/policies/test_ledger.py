"""The two per cent guarantee."""

from __future__ import annotations

from paceline.llm.policies.ledger import Ledger


def until_trip(ledger: Ledger, actual_s: float, plain_s: float = 0.01, most: int = 2000) -> int:
    """Entries until it trips; ``most`` if it does not."""
    return next((step for step in range(most) if ledger.enter(actual_s, plain_s)), most)


def test_small_losses_are_allowed_and_gains_pay_for_losses() -> None:
    assert until_trip(Ledger(), 0.0101) == 2000
    ledger = Ledger()
    for _ in range(200):
        ledger.enter(0.005, 0.01)
    assert until_trip(ledger, 0.012) > 60


def test_the_loss_until_a_trip_is_two_per_cent_of_a_window() -> None:
    for actual_s in (0.0105, 0.012, 0.02):
        steps = until_trip(Ledger(), actual_s)
        assert steps * (actual_s - 0.01) < 0.02 * 256 * 0.014


def test_one_outlier_is_no_reason() -> None:
    assert not Ledger().enter(60.0, 0.01)


def test_cooldowns_double_and_start_anew_after_a_good_window() -> None:
    ledger = Ledger()
    cooldowns = []
    for _ in range(4):
        until_trip(ledger, 0.02)
        ledger.rest(ledger.cooldown, 0.01)
        cooldowns.append(ledger.cooldown)
    assert cooldowns == [64, 128, 256, 512]
    for _ in range(300):
        ledger.enter(0.01, 0.01)
    until_trip(ledger, 0.02)
    assert (ledger.cooldown, ledger.num_trips) == (64, 5)


def test_rest_lets_losses_fade() -> None:
    ledger = Ledger()
    ledger.enter(0.02, 0.01)
    before = ledger.balance_s
    ledger.rest(256, 0.01)
    assert 0.3 * before < ledger.balance_s < 0.4 * before
