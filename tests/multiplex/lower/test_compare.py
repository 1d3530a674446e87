"""How near two results are."""

from __future__ import annotations

import torch

from paceline.multiplex.lower.compare import are_close, bits, same_bits


def test_bits_tell_zeros_apart_and_nan_is_itself() -> None:
    nan = torch.tensor([float("nan"), 0.0])
    assert same_bits(nan, nan.clone())
    assert not same_bits(torch.tensor([0.0]), torch.tensor([-0.0]))
    assert bits(torch.tensor([1.5])).dtype == torch.int32
    assert bits(torch.tensor([3])).dtype == torch.int64


def test_close_is_relative_and_absolute() -> None:
    one = torch.tensor([1.0, 0.0])
    assert are_close([one], [one + torch.tensor([9e-5, 9e-6])])
    assert not are_close([one], [one + torch.tensor([3e-4, 0.0])])
    assert not are_close([one], [one.double()])
