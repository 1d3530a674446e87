"""What tests of ``paceline adapt`` work with."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.adapting import QUICK, run
from tests.transfer.drawn import draw_folder
from tests.transfer.small_base import write_base


@pytest.fixture(scope="session")
def adapting(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with pictures, a base and an adapter."""
    folder = tmp_path_factory.mktemp("adapting")
    draw_folder(folder / "images", 12)
    write_base(folder / "base.safetensors")
    assert (
        run("train", folder / "images", "--out", folder / "shapes", "--base", folder / "base.safetensors", *QUICK) == 0
    )
    return folder
