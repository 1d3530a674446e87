"""LLM calls inside SQL: ask less, and in an order that the prefix cache likes.

Names are resolved on first use, so importing this package imports neither duckdb nor pyarrow.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from paceline.sql.clients.endpoint import EndpointModel
    from paceline.sql.connection import Connection, Result, connect
    from paceline.sql.connection import map_rows as map
    from paceline.sql.explain import Explanation
    from paceline.sql.model import Answer, Ask, LanguageModel
    from paceline.sql.store import AnswerStore

_HOMES = {
    "Answer": "model:Answer",
    "AnswerStore": "store:AnswerStore",
    "Ask": "model:Ask",
    "Connection": "connection:Connection",
    "EndpointModel": "clients.endpoint:EndpointModel",
    "Explanation": "explain:Explanation",
    "LanguageModel": "model:LanguageModel",
    "Result": "connection:Result",
    "connect": "connection:connect",
    "map": "connection:map_rows",
}

__all__ = [
    "Answer",
    "AnswerStore",
    "Ask",
    "Connection",
    "EndpointModel",
    "Explanation",
    "LanguageModel",
    "Result",
    "connect",
    "map",
]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, _, attribute = _HOMES[name].partition(":")
    return getattr(importlib.import_module(f"{__name__}.{module}"), attribute)
