from __future__ import annotations

import math
import typing

import msgspec
import pytest

from paceline.errors import ConfigError
from paceline.transfer.fit.options import FitOptions


@pytest.mark.parametrize(
    "wrong",
    [
        {"epochs": 0},
        {"head_epochs": 0},
        {"batch_size": 0},
        {"weight_decay": -1.0},
        {"l1": math.nan},
        {"patience": -1},
        {"cached_views": -1},
        {"num_threads": 0},
        {"checkpoint_every_s": -1.0},
        {"warmup_share": 1.0},
        {"label_smoothing": -0.1},
        {"learning_rate": 0.0},
        {"learning_rate": math.nan},
        {"precision": "float16"},
        {"seed": -1},
    ],
)
def test_a_wrong_option_is_named(wrong: dict[str, typing.Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        FitOptions(**wrong)


def test_the_defaults_survive_json() -> None:
    assert msgspec.json.decode(msgspec.json.encode(FitOptions()), type=FitOptions) == FitOptions()
