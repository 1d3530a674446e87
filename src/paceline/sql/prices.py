"""What tokens cost, by model: a table that users edit."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec

from paceline.errors import ConfigError

_PACKAGED: Final = Path(__file__).with_name("prices.json")
_DATE: Final = re.compile(r"-\d{4}-?\d\d-?\d\d$")


class Price(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Dollars per million tokens of one model.

    >>> Price(input=1.0, cached=0.1, write=1.25, output=5.0).cost(10_000, 8_000, 100)
    0.0038
    """

    input: float
    output: float
    cached: float | None = None  # None: as input
    write: float | None = None  # None: as input
    minimum: int = 0  # tokens of the shortest prompt of which anything is cached

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            value = getattr(self, name)
            if value is not None and not 0 <= value < float("inf"):
                raise ConfigError(f"{name} must be >= 0, got {value}")

    def cost(self, prompt_tokens: int, cached_tokens: int, output_tokens: int) -> float:
        """Dollars for requests with so many tokens in all; what is not found in the cache is written to it."""
        cached = self.input if self.cached is None else self.cached
        fresh = self.input if self.write is None else self.write
        dollars = cached * cached_tokens + fresh * (prompt_tokens - cached_tokens) + self.output * output_tokens
        return dollars / 1e6


class _File(msgspec.Struct, forbid_unknown_fields=True):
    models: dict[str, Price]
    comment: str | list[str] = ""


def load_prices(path: str | os.PathLike[str] | None = None) -> dict[str, Price]:
    """The price table of a file, or the one in the package. ConfigError says what is wrong with a file.

    >>> load_prices()["gpt-4o-mini"].input
    0.15
    """
    file = _PACKAGED if path is None else Path(path)
    try:
        return msgspec.json.decode(file.read_bytes(), type=_File).models
    except OSError as error:
        raise ConfigError(f"the price table {file} cannot be read: {error.strerror or error}") from error
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ConfigError(f"the price table {file} is not valid: {error}") from error


def price_of(model: str, prices: Mapping[str, Price]) -> Price | None:
    """The price of a model, also under a provider's prefix or with a date behind; None if it is not listed.

    >>> price_of("openai/gpt-4o-mini-2024-07-18", load_prices()).output
    0.6
    >>> price_of("my-own-model", load_prices()) is None
    True
    """
    bare = model.rpartition("/")[2]
    names = (model, bare, _DATE.sub("", bare))
    return next((prices[name] for name in names if name in prices), None)
