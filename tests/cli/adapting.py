"""``paceline adapt`` in this process."""

from __future__ import annotations

import pytest

from paceline.cli import main

QUICK = ("--epochs", "1", "--from", "layer3", "--threads", "1")


def run(*arguments: object) -> int:
    """The exit code of ``paceline adapt`` in this process."""
    with pytest.raises(SystemExit) as exit_info:
        main(["adapt", *map(str, arguments)])
    return int(exit_info.value.code or 0)
