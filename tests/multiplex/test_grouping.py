"""Who runs with whom."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from paceline.multiplex.blocks import bucket_of
from paceline.multiplex.grouping import Grouping, choice_key
from paceline.multiplex.lower.bundle import Joined, Measured, Segment
from paceline.multiplex.lower.choice import Choice, Choices
from paceline.multiplex.op import family_key
from paceline.multiplex.stack import Stack
from tests.multiplex.made import mlp, random_weights

CPU = torch.device("cpu")


@pytest.fixture
def choices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Choices:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return Choices("some family", CPU)


def grouping(choices: Choices, num_tenants: int, *, width: int = 16, budget: int = 1 << 28) -> tuple[Grouping, Segment]:
    torch.manual_seed(0)
    graph = mlp(width=width)
    segment = Segment(0, family_key(graph), graph, (), (), is_last=True)
    stack = Stack(graph.weights, device=CPU)
    for weights in random_weights(graph, num_tenants):
        stack.add(weights)
    return Grouping(stack, [segment], choices, exact=False, device=CPU, budget=budget), segment


def members(grouping: Grouping, *slots: int) -> list[tuple[int, ...]]:
    return [tuple(slots[place] for place in places) for places, _ in grouping.plan(slots, 1).parts]


def test_neighbours_run_together(choices: Choices) -> None:
    group, _ = grouping(choices, 8)
    assert members(group, 4, 5, 6, 7) == [(4, 5, 6, 7)]
    assert group.plan((4, 5, 6, 7), 1).whole is not None


def test_dense_blocks_run_whole_and_others_alone_until_they_are_hot(choices: Choices) -> None:
    group, _ = grouping(choices, 12)
    assert members(group, 0, 1, 3, 10) == [(0, 1), (3,), (10,)]
    assert group.own_bytes() == 0
    for _ in range(50):
        found = members(group, 0, 1, 3, 10)
    assert found == [(0, 1, 3, 10)]
    assert group.own_bytes() > 0


def test_copies_beyond_the_budget_are_never_made(choices: Choices) -> None:
    group, _ = grouping(choices, 12, width=200, budget=1 << 20)
    for _ in range(60):
        assert members(group, 0, 1, 3, 10) == [(0, 1), (3,), (10,)]
    assert group.own_bytes() == 0


def test_sparse_blocks_run_whole_where_together_gains_much(choices: Choices) -> None:
    group, _ = grouping(choices, 12)
    group.learn_gain(8, 4.0)
    assert members(group, 0, 2, 5, 7) == [(0, 2, 5, 7)]
    group.learn_gain(12, 2.0)
    assert members(group, 0, 2, 5, 9) == [(0, 2, 5), (9,)]
    group.learn_gain(12, 4.0)
    assert members(group, 0, 2, 5, 9) == [(0, 2, 5, 9)]
    assert group.own_bytes() == 0


def test_other_sets_of_a_block_need_no_other_program(choices: Choices) -> None:
    group, _ = grouping(choices, 8)
    group.learn_gain(8, 4.0)
    for slots in ((0, 2, 5), (1, 2, 7), (0, 3, 4, 6)):
        assert members(group, *slots) == [slots]
    assert len(group._programs_of) == 1


def test_the_least_used_copies_go_first(choices: Choices) -> None:
    group, _ = grouping(choices, 12, budget=40_000)
    for slots in ((0, 2), (0, 3), (0, 4), (0, 5), (0, 6)):
        for _ in range(50):
            group.plan(slots, 1)
        assert group.own_bytes() <= 40_000


def test_a_choice_decides_and_counts_by_powers_of_two(choices: Choices) -> None:
    group, segment = grouping(choices, 8)
    slots = tuple(range(8))
    key = choice_key(segment, group.group(slots), 3)
    assert key == choice_key(segment, group.group(tuple(range(8))), 4)
    choices.put(key, Choice({}, loop=True, gain=0.5))
    part = group.plan(slots, 3).whole
    assert isinstance(part, Measured)
    assert part._is_apart(segment)


def test_one_tenant_needs_no_stack(choices: Choices) -> None:
    group, _ = grouping(choices, 2)
    assert isinstance(group.plan((1,), 1).whole, Joined)


def test_buckets_are_powers_of_two() -> None:
    assert [bucket_of(count) for count in range(1, 10)] == [1, 2, 4, 4, 8, 8, 8, 8, 16]
