"""The engine is found by its name, and answers as the port promises."""

from __future__ import annotations

import pytest

from paceline.errors import ConfigError
from paceline.sql.clients.embedded import ENGINES
from paceline.sql.model import MODELS, Answer, Ask


def test_the_packaged_model_answers() -> None:
    model = MODELS["embedded"]()
    answers: dict[int, Answer] = {}
    asks = [
        Ask(
            "",
            f'Is the word in this row the name of a number that is greater than three but less than nine?\n{{"it": "{word}"}}',
            8,
            ("Yes", "No"),
        )
        for word in ("seven", "house")
    ]
    model.ask([*asks, Ask("", "word " * 5000, 4)], answers.__setitem__)
    model.close()
    assert {answers[0].text, answers[1].text} <= {"Yes", "No"}
    assert answers[1].cached_tokens > 0
    assert answers[1].prompt_tokens > answers[1].cached_tokens
    assert answers[2].text is None
    assert "context" in (answers[2].error or "")
    assert model.name.startswith("target-")


def test_unknown_names_offer_the_known() -> None:
    with pytest.raises(ConfigError, match="embedded"):
        MODELS["embeded"]
    assert {"embedded", "endpoint"} <= set(MODELS)
    assert "embedded" in ENGINES
