"""The stack owns the numbers: one row for every different weight, views where rows lie side by side."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from paceline.errors import InvalidRequest
from paceline.multiplex.op import Spec
from paceline.multiplex.stack import Stack

SPECS = {"matrix": Spec((4, 3), "float32"), "scale": Spec((3,), "float32")}


def weights(number: float, scale: float = 1.0) -> dict[str, Tensor]:
    return {"matrix": torch.full((4, 3), number), "scale": torch.full((3,), scale)}


def stack_of(*each: dict[str, Tensor], capacity: int = 16) -> Stack:
    stack = Stack(SPECS, device=torch.device("cpu"), capacity=capacity)
    for place, one in enumerate(each):
        assert stack.add(one)[0] == place
    return stack


def test_different_weights_are_views_of_the_stack() -> None:
    stack = stack_of(*[weights(float(number), float(number)) for number in range(5)])
    group = stack.group([1, 2, 3])
    assert group.stacked["matrix"][:, 0, 0].tolist() == [1, 2, 3]
    assert group.own_bytes == 0
    assert group.stacked["matrix"][0].data_ptr() == stack.views(1)["matrix"].data_ptr()


def test_equal_weights_lie_there_once() -> None:
    stack = stack_of(*[weights(float(number)) for number in range(5)])
    group = stack.group([0, 1, 4])
    assert set(group.shared) == {"scale"}
    assert stack.memory_bytes() == 5 * 4 * 3 * 4 + 3 * 4
    assert stack.num_different([0, 1, 4]) == 1


def test_nan_is_equal_to_itself_and_zero_is_not_minus_zero() -> None:
    nan = float("nan")
    stack = stack_of(weights(nan, 0.0), weights(nan, -0.0))
    assert set(stack.group([0, 1]).shared) == {"matrix"}
    assert str(stack.views(1)["scale"][0]) == "tensor(-0.)"


def test_scattered_weights_are_copied_and_counted() -> None:
    stack = stack_of(*[weights(float(number), float(number)) for number in range(5)])
    group = stack.group([0, 3])
    assert group.stacked["matrix"][:, 0, 0].tolist() == [0, 3]
    assert group.own_bytes == stack.copied_bytes([0, 3]) == 2 * (12 + 3) * 4
    assert stack.copied_bytes([2, 3, 4]) == 0


def test_without_sharing_equal_weights_are_handed_out_per_tenant() -> None:
    stack = stack_of(weights(1.0), weights(1.0))
    for slots in ([0], [0, 1]):
        group = stack.group(slots, sharing=False)
        assert not group.shared
        assert group.stacked["matrix"].shape == (len(slots), 4, 3)
    assert stack.copied_bytes([0, 1]) == 0


def test_an_update_leaves_those_alone_that_shared_the_numbers() -> None:
    stack = stack_of(weights(1.0), weights(1.0), weights(1.0))
    stack.update(1, weights(2.0))
    assert [float(stack.views(slot)["matrix"][0, 0]) for slot in range(3)] == [1, 2, 1]


def test_an_update_from_the_own_views_changes_nothing() -> None:
    stack = stack_of(weights(1.0, 2.0), weights(3.0, 4.0))
    stack.update(0, stack.views(0))
    assert float(stack.views(0)["scale"][0]) == 2


def test_slots_and_rows_are_used_again() -> None:
    stack = stack_of(*[weights(float(number), float(number)) for number in range(4)])
    stack.remove(1)
    assert stack.slots == {0, 2, 3}
    assert stack.add(weights(9.0, 9.0)) == (1, False)
    assert stack.group([0, 1, 2, 3]).own_bytes == 0


def test_places_of_nobody_do_not_tear_a_group_apart() -> None:
    stack = stack_of(*[weights(float(number), float(number)) for number in range(4)])
    stack.remove(1)
    group = stack.group([0, 1, 2])
    assert group.own_bytes == 0
    assert group.stacked["matrix"][:, 0, 0].tolist() == [0, 0, 2]


def test_it_grows_past_its_capacity_and_says_so() -> None:
    stack = stack_of(weights(0.0, 0.0), weights(1.0, 1.0), capacity=2)
    slot, moved = stack.add(weights(2.0, 2.0))
    assert (slot, moved) == (2, True)
    assert stack.group([0, 1, 2]).stacked["scale"][:, 0].tolist() == [0, 1, 2]


def test_many_tenants_over_one_base_cost_the_base_once() -> None:
    specs = {"base": Spec((1000, 50), "float32"), "own": Spec((10,), "float32")}
    stack = Stack(specs, device=torch.device("cpu"))
    base = torch.randn(1000, 50)
    for number in range(100):
        stack.add({"base": base.clone(), "own": torch.full((10,), float(number))})
    assert stack.memory_bytes() == (1000 * 50 + 100 * 10) * 4
    assert len({stack.base(slot) for slot in stack.slots}) == 1


@pytest.mark.parametrize("wrong", [{}, {"matrix": torch.zeros(3, 4)}, {"matrix": torch.zeros(4, 3).double()}])
def test_wrong_weights_are_refused_by_name(wrong: dict[str, Tensor]) -> None:
    stack = stack_of(weights(1.0))
    with pytest.raises(InvalidRequest, match="matrix"):
        stack.add({"scale": torch.zeros(3), **wrong})
    assert stack.slots == {0}
