"""Many adapters over one base, in one batch: each row of it is answered by the adapter that it asks for.

An adapter is a scale and a shift of every channel, so the network's own norms go into them: a unit is its convolution, which all rows
share, and one multiplication and addition, with numbers of each row's own, in place of the norm.
"""

from __future__ import annotations

import copy
import threading
from collections.abc import Iterator, Sequence
from typing import NamedTuple, final

import torch
from torch import Tensor, nn
from torch.nn import functional

from paceline.errors import ConfigError, InvalidRequest
from paceline.transfer.adapted import AdaptedNet
from paceline.transfer.backbone.backbone import Backbone
from paceline.transfer.backbone.unit import Unit
from paceline.transfer.gates.gate import tables


class _Adapter(NamedTuple):
    row: Tensor  # scales of all units, then shifts of all units
    head: nn.Linear


@final
class _Mixed:
    """Sits where a unit's gate sits, for one batch: [B, O, 1, 1] each."""

    def __init__(self, scale: Tensor, shift: Tensor) -> None:
        self.scale = scale
        self.shift = shift

    def __call__(self, unit: Unit, x: Tensor) -> Tensor:
        y = unit.conv(x)
        return torch.addcmul(self.shift, y, self.scale, out=y)  # in place, so it costs half of what a norm does


@final
class AdapterTables:
    """Adapters by name, over one base whose tensors they share. May be used from several threads; passes run one after another.

    >>> from paceline.transfer.backbone.backbone import build
    >>> base = build("glyphnet", num_inputs=1)
    >>> mixed = AdapterTables(base)
    >>> mixed.add("birds", AdaptedNet(base.copied(), num_classes=3))
    >>> mixed.add("cars", AdaptedNet(base.copied(), num_classes=5))
    >>> [tuple(logits.shape) for logits in mixed(torch.rand(3, 1, 64, 64), ["birds", "cars", "birds"])]
    [(3,), (5,), (3,)]
    """

    def __init__(self, base: Backbone) -> None:
        self._kernels = {unit.name: unit.conv.weight for unit in base.units}
        self._backbone = base.without_norms().eval()
        self._sizes = [unit.conv.out_channels for unit in base.units]
        self._adapters: dict[str, _Adapter] = {}
        self._lock = threading.Lock()
        for unit in self._backbone.units:  # in this order of memory, rows of channels lie as their scales do
            kernel = unit.conv.weight.detach()
            # A kernel of one input has its strides in both orders, and ``contiguous`` would leave it in the other one.
            ordered = torch.empty_like(kernel, memory_format=torch.channels_last).copy_(kernel)
            unit.conv.weight = nn.Parameter(ordered, requires_grad=False)

    def add(self, name: str, net: AdaptedNet) -> None:
        """Takes an adapter, in place of one that may have this name. Later changes of ``net`` are not seen.

        ConfigError for a gate that is more than a scale and a shift of each channel, or an adapter of another base.
        """
        for unit, gate in net.gated():
            if not gate.mixable:
                raise ConfigError(
                    f"adapter {name!r} has gates of kind {gate.name!r} ({unit.name}), which is more than a scale and a shift of each "
                    "channel, so its rows cannot share a batch with others: fold it and serve it alone"
                )
        if not self._is_base_of(net):
            raise ConfigError(f"adapter {name!r} belongs to another base: its convolutions are not the same")
        with torch.no_grad():
            parts = [tables(unit) for unit in net.backbone.units]
            row = torch.cat([*(scale for _, scale, _ in parts), *(shift for _, _, shift in parts)])
        with self._lock:
            self._adapters[name] = _Adapter(row, copy.deepcopy(net.head).requires_grad_(False))

    def remove(self, name: str) -> None:
        """InvalidRequest if there is none of this name."""
        with self._lock:
            self._known([name])
            del self._adapters[name]

    def __iter__(self) -> Iterator[str]:
        return iter(tuple(self._adapters))

    def __len__(self) -> int:
        return len(self._adapters)

    def num_bytes(self) -> int:
        """Memory of all adapters, without that of the base."""
        return sum(each.nbytes for row, head in self._adapters.values() for each in (row, head.weight, head.bias))

    @torch.inference_mode()
    def __call__(self, x: Tensor, adapters: Sequence[str]) -> list[Tensor]:
        """Logits of each row by the adapter named for it: [B, C, H, W] -> B times [num_classes of its adapter].

        InvalidRequest for a name that is not known, or another number of names than of rows.
        """
        if len(adapters) != len(x) or not adapters:
            raise InvalidRequest(f"there are {len(x)} rows, but names of {len(adapters)} adapters", param="adapters")
        with self._lock:
            chosen = self._known(adapters)
            rows = torch.stack([each.row for each in chosen])[:, :, None, None]  # [B, 2 * sum of O, 1, 1]
            parts = rows.split_with_sizes(self._sizes * 2, 1)
            for unit, scale, shift in zip(self._backbone.units, parts, parts[len(self._sizes) :], strict=False):
                unit.gate = _Mixed(scale, shift)
            features = self._backbone(x.contiguous(memory_format=torch.channels_last))
        return _headed(features, chosen)

    def _known(self, names: Sequence[str]) -> list[_Adapter]:
        try:
            return [self._adapters[name] for name in names]
        except KeyError as error:
            raise InvalidRequest(f"there is no adapter {error.args[0]!r}", param="adapters") from None

    def _is_base_of(self, net: AdaptedNet) -> bool:
        kernels = {unit.name: unit.conv.weight for unit in net.backbone.units}
        return [*kernels] == [*self._kernels] and all(_same(kernels[name], own) for name, own in self._kernels.items())


def _same(one: Tensor, other: Tensor) -> bool:
    """Adapters that were loaded on one base hold the same tensors, which are not read for this."""
    is_shared = one.data_ptr() == other.data_ptr() and one.shape == other.shape and one.stride() == other.stride()
    return is_shared or torch.equal(one, other)


def _headed(features: Tensor, chosen: Sequence[_Adapter]) -> list[Tensor]:
    """One product for each adapter, over the rows that are its own."""
    places: dict[int, list[int]] = {}
    for place, adapter in enumerate(chosen):
        places.setdefault(id(adapter.head), []).append(place)
    logits: list[Tensor] = [features] * len(chosen)
    for own in places.values():
        head = chosen[own[0]].head
        for place, row in zip(own, functional.linear(features[own], head.weight, head.bias), strict=True):
            logits[place] = row
    return logits
