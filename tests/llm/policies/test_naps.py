"""When a plain policy wakes."""

from __future__ import annotations

from paceline.llm.policies.naps import Naps


def slept(naps: Naps, num_decoding: int = 4, most: int = 500) -> int:
    """Steps until it wakes."""
    return next((step for step in range(most) if not naps.rests(num_decoding)), most)


def awake(num_decoding: int = 4) -> Naps:
    naps = Naps()
    assert not naps.rests(num_decoding)
    return naps


def test_naps_grow_to_the_longest_allowed() -> None:
    naps = awake()
    lengths = []
    for _ in range(6):
        naps.sleep(64)
        lengths.append(slept(naps))
    assert lengths == [8, 16, 32, 64, 64, 64]
    naps.sleep(20)
    assert slept(naps) == 20
    naps.stay()
    naps.sleep(64)
    assert slept(naps) == 8


def test_a_new_sequence_wakes_it_soon_but_not_at_once() -> None:
    naps = awake()
    for _ in range(4):
        naps.sleep(64)
        slept(naps)
    naps.sleep(64)
    assert naps.rests(4)
    naps.wake()
    naps.wake()
    assert slept(naps) == 3
    assert naps.glancing


def test_glances_keep_their_distance_and_leave_the_nap_as_it_is() -> None:
    naps = awake()
    for _ in range(4):
        naps.sleep(64)
        slept(naps)
    naps.sleep(64)
    naps.wake()
    slept(naps)
    naps.glanced(20)
    naps.wake()
    assert slept(naps) == 19
    naps.glanced(20)
    assert slept(naps) == 64 - 3 - 1 - 19 - 1
    assert not naps.glancing


def test_another_load_wakes_it_once() -> None:
    naps = awake(7)
    for _ in range(4):
        naps.sleep(64)
        slept(naps, 7)
    naps.sleep(64)
    assert not naps.rests(8)
    naps.sleep(64)
    num_woken = 0
    for step in range(60):
        if not naps.rests(7 + step % 2):
            num_woken += 1
            naps.sleep(64)
    assert num_woken <= 5


def test_cooling_outlasts_new_sequences_but_not_another_load() -> None:
    naps = awake()
    naps.cool(100)
    assert naps.cooling == 100
    naps.wake()
    assert slept(naps) == 100
    naps.cool(100)
    assert not naps.rests(64)
    assert naps.rests(4)


def test_glances_that_find_nothing_move_apart_until_something_is_found() -> None:
    naps = awake()
    apart = []
    for _ in range(6):
        naps.glanced(20)
        apart.append(naps.apart)
    assert apart == [20, 40, 80, 160, 160, 160]
    naps.stay()
    naps.glanced(20)
    assert naps.apart == 20
