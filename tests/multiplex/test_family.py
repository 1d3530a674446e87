"""Any tenants in any company: the same answers as alone."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import torch
from hypothesis import given as over
from hypothesis import settings
from hypothesis import strategies as st
from torch import Tensor

from paceline.errors import InvalidRequest
from paceline.multiplex.family import Family, Numerics
from paceline.multiplex.lower.bundle import Slice
from paceline.multiplex.lower.choice import Choices
from paceline.multiplex.op import Graph
from paceline.multiplex.segment import cut
from tests.multiplex.made import NETS, interpreted, mlp, random_weights

NUM_TENANTS = 8


class Tenants:
    """A family with inputs and what each tenant gets alone."""

    def __init__(self, graph: Graph, *, segments: bool = False, numerics: Numerics = "close", shared: int = 0) -> None:
        torch.manual_seed(0)
        cuts = cut(graph, [1.0] * len(graph.ops), 3.0) if segments else ()
        self.graph = graph
        self.family = Family(graph, cuts=cuts, numerics=numerics, capacity=4)
        self.weights = random_weights(graph, NUM_TENANTS)
        for each in self.weights:
            each.update({name: self.weights[0][name] for name in list(graph.weights)[:shared]})
        self.slots = [self.family.add(each) for each in self.weights]

    def inputs(self, num_rows: list[int]) -> list[tuple[Tensor, ...]]:
        return [tuple(torch.randn(spec.sizes(rows)) for spec in self.graph.inputs) for rows in num_rows]

    def run(self, slots: list[int], inputs: list[tuple[Tensor, ...]]) -> list[Tensor]:
        states: list = list(inputs)  # type: ignore[type-arg]
        for segment in range(len(self.family.segments)):
            states = self.family.run(segment, slots, states)
        return [state[0] for state in states]

    def check(self, slots: list[int], num_rows: list[int]) -> None:
        inputs = self.inputs(num_rows)
        for slot, given, made in zip(slots, inputs, self.run(slots, inputs), strict=True):
            expected = interpreted(self.graph, self.weights[slot], given)[0]
            torch.testing.assert_close(made, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("net", NETS)
@pytest.mark.parametrize("segments", [False, True])
def test_everybody_a_few_and_one(net: str, segments: bool) -> None:
    tenants = Tenants(NETS[net](), segments=segments)
    for slots in (list(range(NUM_TENANTS)), [5, 2, 3], [0, 2, 3, 4], [0, 7], [6]):
        tenants.check(slots, [1] * len(slots))


@settings(max_examples=40, deadline=None)
@over(
    slots=st.lists(st.integers(0, NUM_TENANTS - 1), min_size=1, max_size=10),
    rows=st.lists(st.integers(1, 4), min_size=10, max_size=10),
    shared=st.sampled_from([0, 3, 14]),
    segments=st.booleans(),
)
def test_any_company_any_rows_and_tenants_twice(slots: list[int], rows: list[int], shared: int, segments: bool) -> None:
    tenants = Tenants(mlp(width=8, num_layers=2), segments=segments, shared=shared)
    for _ in range(2):
        tenants.check(slots, rows[: len(slots)])


def test_the_same_company_is_not_packed_again_between_segments() -> None:
    tenants = Tenants(mlp(), segments=True)
    slots = list(range(NUM_TENANTS))
    first = tenants.family.run(0, slots, tenants.inputs([1] * NUM_TENANTS))
    assert all(isinstance(state, Slice) for state in first)
    second = tenants.family.run(1, slots, first)
    assert isinstance(first[0], Slice)
    assert not first[0].bundle.columns, "it was unpacked"
    assert isinstance(second[0], Slice)


def test_members_of_a_bundle_may_part_and_meet_others() -> None:
    tenants = Tenants(mlp(num_layers=4), segments=True)
    inputs = tenants.inputs([1, 2, 1, 3])
    family = tenants.family
    left, right = family.run(0, [0, 1], inputs[:2]), family.run(0, [2, 3], inputs[2:])
    states = [left[0], right[1], left[1], right[0]]
    slots, given = [0, 3, 1, 2], [inputs[0], inputs[3], inputs[1], inputs[2]]
    for segment in range(1, len(family.segments)):
        states = family.run(segment, slots, states)
    for slot, own, made in zip(slots, given, states, strict=True):
        assert isinstance(made, tuple)
        torch.testing.assert_close(made[0], interpreted(tenants.graph, tenants.weights[slot], own)[0])


def test_equal_layers_have_equal_keys() -> None:
    tenants = Tenants(mlp(num_layers=6), segments=True)
    assert len(set(tenants.family.segments)) < len(tenants.family.segments)


def test_tenants_over_different_bases_run_apart_without_copies() -> None:
    torch.manual_seed(0)
    graph = mlp(width=160, num_layers=1)
    base, other = random_weights(graph, 2, scale=0.05)
    family = Family(graph)
    names = list(graph.weights)
    own = names[-1]
    weights = [{**(base if place % 2 else other), own: torch.full_like(base[own], place)} for place in range(6)]
    slots = [family.add(each) for each in weights]
    inputs = [(torch.randn(1, 160),) for _ in slots]
    for own, given, made in zip(weights, inputs, family.run(0, slots, inputs), strict=True):
        torch.testing.assert_close(made[0], interpreted(graph, own, given)[0], rtol=1e-4, atol=1e-5)  # type: ignore[index]
    assert family.memory_bytes() < 2.3 * sum(each.numel() * 4 for each in base.values())


def test_scattered_tenants_are_copied_once_they_keep_coming() -> None:
    graph = mlp(width=128, num_layers=4)
    tenants = Tenants(graph)
    before = tenants.family.memory_bytes()
    tenants.check([0, 3, 5, 7], [1] * 4)
    assert tenants.family.memory_bytes() == before
    for _ in range(50):
        tenants.check([0, 3, 5, 7], [1] * 4)
    assert tenants.family.memory_bytes() > before
    tenants.check([0, 3, 5, 7], [1] * 4)


def test_updates_and_removals_are_seen_at_once() -> None:
    tenants = Tenants(mlp())
    tenants.check([0, 1, 2], [1, 1, 1])
    (tenants.weights[1],) = random_weights(tenants.graph, 1)
    tenants.family.update(1, tenants.weights[1])
    tenants.check([0, 1, 2], [1, 1, 1])
    tenants.family.remove(2)
    tenants.check([0, 1, 3], [1, 1, 1])
    (tenants.weights[2],) = random_weights(tenants.graph, 1)
    assert tenants.family.add(tenants.weights[2]) == 2
    tenants.check([0, 1, 2, 3], [1, 2, 1, 1])


def test_a_wrong_number_of_inputs_is_refused() -> None:
    tenants = Tenants(mlp())
    with pytest.raises(InvalidRequest, match="takes 1 inputs, got 2"):
        tenants.family.run(0, [0], [(torch.zeros(1, 16), torch.zeros(1, 16))])


# ── measuring ────────────────────────────────────────────────────────────────────────────────────


def test_tuned_choices_change_no_answer_and_are_kept_for_the_next_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    tenants = Tenants(NETS["resnet"](), segments=True)
    slots = list(range(NUM_TENANTS))
    choices = tenants.family.tune(slots, 1)
    assert len(choices) == len(tenants.family.segments)
    tenants.check(slots, [1] * NUM_TENANTS)
    again = Tenants(NETS["resnet"](), segments=True)
    assert again.family.tune(slots, 1) == choices


def test_a_broken_file_of_choices_is_measured_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    Tenants(mlp()).family.tune([0, 1], 1)
    (path,) = (tmp_path / "paceline").iterdir()
    path.write_text("{")
    assert not len(Choices(Tenants(mlp()).family.key, torch.device("cpu")))


# ── exact ────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("net", NETS)
@pytest.mark.parametrize("segments", [False, True])
def test_exact_gives_the_same_bits_in_any_company(net: str, segments: bool) -> None:
    tenants = Tenants(NETS[net](), segments=segments, numerics="exact")
    rows = [1 + slot % 3 for slot in tenants.slots]
    inputs = tenants.inputs(rows)
    alone = [tenants.run([slot], [inputs[slot]])[0] for slot in tenants.slots]
    order = random.Random(0)
    for _ in range(6):
        slots = [order.choice(tenants.slots) for _ in range(order.randint(2, 10))]
        for slot, made in zip(slots, tenants.run(slots, [inputs[slot] for slot in slots]), strict=True):
            assert torch.equal(made, alone[slot])
    tenants.check(tenants.slots, rows)


def test_exact_holds_after_others_come_and_go() -> None:
    tenants = Tenants(mlp(), numerics="exact", shared=5)
    (given,) = tenants.inputs([1])
    before = tenants.run([3], [given])[0]
    tenants.family.remove(0)
    tenants.family.add(random_weights(tenants.graph, 1)[0])
    assert torch.equal(tenants.run([3], [given])[0], before)
