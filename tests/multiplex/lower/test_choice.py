"""The way that is measured to be fastest is taken, if it agrees and works."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from paceline.multiplex.lower import choice, program, rules
from paceline.multiplex.lower.choice import Choice, Choices, choose, usual_times
from paceline.multiplex.lower.group import Group
from paceline.multiplex.lower.program import Columns, Loop, build
from tests.multiplex.made import mlp, random_weights

CPU = torch.device("cpu")


def slowed(run: Callable[[Columns], Columns], seconds: float) -> Any:
    def later(columns: Columns) -> Columns:
        time.sleep(seconds)
        return run(columns)

    return later


@pytest.fixture
def no_chains(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rules, "fits", lambda graph, op: False)


@pytest.fixture
def case() -> tuple[Any, Group, Loop, Columns]:
    torch.manual_seed(0)
    graph = mlp()
    weights = random_weights(graph, 3)
    group = Group(3, {}, {name: torch.stack([each[name] for each in weights]) for name in graph.weights})
    loop = Loop(tuple(build(graph, Group(1, each, {})) for each in weights))
    return graph, group, loop, [[torch.randn(1, 16) for _ in weights]]


def test_nothing_gained_is_the_loop(case: tuple[Any, Group, Loop, Columns], monkeypatch: pytest.MonkeyPatch) -> None:
    graph, group, loop, columns = case
    monkeypatch.setattr(choice, "usual_times", lambda arms, _: [1.0, 1.04])
    assert choose(graph, group, loop, columns, copy_bytes=0).loop
    monkeypatch.setattr(choice, "usual_times", lambda arms, _: [1.0, 1.06])
    assert not choose(graph, group, loop, columns, copy_bytes=0).loop


@pytest.mark.usefixtures("no_chains")
def test_copies_are_tried_within_their_bytes(
    case: tuple[Any, Group, Loop, Columns], monkeypatch: pytest.MonkeyPatch
) -> None:
    graph, group, _, columns = case
    monkeypatch.setattr(choice, "usual_times", lambda arms, _: [1.0, 0.5])
    assert "transposed" in choose(graph, group, None, columns, copy_bytes=1 << 20).kernels.values()
    assert "transposed" not in choose(graph, group, None, columns, copy_bytes=0).kernels.values()
    assert group.own_bytes == 0


@pytest.mark.usefixtures("no_chains")
def test_variants_that_fail_or_differ_are_passed_over(
    case: tuple[Any, Group, Loop, Columns], monkeypatch: pytest.MonkeyPatch
) -> None:
    graph, group, _, columns = case
    real = program.build

    def broken(graph: Any, group: Group, kernels: Any = None) -> Any:
        if kernels and "columns" in kernels.values():
            raise RuntimeError("no such kernel here")
        if kernels and "transposed" in kernels.values():
            return lambda columns: [[each + 1 for each in column] for column in real(graph, group)(columns)]
        return real(graph, group, kernels)

    monkeypatch.setattr(choice, "build", broken)
    monkeypatch.setattr(choice, "usual_times", lambda arms, _: [1.0, 0.5])
    assert set(choose(graph, group, None, columns, copy_bytes=1 << 20).kernels.values()) <= {"rows-first", ""}


def test_times_are_told_apart(case: tuple[Any, Group, Loop, Columns]) -> None:
    _, _, loop, columns = case
    fast, slow = usual_times([loop, slowed(loop, 0.004)], columns)
    assert fast < slow


def test_choices_are_found_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    made = Choice({"some op": "columns"}, loop=False, gain=3.5)
    Choices("family", CPU).put("key", made)
    assert Choices("family", CPU).get("key") == made
    assert Choices("another", CPU).get("key") is None


def test_without_a_place_for_files_choices_live_as_long_as_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choice, "cache_home", lambda: None)
    choices = Choices("family", CPU)
    choices.put("key", Choice({}, loop=True, gain=1.0))
    assert choices.get("key") is not None
