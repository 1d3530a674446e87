from __future__ import annotations

import pytest

from paceline.errors import ConfigError
from paceline.transfer.pictures.order import shuffled


def test_each_number_once_and_as_seed_and_turn_say() -> None:
    assert sorted(shuffled(100, 1, 0).tolist()) == list(range(100))
    assert shuffled(100, 1, 2).tolist() == shuffled(100, 1, 2).tolist()
    keys = [(0, 0), (1, 0), (0, 1), (1, 1), (2**32, 0), (2**32 + 1, 0)]
    assert len({tuple(shuffled(100, *key).tolist()) for key in keys}) == len(keys)
    assert shuffled(0, 1, 0).tolist() == []


def test_the_order_is_the_same_for_ever() -> None:
    assert shuffled(8, 2026, 3).tolist() == [4, 1, 5, 7, 2, 0, 6, 3]


def test_negative_seeds() -> None:
    with pytest.raises(ConfigError, match="must be >= 0, got -1"):
        shuffled(3, -1, 0)
