"""Serving a language model: ``Engine`` in this process, ``EngineProcess`` in one of its own.

Names are resolved on first use, so importing this package imports neither torch nor numpy.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from paceline.llm.config import EngineConfig
    from paceline.llm.embedded import embedded_model
    from paceline.llm.engine import Completion, Engine, Sample
    from paceline.llm.remote import EngineProcess
    from paceline.llm.request import Delta, Grammar, Request, SamplingParams

_HOMES = {
    "Completion": "engine",
    "Delta": "request",
    "Engine": "engine",
    "EngineConfig": "config",
    "EngineProcess": "remote",
    "Grammar": "request",
    "Request": "request",
    "Sample": "engine",
    "SamplingParams": "request",
    "embedded_model": "embedded",
}

__all__ = [
    "Completion",
    "Delta",
    "Engine",
    "EngineConfig",
    "EngineProcess",
    "Grammar",
    "Request",
    "Sample",
    "SamplingParams",
    "embedded_model",
]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
