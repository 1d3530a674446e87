"""Where pictures and truth come from: files, folders, cameras, data sets and the rendered drive."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from paceline.streaming.sources.open import open_log, open_logs, open_source
    from paceline.streaming.sources.source import Source

__all__ = ["Source", "open_log", "open_logs", "open_source"]

_HOMES = {"Source": "source", "open_log": "open", "open_logs": "open", "open_source": "open"}


def __getattr__(name: str) -> object:
    """Imports numpy only when something is asked for."""
    if name in _HOMES:
        return getattr(importlib.import_module(f"paceline.streaming.sources.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
