"""Who is to blame when a launch fails, and requests of one tenant in one slot."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pytest
import torch

from paceline.errors import ExecutionError
from paceline.multiplex.launch import launch


@dataclass(frozen=True, eq=False)
class Asker:
    slot: int
    state: tuple[torch.Tensor, ...]

    @property
    def num_rows(self) -> int:
        return self.state[0].shape[0]


class Doubling:
    """A family whose slot 9 raises, and which raises in company of ``most`` or more."""

    def __init__(self, numerics: str = "close", most: int = 100) -> None:
        self.numerics = numerics
        self.most = most
        self.calls: list[list[int]] = []

    def run(self, segment: int, slots: Sequence[int], states: Sequence[Any]) -> list[Any]:
        self.calls.append(list(slots))
        if 9 in slots or len(slots) >= self.most:
            raise ValueError("bad numbers")
        return [(state[0] * 2, torch.repeat_interleave(state[0], 3, dim=0)) for state in states]

    def finish(self) -> None:
        """All is done as it is asked for."""


def asker(slot: int, *numbers: float) -> Asker:
    return Asker(slot, (torch.tensor(numbers),))


def run(family: Doubling, *askers: Asker) -> tuple[list[Any], bool]:
    return launch(family, 0, askers)  # type: ignore[arg-type]


def test_only_who_raises_alone_fails() -> None:
    results, smooth = run(Doubling(), asker(0, 1.0), asker(9, 2.0), asker(1, 3.0))
    assert not smooth
    assert isinstance(results[1], ExecutionError)
    assert [float(results[place][0]) for place in (0, 2)] == [2.0, 6.0]


def test_an_error_says_what_was_raised_and_keeps_no_tensors_alive() -> None:
    (error,), smooth = run(Doubling(), asker(9, 1.0))
    assert not smooth
    assert str(error) == "the model raised ValueError: bad numbers"
    assert error.__cause__.__traceback__ is None


def test_a_group_that_fails_though_nobody_does_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        results, smooth = run(Doubling(most=2), asker(0, 1.0), asker(1, 2.0))
    assert not smooth
    assert [float(result[0]) for result in results] == [2.0, 4.0]
    assert "none of which fails alone" in caplog.text


def test_requests_of_one_tenant_share_a_slot_and_get_their_own_rows() -> None:
    family = Doubling()
    results, _ = run(family, asker(3, 1.0, 2.0), asker(5, 7.0), asker(3, 4.0))
    assert family.calls == [[3, 5]]
    assert [result[0].tolist() for result in results] == [[2.0, 4.0], [14.0], [8.0]]
    assert [result[1].tolist() for result in results] == [[1.0] * 3 + [2.0] * 3, [7.0] * 3, [4.0] * 3]


def test_exact_results_come_from_requests_apart() -> None:
    family = Doubling("exact")
    run(family, asker(3, 1.0), asker(3, 2.0))
    assert family.calls == [[3, 3]]
