"""What the planner is asked for: how a shared token counts, and how long to search."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from paceline.errors import ConfigError

Weighting = Literal["linear", "squared"]
FieldOrder = Literal["auto", "fixed", "as_written"]


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderOptions:
    """How hits are counted, and how much may be spent on finding them.

    ``static`` tokens stand before the data in every prompt. A prefix is found in whole blocks of ``block`` tokens,
    the static ones included, and not at all below ``minimum`` tokens. ``cache_tokens`` is what the cache holds, least
    recently used out first: None for everything, 0 for the row before alone. ``budget_s`` is the most that is
    spent on improving the first plan; it is counted in visited cells, so that the same table has the same plan on every
    machine.

    >>> OrderOptions(block=16, static=90).field_order
    'auto'
    """

    weighting: Weighting = "linear"
    block: int = 1
    minimum: int = 0
    static: int = 0
    cache_tokens: int | None = None
    budget_s: float = 0.05
    field_order: FieldOrder = "auto"

    def __post_init__(self) -> None:
        for name, allowed in (("weighting", Weighting), ("field_order", FieldOrder)):
            value = getattr(self, name)
            if value not in get_args(allowed):
                raise ConfigError(f"{name} must be one of {', '.join(get_args(allowed))}, got {value!r}")
        for name, least in (("block", 1), ("minimum", 0), ("static", 0), ("cache_tokens", 0), ("budget_s", 0)):
            value = getattr(self, name)
            if value is not None and not value >= least:
                raise ConfigError(f"{name} must be >= {least}, got {value}")
        if self.weighting == "squared" and (self.block > 1 or self.minimum or self.cache_tokens):
            raise ConfigError("squared weights are no tokens: they go with neither block, minimum nor cache_tokens")
