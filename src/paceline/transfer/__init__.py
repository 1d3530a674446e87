"""Adapt a frozen pre-trained CNN by learned gates on its channels; see which channels matter; cut the rest.

``AdaptClassifier`` is the scikit-learn estimator; the other names are its parts: a base network, adapters in files, and folding.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from paceline.transfer.adapter import load_adapter, save_adapter
    from paceline.transfer.backbone.load import load_backbone
    from paceline.transfer.estimator import AdaptClassifier
    from paceline.transfer.fold import fold

__all__ = ["AdaptClassifier", "fold", "load_adapter", "load_backbone", "save_adapter"]

_HOMES = {
    "AdaptClassifier": "estimator",
    "fold": "fold",
    "load_adapter": "adapter",
    "load_backbone": "backbone.load",
    "save_adapter": "adapter",
}


def __getattr__(name: str) -> object:
    """Imports what needs torch only when it is asked for."""
    if name in _HOMES:
        return getattr(importlib.import_module(f"paceline.transfer.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
