"""Many models, one device: models that differ in their weights run in one launch, each request by its deadline.

``Runtime`` serves registered models; ``coalesce`` makes one callable of several models, without a scheduler.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from paceline.multiplex.coalesced import Coalesced, coalesce
    from paceline.multiplex.engine import Runtime

__all__ = ["Coalesced", "Runtime", "coalesce"]

_HOMES = {"Coalesced": "coalesced", "Runtime": "engine", "coalesce": "coalesced"}


def __getattr__(name: str) -> object:
    """Imports what needs torch only when it is asked for."""
    if name in _HOMES:
        return getattr(importlib.import_module(f"paceline.multiplex.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
