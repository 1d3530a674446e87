from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
from torch import nn

from paceline.multiplex.capture.likeness import likeness


class Held:
    """A plain object that knows modules and numbers."""

    def __init__(self, layer: nn.Module, factor: float) -> None:
        self.layer = layer
        self.factor = factor
        self.gate: Held | None = None


class Slotted:
    __slots__ = ("factor",)

    def __init__(self, factor: float) -> None:
        self.factor = factor


class Holder(nn.Module):
    def __init__(self, held: Any = None) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(2, 2), nn.Linear(2, 2)
        self.held = held

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.first(x)


def holding(layer: str, factor: float) -> Holder:
    model = Holder()
    model.held = Held(getattr(model, layer), factor)
    return model


def test_objects_count_by_what_they_hold() -> None:
    assert likeness(holding("first", 1.0)) == likeness(holding("first", 1.0)) is not None
    assert likeness(holding("first", 1.0)) != likeness(holding("second", 1.0))
    assert likeness(holding("first", 1.0)) != likeness(holding("first", 2.0))
    assert likeness(holding("first", 1.0)) != likeness(Holder())


def test_an_object_that_knows_itself_ends() -> None:
    models = holding("first", 1.0), holding("first", 1.0)
    for model in models:
        model.held.gate = model.held
    assert likeness(models[0]) == likeness(models[1]) is not None


@pytest.mark.parametrize(
    "held",
    [partial(max, 1), Slotted(1.0), lambda x: x, torch.ones(2), Held(nn.Linear(1, 1), 1.0), iter([1])],
    ids=["partial", "slots", "lambda", "tensor", "foreign module", "iterator"],
)
def test_what_may_hold_more_than_it_shows_is_like_nothing(held: Any) -> None:
    assert likeness(Holder(held)) is None
