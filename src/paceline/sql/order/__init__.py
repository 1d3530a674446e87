"""The order of rows, and of fields within each row, that shares the longest prefixes.

Names are resolved on first use, so importing this package imports neither numba nor pyarrow.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from paceline.sql.order.bound import bounds
    from paceline.sql.order.encoding import Encoded, encode
    from paceline.sql.order.hits import evaluate
    from paceline.sql.order.options import OrderOptions
    from paceline.sql.order.planner import plan

_HOMES = {
    "Encoded": "encoding",
    "OrderOptions": "options",
    "bounds": "bound",
    "encode": "encoding",
    "evaluate": "hits",
    "plan": "planner",
}

__all__ = ["Encoded", "OrderOptions", "bounds", "encode", "evaluate", "plan"]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
