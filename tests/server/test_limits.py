"""Every bound is positive, documented, and one value."""

from __future__ import annotations

from dataclasses import Field, fields
from pathlib import Path
from typing import Any

import pytest

from paceline.errors import ConfigError
from paceline.server.limits import Limits

DOCUMENT = Path("docs/server.md").read_text()


@pytest.mark.parametrize("field", fields(Limits), ids=lambda field: field.name)
def test_every_limit_is_documented_and_positive(field: Field[Any]) -> None:
    assert f"`{field.name}`" in DOCUMENT
    with pytest.raises(ConfigError, match=field.name):
        Limits(**{field.name: 0})
