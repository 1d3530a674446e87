from __future__ import annotations

import numpy as np
import pytest

from paceline.errors import ConfigError
from paceline.transfer.pictures.sampler import Position, Sampler


def epochs(sampler: Sampler, num: int) -> list[list[int]]:
    return [rows.tolist() for _ in range(num) for rows in sampler]


def test_an_epoch_has_each_picture_once_and_the_short_batch_too() -> None:
    sampler = Sampler(10, batch_size=4, seed=3)
    batches = list(sampler)
    assert [len(rows) for rows in batches] == [4, 4, 2]
    assert sampler.num_batches == 3
    assert sorted(np.concatenate(batches).tolist()) == list(range(10))
    assert epochs(sampler, 1) != [rows.tolist() for rows in batches]


@pytest.mark.parametrize("num_taken", range(10))
def test_it_goes_on_where_it_stood(num_taken: int) -> None:
    whole = epochs(Sampler(10, batch_size=4, seed=3), 4)
    broken = Sampler(10, batch_size=4, seed=3)
    taken: list[list[int]] = []
    while len(taken) < num_taken:
        for rows in broken:
            taken.append(rows.tolist())
            if len(taken) == num_taken:
                break  # as a kill would
    restored = Sampler(10, batch_size=4, seed=3, position=Position(*broken.position))
    rest = epochs(restored, 5)
    assert (taken + rest)[: len(whole)] == whole


def test_after_the_last_batch_the_epoch_is_not_over_until_the_loop_ends() -> None:
    sampler = Sampler(4, batch_size=2, seed=0)
    seen = [sampler.position for _ in sampler]
    assert seen == [Position(0, 2), Position(0, 4)]
    assert sampler.position == Position(1, 0)
    restored = Sampler(4, batch_size=2, seed=0, position=Position(0, 4))
    assert list(restored) == []
    assert restored.position == Position(1, 0)


def test_another_batch_size_keeps_the_order() -> None:
    orders = [np.concatenate(list(Sampler(10, batch_size=size, seed=1))).tolist() for size in (3, 7)]
    assert orders[0] == orders[1]


@pytest.mark.parametrize("position", [Position(-1, 0), Position(0, -1), Position(0, 11)])
def test_positions_that_do_not_fit(position: Position) -> None:
    with pytest.raises(ConfigError, match="does not fit 10 pictures"):
        Sampler(10, batch_size=4, seed=0, position=position)


def test_sizes_below_one() -> None:
    for num_pictures, batch_size in ((0, 1), (1, 0)):
        with pytest.raises(ConfigError, match="must be >= 1"):
            Sampler(num_pictures, batch_size=batch_size, seed=0)
