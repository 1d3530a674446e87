"""Ways that values of several tenants lie in a tensor."""

from __future__ import annotations

import itertools

import pytest
import torch

from paceline.multiplex.lower.form import PACK, Form, converted, padded, unpack


@pytest.mark.parametrize(("source", "target"), list(itertools.product(Form, Form)))
@pytest.mark.parametrize("num_rows", [1, 3])
def test_any_form_becomes_any_other(source: Form, target: Form, num_rows: int) -> None:
    tensors = [torch.randn(num_rows, 4, 5) for _ in range(3)]
    packed = PACK[source](tensors)
    assert torch.equal(converted(packed, source, target, (4, 5), 3), PACK[target](tensors))


@pytest.mark.parametrize("form", Form)
def test_unpacking_gives_what_was_packed(form: Form) -> None:
    tensors = [torch.randn(2, 4, 5) for _ in range(3)]
    assert all(map(torch.equal, unpack(PACK[form](tensors), form, 3), tensors))


def test_unpacking_copies_nothing() -> None:
    packed = PACK[Form.SPLIT]([torch.ones(1, 2)] * 2)
    unpack(packed, Form.SPLIT, 2)[1].zero_()
    assert packed[1].tolist() == [[0.0, 0.0]]


def test_padding_keeps_rows_and_adds_zeros() -> None:
    tensor = torch.full((2, 3, 1), float("nan"))
    assert padded(tensor, 4)[:2].isnan().all()
    assert padded(tensor, 4)[2:].eq(0).all()
    assert padded(tensor, 2) is tensor
