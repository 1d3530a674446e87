"""How a process of models is set up. Plain data, so it can be handed to the process as JSON."""

from __future__ import annotations

from typing import Literal

import msgspec

from paceline.errors import ConfigError


class MultiplexConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Where to compute and how exactly. ConfigError for values that cannot be meant.

    >>> MultiplexConfig(threads=0)
    Traceback (most recent call last):
        ...
    paceline.errors.ConfigError: threads must be >= 1, got 0
    """

    device: Literal["auto", "cpu", "cuda"] = "auto"
    numerics: Literal["close", "exact"] = "close"  # exact: the same bits as alone, whatever is served beside it
    memory_budget: int = 256 << 20  # bytes of copies of weights that single groups of models get, per family
    threads: int = 1  # that one launch may use

    def __post_init__(self) -> None:
        for name in ("threads", "memory_budget"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be >= 1, got {getattr(self, name)}")
