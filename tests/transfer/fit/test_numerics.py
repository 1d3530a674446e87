from __future__ import annotations

import pytest
import torch

from paceline.errors import ConfigError
from paceline.transfer.fit.numerics import Numerics, threads
from tests.transfer.small_net import batches, small_net


def test_the_precision_that_is_asked_for() -> None:
    for precision in ("float32", "bfloat16"):
        numerics = Numerics("cpu", precision)
        with numerics.autocast():
            made = torch.nn.functional.linear(torch.ones(2, 2), torch.ones(2, 2))
        assert made.dtype == getattr(torch, precision)


def test_auto_is_one_of_them() -> None:
    assert Numerics().bfloat16 in (True, False)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_device_that_is_not_there() -> None:
    with pytest.raises(ConfigError, match="cuda"):
        Numerics("cuda")


def test_an_unknown_device() -> None:
    with pytest.raises(ConfigError, match="abacus"):
        Numerics("abacus")


def test_threads_are_given_back_after_a_failure() -> None:
    before = torch.get_num_threads()

    def fail() -> None:
        with threads(1):
            assert torch.get_num_threads() == 1
            raise ValueError

    with pytest.raises(ValueError, match=r"^$"):
        fail()
    assert torch.get_num_threads() == before


@pytest.mark.parametrize("gate", ["affine", "lora", "full", None])
def test_kernels_kept_in_their_precision_change_no_bit_and_come_back(gate: str | None) -> None:
    net, numerics = small_net(gate), Numerics(precision="bfloat16")
    before = [unit.conv.weight for unit in net.backbone.units]
    ((x, _),) = batches(4, 4)

    def made() -> list[torch.Tensor]:
        net.zero_grad()
        with numerics.autocast():
            y = net(x)
        y.float().square().sum().backward()
        return [y.detach(), *(p.grad.clone() for p in net.parameters() if p.grad is not None)]

    net.backbone.requires_grad_(False)
    plain = made()
    with numerics.kept_kernels(net):
        kept = {unit.conv.weight.dtype for unit in net.backbone.units}
        assert kept == ({torch.float32} if gate in ("lora", "full") else {torch.bfloat16})
        assert all(map(torch.equal, plain, made()))
    assert all(unit.conv.weight is weight for unit, weight in zip(net.backbone.units, before, strict=True))


def test_kernels_that_are_learned_stay_as_they_are() -> None:
    net = small_net(None).requires_grad_(True)
    with Numerics(precision="bfloat16").kept_kernels(net):
        assert all(unit.conv.weight.dtype is torch.float32 for unit in net.backbone.units)
