"""How a device computes: precision, order of a picture's values in memory, threads."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Final, final

import torch
from torch import Tensor, nn

from paceline.errors import ConfigError
from paceline.transfer.adapted import AdaptedNet
from paceline.transfer.backbone.unit import Unit
from paceline.transfer.fit.options import Precision
from paceline.transfer.gates.gate import Gate


@final
class Numerics:
    """bfloat16 for what bears it, where the device is fast at it or the user says so, on channels-last tensors.

    ConfigError for a device that is not there.
    """

    def __init__(self, device: str = "cpu", precision: Precision = "auto") -> None:
        self.device: Final = _device(device)
        fast = _is_fast_at_bfloat16(self.device)
        self.bfloat16: Final = fast if precision == "auto" else precision == "bfloat16"

    def autocast(self) -> AbstractContextManager[object]:
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.bfloat16)

    @contextlib.contextmanager
    def kept_kernels(self, net: AdaptedNet) -> Iterator[None]:
        """Inside, kernels that nothing learns have the precision they are used in, instead of being cast in every step."""
        frozen = [unit.conv for unit in net.backbone.units if self.bfloat16 and _is_only_read(unit)]
        before = [conv.weight for conv in frozen]
        try:
            for conv in frozen:
                conv.weight = nn.Parameter(conv.weight.to(torch.bfloat16), requires_grad=False)
            yield
        finally:
            for conv, weight in zip(frozen, before, strict=True):
                conv.weight = weight

    def place(self, pictures: Tensor) -> Tensor:
        """[B, C, H, W], channels last in memory: what convolutions on both kinds of device like best."""
        return pictures.to(self.device, memory_format=torch.channels_last, non_blocking=True)


def _is_only_read(unit: Unit) -> bool:
    makes_another = isinstance(unit.gate, Gate) and type(unit.gate).kernel is not Gate.kernel
    return not unit.conv.weight.requires_grad and not makes_another


def _device(name: str) -> torch.device:
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ConfigError(f"unknown device {name!r}; give cpu, cuda or cuda:0") from None
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ConfigError(f"device {name!r} is not there: this torch sees no CUDA device; give device='cpu'")
    return device


def _is_fast_at_bfloat16(device: torch.device) -> bool:
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return bool(torch.cpu.get_capabilities().get("avx512_bf16") or torch.cpu.get_capabilities().get("amx_bf16"))


@contextlib.contextmanager
def threads(num_threads: int | None) -> Iterator[None]:
    """Lets torch use so many threads, for a while."""
    before = torch.get_num_threads()
    torch.set_num_threads(num_threads or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)
