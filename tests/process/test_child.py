"""The child's side, as far as it can be seen without a second process."""

from __future__ import annotations

import pytest

from paceline.errors import ConfigError
from paceline.process.child import Child
from paceline.process.control import CHANNEL_VARIABLE


@pytest.mark.parametrize("value", ["", "7", "x:1", "7:"])
def test_it_runs_under_a_supervisor_only(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CHANNEL_VARIABLE, value)
    with pytest.raises(ConfigError, match="started by its supervisor"):
        Child.connect(int)
