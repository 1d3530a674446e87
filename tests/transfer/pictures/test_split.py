from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from paceline.errors import ConfigError
from paceline.transfer.pictures.split import split

SHARES = {"train": 0.7, "val": 0.15, "test": 0.15}


def labelled(*counts: int) -> NDArray[np.int64]:
    return np.repeat(np.arange(len(counts)), counts)


def test_every_picture_is_in_one_part_and_every_class_in_each() -> None:
    labels = labelled(100, 40, 10, 3)
    parts = split(labels, SHARES, seed=1)
    assert sorted(np.concatenate(list(parts.values())).tolist()) == list(range(len(labels)))
    assert {name: np.bincount(labels[rows]).tolist() for name, rows in parts.items()} == {
        "train": [70, 28, 7, 1],
        "val": [15, 6, 2, 1],
        "test": [15, 6, 1, 1],
    }
    assert all((np.diff(rows) > 0).all() for rows in parts.values())


def test_the_seed_decides() -> None:
    labels = labelled(50, 50)
    first, again, other = (split(labels, SHARES, seed)["val"].tolist() for seed in (1, 1, 2))
    assert first == again != other


def test_a_further_class_moves_nothing() -> None:
    few, more = split(labelled(30, 30), SHARES, 5), split(labelled(30, 30, 30), SHARES, 5)
    assert all(set(few[name]) <= set(more[name]) for name in SHARES)


def test_copies_stay_together() -> None:
    labels = labelled(60, 60)
    rng = np.random.default_rng(0)
    digests = [bytes([label, number]) for label, number in zip(labels, rng.integers(0, 25, 120), strict=True)]
    for seed in range(20):
        parts = split(labels, {"train": 0.8, "val": 0.2}, seed, digests)
        train, val = ({digests[row] for row in rows} for rows in parts.values())
        assert not train & val
        assert 0.1 < len(parts["val"]) / 120 < 0.3


def test_a_copy_under_another_label_stays_together_too() -> None:
    digests = [b"a", b"b", b"c", b"a", b"d", b"e"]
    for seed in range(10):
        for rows in split(labelled(3, 3), {"train": 0.6, "val": 0.4}, seed, digests).values():
            assert (0 in rows) == (3 in rows)


def test_one_part_takes_all() -> None:
    assert split(labelled(1, 2), {"train": 1.0}, 0)["train"].tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("labels", "digests", "classes", "message"),
    [
        (
            labelled(5, 1),
            None,
            ("robin", "wren"),
            r"needs 3 different pictures, one for each of train, val, test; too few: 'wren' \(1\): add",
        ),
        (labelled(5, 1), None, (), r"too few: 1 \(1\)"),
        (labelled(5, 3), [b"abcdefgh"[i : i + 1] for i in range(5)] + [b"x"] * 3, ("a", "b"), r"'b' \(1\)"),
        (labelled(5, 3), [b"abcdefgh"[i : i + 1] for i in range(5)] + [b"a", b"b", b"c"], ("a", "b"), r"'b' \(0\)"),
        (labelled(5, 5), None, ("a", "b", "gone"), r"'gone' \(0\)"),
        (labelled(1, 1, 1, 1, 1, 1), None, (), r"4 \(1\) \.\.\.: add"),
        (labelled(), None, (), "no pictures to split"),
        (labelled(5), [b"a"], (), "1 digests were given for 5 labels"),
    ],
)
def test_too_few_pictures(
    labels: NDArray[np.int64], digests: list[bytes] | None, classes: tuple[str, ...], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        split(labels, SHARES, 0, digests, classes)


@pytest.mark.parametrize("shares", [{}, {"train": 0.5}, {"train": 1.0, "val": 0.0}, {"train": 1.2, "val": -0.2}])
def test_shares_that_make_no_whole(shares: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="shares must be > 0 and sum to 1"):
        split(labelled(9, 9), shares, 0)
