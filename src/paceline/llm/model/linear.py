"""Matrix products of the torch network: plain, packed for oneDNN, or with quantised weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, final

import numpy as np
import torch
from torch.nn import functional

from paceline.llm.model.tensorfile import Tensor

_STORED = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


class Linear(Protocol):
    """``x @ weight.T + bias``, plus ``residual`` where one is given."""

    num_bytes: int

    def __call__(self, x: torch.Tensor, residual: torch.Tensor | None = None) -> torch.Tensor: ...


@dataclass(frozen=True, slots=True)
class Placement:
    """Where weights live, what type they are computed in, and how they are stored."""

    device: torch.device
    dtype: torch.dtype
    bits: Literal[4, 8] | None = None  # of quantised weights

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
    """Whole numbers and scales, expanded at each call: little memory, no speed.

    The format is that of ``quantize``; the native runner computes with it directly.
    """

    def __init__(
        self, parts: Sequence[Tensor], bias: torch.Tensor | None, placement: Placement, bits: Literal[4, 8]
    ) -> None:
        raise NotImplementedError
