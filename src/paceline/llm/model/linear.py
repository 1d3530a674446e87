"""Matrix products of the torch network: plain, packed for oneDNN, or with quantised weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from paceline.llm.model.quantize import Bits, quantize
from paceline.llm.model.tensorfile import Tensor

_STORED = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}

_QUANTIZED_ROWS = 512


class Linear(Protocol):
    """``x @ weight.T + bias``, plus ``residual`` where one is given."""

    num_bytes: int

    def __call__(self, x: torch.Tensor, residual: torch.Tensor | None = None) -> torch.Tensor: ...


@dataclass(frozen=True, slots=True)
class Placement:
    """Where weights live, what type they are computed in, and how they are stored."""

    device: torch.device
    dtype: torch.dtype
    bits: Bits | None = None  # of quantised weights

    @property
    def packs(self) -> bool:
        """Whether oneDNN's own weight layout is the fast one: bfloat16 on a CPU that computes with it."""
        return (
            self.device.type == "cpu"
            and self.dtype == torch.bfloat16
            and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
        )

    def load(self, tensor: Tensor) -> torch.Tensor:
        """A stored tensor in the computing type; the copy is the network's own."""
        data = tensor.data.view(np.int16) if tensor.dtype == "bfloat16" else tensor.data
        values = torch.from_numpy(np.array(data)).view(_STORED[tensor.dtype])
        return values.to(self.device, self.dtype)

    def head(self, weight: Tensor) -> Linear:
        """The product that makes logits; quantised to eight bits at the least."""
        return replace(self, bits=self.bits and 8).linear((weight,))

    def linear(self, parts: Sequence[Tensor], biases: Sequence[Tensor | None] = ()) -> Linear:
        """One product for several matrices with the same input, stacked: ``parts`` are [N_i, K]."""
        stored = [bias for bias in biases if bias is not None]
        bias = torch.cat([self.load(part) for part in stored]) if stored else None
        if self.bits is not None:
            return QuantizedLinear(parts, bias, self, self.bits)
        weight = torch.empty(
            sum(len(part.data) for part in parts), parts[0].data.shape[1], dtype=self.dtype, device=self.device
        )
        start = 0
        for part in parts:
            weight[start : start + len(part.data)] = self.load(part)
            start += len(part.data)
        return PackedLinear(weight, bias) if self.packs else PlainLinear(weight, bias)


@final
class PlainLinear:
    """The weight as it is; shares storage with whoever made it."""

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None = None) -> None:
        self.weight, self.bias = weight, bias
        self.num_bytes = weight.nbytes

    def __call__(self, x: torch.Tensor, residual: torch.Tensor | None = None) -> torch.Tensor:
        product = functional.linear(x, self.weight, self.bias)
        return product if residual is None else product.add_(residual)


@final
class PackedLinear:
    """The weight in oneDNN's layout, several times faster than ``PlainLinear`` at few rows."""

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None = None) -> None:
        self.num_bytes = weight.nbytes
        self._weight = torch.ops.mkldnn._reorder_linear_weight(weight)
        self._bias = bias

    def __call__(self, x: torch.Tensor, residual: torch.Tensor | None = None) -> torch.Tensor:
        if residual is None:
            plain: torch.Tensor = torch.ops.mkldnn._linear_pointwise(x, self._weight, self._bias, "none", [], "")
            return plain
        added: torch.Tensor = torch.ops.mkldnn._linear_pointwise.binary(x, residual, self._weight, self._bias, "add")
        return added


@final
class QuantizedLinear:
    """Levels and scales in the format of ``quantize``, expanded at each call: little memory, no speed."""

    def __init__(self, parts: Sequence[Tensor], bias: torch.Tensor | None, placement: Placement, bits: Bits) -> None:
        self._bits: Bits = bits
        self._depth = parts[0].data.shape[1]
        self._bias = bias
        levels, scales = [], []
        for part in parts:
            for start in range(0, len(part.data), _QUANTIZED_ROWS):  # float32 copies of a few rows at a time
                rows = Tensor(part.data[start : start + _QUANTIZED_ROWS], part.dtype)
                quantized = quantize(_widened(rows), bits)
                levels.append(torch.from_numpy(_packed(quantized.levels) if bits == 4 else quantized.levels))
                scales.append(torch.from_numpy(quantized.scales))
        self._levels = torch.cat(levels).to(placement.device)  # [N, G, group], two in a byte for four bits
        self._scales = torch.cat(scales)[..., None].to(placement.device, placement.dtype)  # [N, G, 1]
        self.num_bytes = self._levels.nbytes + self._scales.nbytes

    def __call__(self, x: torch.Tensor, residual: torch.Tensor | None = None) -> torch.Tensor:
        levels = self._levels
        if self._bits == 4:
            levels = torch.stack((levels & 15, levels >> 4), -1).flatten(-2).to(torch.int8) - 8
        weight = (levels * self._scales).flatten(1)[:, : self._depth]
        product = functional.linear(x, weight, self._bias)
        return product if residual is None else product.add_(residual)


def _widened(tensor: Tensor) -> NDArray[np.float32]:
    if tensor.dtype == "bfloat16":
        return (tensor.data.astype(np.uint32) << 16).view(np.float32)
    return tensor.data.astype(np.float32)


def _packed(levels: NDArray[np.int8]) -> NDArray[np.uint8]:
    """Levels -8..7 as halves of bytes, the first in the low half."""
    halves = (levels + 8).astype(np.uint8)
    packed: NDArray[np.uint8] = halves[..., ::2] | (halves[..., 1::2] << np.uint8(4))
    return packed
