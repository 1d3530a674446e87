from __future__ import annotations

from collections.abc import Iterator

import pytest

from paceline.transfer.fit.numerics import threads


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Two threads that wait for each other are slow on a machine that has other things to do."""
    with threads(1):
        yield
