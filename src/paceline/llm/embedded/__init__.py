"""The small language models that come in the package, as Hugging Face folders."""

from __future__ import annotations

from pathlib import Path


def embedded_model(name: str = "target") -> str:
    """Folder of ``"target"``, the model that ``--demo`` serves, or of its ``"draft"``."""
    return str(Path(__file__).parent / name)
