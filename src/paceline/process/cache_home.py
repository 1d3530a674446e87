"""Where a user's caches lie: ``$XDG_CACHE_HOME/paceline``, else ``~/.cache/paceline``."""

from __future__ import annotations

import os
from pathlib import Path


def cache_home() -> Path | None:
    """The folder for what this package may lose at any time; None if the user has no home. It need not exist."""
    named = os.environ.get("XDG_CACHE_HOME", "")
    if os.path.isabs(named):  # the specification: others are ignored
        return Path(named) / "paceline"
    try:
        return Path.home() / ".cache" / "paceline"
    except RuntimeError:
        return None
