"""Prices: the table in the package is sound, one's own is checked."""

from __future__ import annotations

from pathlib import Path

import pytest

from paceline.errors import ConfigError
from paceline.sql.prices import Price, load_prices, price_of


@pytest.mark.parametrize("name", load_prices())
def test_listed_prices_are_plausible(name: str) -> None:
    price = load_prices()[name]
    assert 0 < (price.cached or price.input) <= price.input <= (price.write or price.input) < price.output


def test_what_is_cached_and_what_is_written_have_their_own_prices() -> None:
    price = Price(input=2.0, cached=0.5, write=4.0, output=10.0)
    assert price.cost(1_000_000, 0, 0) == 4.0
    assert price.cost(1_000_000, 1_000_000, 0) == 0.5
    assert price.cost(0, 0, 1_000_000) == 10.0
    assert Price(input=2.0, output=1.0).cost(1_000_000, 400_000, 0) == 2.0


def test_a_table_of_ones_own(tmp_path: Path) -> None:
    file = tmp_path / "prices.json"
    file.write_text('{"models": {"mine": {"input": 1, "output": 2}}}')
    prices = load_prices(file)
    assert price_of("mine", prices) == Price(input=1.0, output=2.0)
    assert price_of("mine-2026-01-31", prices) == price_of("org/mine", prices) == prices["mine"]
    assert price_of("mine-large", prices) is None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "not valid"),
        ("\ufeff{}", "not valid"),
        ('{"models": {"m": {"input": 1}}}', "output"),
        ('{"models": {"m": {"input": -1, "output": 1}}}', "input must be >= 0"),
        ('{"models": {"m": {"input": "1", "output": 1}}}', "float"),
        ('{"models": {"m": {"input": 1, "output": 1, "cashed": 1}}}', "cashed"),
        ('{"prices": {}}', "models|prices"),
    ],
)
def test_what_is_wrong_with_a_table_is_said(tmp_path: Path, text: str, words: str) -> None:
    file = tmp_path / "prices.json"
    file.write_text(text)
    with pytest.raises(ConfigError, match=words):
        load_prices(file)


def test_a_missing_table_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.json cannot be read"):
        load_prices(tmp_path / "none.json")
