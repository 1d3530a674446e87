"""The draft model of the tests and its oracle."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.llm.draft.drafting import LENGTH, Oracle
from tests.llm.folders import write_folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folder(tmp_path_factory.mktemp("draft"), "qwen3", max_position_embeddings=LENGTH)


@pytest.fixture(scope="module")
def oracle(folder: Path) -> Oracle:
    return Oracle(folder)
