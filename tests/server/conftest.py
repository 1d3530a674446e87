"""One real server for all tests that leave its engine as it is."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.server.fakes import Running, running


@pytest.fixture(scope="session")
def shared() -> Iterator[Running]:
    with running() as server:
        yield server


@pytest.fixture
def server() -> Iterator[Running]:
    """One whose engine the test may spoil."""
    with running() as server:
        yield server
