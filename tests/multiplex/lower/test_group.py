"""Weights of a group, and the layouts that are made of them."""

from __future__ import annotations

import torch

from paceline.multiplex.lower.group import Group, at_line, tensor_bytes


def group() -> Group:
    return Group(3, {"base": torch.randn(4, 5)}, {"own": torch.randn(3, 4, 5)})


def test_every_tenant_has_every_weight() -> None:
    both = group()
    assert both.every("base").shape == both.every("own").shape == (3, 4, 5)
    assert both.every("base").data_ptr() == both.shared["base"].data_ptr()
    assert torch.equal(both.one("own", 2), both.stacked["own"][2])


def test_layouts_are_made_once_and_only_copies_count() -> None:
    both = group()
    with torch.inference_mode():
        for _ in range(2):
            both.prepared("view", ("own",), lambda each: each.flatten(0, 1))
            both.prepared("copy", ("own",), lambda each: each.transpose(1, 2).contiguous())
    assert both.own_bytes == tensor_bytes(both.stacked["own"])
    both.forget_prepared()
    assert both.own_bytes == 0


def test_layouts_of_shared_weights_are_common_to_groups() -> None:
    one, other = group(), group()
    other.shared, other.common = one.shared, one.common
    made = one.prepared_shared("turned", "base", lambda each: each.t().contiguous())
    assert other.prepared_shared("turned", "base", lambda each: each) is made
    assert one.own_bytes == 0


def test_exact_weights_start_at_a_line() -> None:
    exact = Group(3, {}, {"own": torch.randn(3, 3)}, exact=True)
    assert all(exact.one("own", tenant).data_ptr() % 64 == 0 for tenant in range(3))
    assert at_line(exact.stacked["own"]) is exact.stacked["own"]
