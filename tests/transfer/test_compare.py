from __future__ import annotations

import statistics
from pathlib import Path

import pytest
from msgspec.structs import replace
from scipy import stats

from paceline.errors import ConfigError
from paceline.transfer import compare as compared
from paceline.transfer.compare import BASELINES, Cell, Data, compare, gap_closed, half_width, table
from paceline.transfer.fit.numerics import threads
from paceline.transfer.methods import METHODS
from tests.transfer.fit.made import base, options, pictures

DATA = Data(pictures(4), pictures(4, seed=1), pictures(4, seed=2))
QUICK = options(epochs=1)


def cell(method: str, seed: int, top1: float) -> Cell:
    return Cell(
        method=method, seed=seed, top1=top1, top3=1.0, macro_f1=top1, ece=0.0, loss=1.0, num_trained=3, learning_rate=0.1,
        best_epoch=1, val_top1=(0.1,), seconds=2.0, pictures_per_s=5.0,
    )  # fmt: skip


def test_each_method_with_each_seed_and_known_ones_are_not_computed_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = tmp_path / "cells.jsonl"
    first = compare(base(), DATA, ["probe", "affine"], [0, 1], QUICK, journal=journal)
    begun = [next(first) for _ in range(3)]
    assert [(each.method, each.seed) for each in begun] == [("probe", 0), ("affine", 0), ("probe", 1)]
    names: list[str] = []
    real = compared._computed
    monkeypatch.setattr(compared, "_computed", lambda *given: names.append(given[2]) or real(*given))  # type: ignore[func-returns-value]
    cells = list(compare(base(), DATA, ["probe", "affine"], [0, 1], QUICK, journal=journal))
    assert names == ["affine"]
    assert cells[:3] == begun
    assert all(0 <= each.top1 <= 1 for each in cells)
    assert cells[1].pictures_per_s > 0 == cells[0].pictures_per_s


@pytest.mark.parametrize(
    ("data", "given", "text"),
    [
        (DATA, replace(QUICK, epochs=2), "epochs is 2, was 1"),
        (Data(DATA.train, DATA.val, pictures(4, seed=3)), QUICK, "pictures is"),
    ],
)
def test_another_comparison_is_refused(tmp_path: Path, data: Data, given: object, text: str) -> None:
    list(compare(base(), DATA, ["probe"], [0], QUICK, journal=tmp_path / "c"))
    with pytest.raises(ConfigError, match=text):
        list(compare(base(), data, ["probe"], [0], given, journal=tmp_path / "c"))  # type: ignore[arg-type]


def test_more_seeds_and_methods_go_on_in_the_same_journal(tmp_path: Path) -> None:
    with threads(1):
        list(compare(base(), DATA, ["probe"], [0], QUICK, journal=tmp_path / "c"))
        list(compare(base(), DATA, ["probe"], [0, 1], replace(QUICK, seed=7), journal=tmp_path / "c"))
    assert len((tmp_path / "c").read_text().splitlines()) == 3


def test_an_unknown_method_is_told_before_anything_is_computed() -> None:
    with pytest.raises(ConfigError, match="unknown method 'prob'"):
        next(compare(base(), DATA, ["probe", "prob"], [0], QUICK))


def test_the_table_has_means_intervals_and_the_gap() -> None:
    floor, middle, ceiling = table(
        [cell("probe", 0, 0.4), cell("affine", 0, 0.5), cell("probe", 1, 0.5), cell("affine", 1, 0.6)]
        + [cell("full_finetune", seed, 0.65) for seed in (0, 1)]
    )
    assert (floor.gap_closed, ceiling.gap_closed) == (0.0, 1.0)
    assert middle.gap_closed == pytest.approx(0.5)
    assert middle.top1 == pytest.approx(0.55)
    assert middle.num_seeds == 2
    assert ceiling.half_width == 0.0


def test_without_both_ends_there_is_no_gap() -> None:
    (row,) = table([cell("affine", 0, 0.5)])
    assert row.gap_closed is None
    assert row.half_width is None
    assert gap_closed(0.5, 0.6, 0.6) is None


@pytest.mark.parametrize("num", [2, 3, 5, 31])
def test_the_interval_is_students(num: int) -> None:
    values = [0.1 * place % 0.7 for place in range(num)]
    low, high = stats.t.interval(0.95, num - 1, statistics.fmean(values), stats.sem(values))
    assert half_width(values) == pytest.approx((high - low) / 2, rel=1e-3)


def test_the_baselines_are_methods() -> None:
    assert set(BASELINES) <= set(METHODS)
