"""Paceline gets more useful answers per second out of the hardware its user already has.

Each part is a subpackage (``paceline.llm``, ``paceline.server``); importing this package imports none of them.
"""

from __future__ import annotations

__all__ = ["__version__"]

__version__ = "0.1.0"
