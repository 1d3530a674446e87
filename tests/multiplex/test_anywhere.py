"""Any tenants in one launch: no dead rows, no copies, the same results."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from paceline.multiplex.family import Family, Numerics
from paceline.multiplex.lower.bundle import Ragged, Stacked
from paceline.multiplex.lower.compare import same_bits
from paceline.multiplex.native import library
from paceline.multiplex.op import Graph, Value
from tests.multiplex.made import NETS, Maker, interpreted, random_weights

pytestmark = pytest.mark.skipif(library.level() is None, reason="the kernels were not built")


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


def family_of(
    graph: Graph, num_tenants: int, *, numerics: Numerics = "close"
) -> tuple[Family, list[dict[str, Tensor]]]:
    torch.manual_seed(0)
    family = Family(graph, numerics=numerics)
    weights = random_weights(graph, num_tenants)
    for each in weights:
        family.add(each)
    family._grouping.anywhere.learn_gain(2, 1, 9.0)
    return family, weights


def two_chains() -> Graph:
    """Something that no chain has stands between two products."""
    make = Maker(torch.randn(1, 12))
    return make.graph(make.linear(make("exp.default", make.linear(Value(0), 12)), 5))


GRAPHS: dict[str, Callable[[], Graph]] = {
    **{name: NETS[name] for name in ("mlp", "lstm", "encoder")},
    "two chains": two_chains,
}


def check(family: Family, weights: list[dict[str, Tensor]], slots: list[int], rows: list[int]) -> None:
    inputs = [torch.randn(family.graph.inputs[0].sizes(count)) for count in rows]
    made = family.run(0, slots, [(x,) for x in inputs])
    for slot, x, state in zip(slots, inputs, made, strict=True):
        assert isinstance(state, tuple)
        torch.testing.assert_close(state[0], interpreted(family.graph, weights[slot], (x,))[0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", GRAPHS)
def test_any_tenants_in_any_order_with_any_rows(name: str) -> None:
    family, weights = family_of(GRAPHS[name](), 6)
    for slots, rows in (([0, 2, 5], [1, 1, 1]), ([4, 1], [3, 2]), ([5, 3, 1, 0], [1, 9, 4, 2]), ([0, 1], [1, 1])):
        check(family, weights, slots, rows)
        (part,) = [part for _, part in family._grouping.plan(tuple(sorted(slots)), 1).parts]
        assert isinstance(part, Stacked if name == "two chains" else Ragged)
    assert family._grouping.own_bytes() == 0


def test_new_numbers_and_new_tenants_are_seen_at_once() -> None:
    family, weights = family_of(GRAPHS["mlp"](), 4)
    check(family, weights, [0, 3], [1, 2])
    (weights[3],) = random_weights(family.graph, 1)
    family.update(3, weights[3])
    check(family, weights, [0, 3], [1, 2])
    for _ in range(20):  # past its capacity the stack moves
        weights += random_weights(family.graph, 1)
        family.add(weights[-1])
        check(family, weights, [1, len(weights) - 1], [2, 1])
    family.remove(2)
    check(family, weights, [1, 3, 23], [1, 1, 1])
    weights[2] = dict(weights[1])
    assert family.add(weights[2]) == 2
    check(family, weights, [0, 1, 2], [1, 2, 3])


@pytest.mark.parametrize("name", GRAPHS)
def test_exact_bits_in_any_company(name: str) -> None:
    family, _ = family_of(GRAPHS[name](), 6, numerics="exact")
    inputs = [torch.randn(family.graph.inputs[0].sizes(3)) for _ in range(6)]
    alone = [family.run(0, [slot], [(x,)])[0] for slot, x in enumerate(inputs)]
    for slots in ([0, 2, 5], [4, 1], [5, 4, 3, 2, 1, 0]):
        made = family.run(0, slots, [(inputs[slot],) for slot in slots])
        for slot, state in zip(slots, made, strict=True):
            assert isinstance(state, tuple)
            assert same_bits(state[0], alone[slot][0])  # type: ignore[index]


def test_weights_that_are_read_elsewhere_leave_the_old_way() -> None:
    family, weights = family_of(NETS["resnet"](), 4)
    assert family._grouping.anywhere.part([0, 2], 1) is None
    check(family, weights, [0, 2], [1, 2])


def test_it_is_measured_and_not_taken_where_it_is_slower() -> None:
    family, _ = family_of(GRAPHS["mlp"](), 4)
    (choice,) = family.tune([0, 1, 2, 3], 1)
    assert choice.anywhere > 0
    family._grouping.anywhere._measured.clear()
    family._grouping.anywhere.learn_gain(4, 1, 0.9)
    family._grouping.forget_plans()
    assert family._grouping.anywhere.gain(8, 2) == 0.9
    assert not any(isinstance(part, Ragged) for _, part in family._grouping.plan((0, 2, 3), 1).parts)
