"""A procedural drive on a road: truth without pixels, hundreds of drives a minute, and pictures when they are asked for."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from paceline.streaming.render.drive import Drive
    from paceline.streaming.render.regime import REGIMES

__all__ = ["REGIMES", "Drive"]

_HOMES = {"Drive": "drive", "REGIMES": "regime"}


def __getattr__(name: str) -> object:
    """Imports numpy only when something is asked for."""
    if name in _HOMES:
        return getattr(importlib.import_module(f"paceline.streaming.render.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
