from __future__ import annotations

import pytest
import torch

from paceline.errors import ConfigError
from paceline.transfer.fit.numerics import Numerics, threads


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
