"""Which channels of which layers can only go together, found by torch-pruning's graph (Fang et al., 2023, DepGraph, arXiv 2301.12900)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor, nn

from paceline.transfer.prune.cost import LayerCost, layers


@dataclass(frozen=True, slots=True)
class Group:
    """Channels 0 to ``width`` - 1, each of which some layers write and some read."""

    root: str  # the layer by which the group is named
    width: int
    writers: tuple[str, ...]  # their outputs are these channels
    readers: tuple[str, ...]  # their inputs are these channels; a depthwise convolution is a writer alone

    def saved_macs(self, costs: Mapping[str, LayerCost]) -> float:
        """MACs that go with one channel, as wide as the layers are now."""
        return sum(costs[name].macs / costs[name].num_out for name in self.writers) + sum(
            costs[name].macs / costs[name].num_in for name in self.readers
        )


@final
class Coupling:
    """The groups of one network, and the knife. Cutting changes the network in place; after that, make a new one."""

    def __init__(self, net: nn.Module, example: Tensor, untouched: Sequence[nn.Module]) -> None:
        import torch_pruning as tp  # an extra: `pip install paceline[prune]`

        # The graph is read off autograd's, which there is none of in a frozen network whose input needs no gradient.
        with torch.enable_grad():
            self._graph = tp.DependencyGraph().build_dependency(
                net, example_inputs=example.clone().requires_grad_(True)
            )
        self._names: dict[nn.Module, str] = {layer: name for name, layer in layers(net).items()}
        self._layers = layers(net)
        self.groups = tuple(self._find(list(untouched)))

    def cut(self, group: Group, channels: Sequence[int]) -> None:
        """Removes ``channels`` of ``group`` from every layer that writes or reads them."""
        layer = self._layers[group.root]
        knife = self._graph.get_pruner_of_module(layer).prune_out_channels
        self._graph.get_pruning_group(layer, knife, sorted(channels)).prune()

    def _find(self, untouched: list[nn.Module]) -> Iterator[Group]:
        for found in self._graph.get_all_groups(ignored_layers=untouched, root_module_types=(nn.Conv2d, nn.Linear)):
            group = self._group(found)
            if group is not None:
                yield group

    def _group(self, found: Any) -> Group | None:
        root = self._names[found[0].dep.target.module]
        width = len(found[0].idxs)
        writers: dict[str, None] = {}  # in order, each once
        readers: dict[str, None] = {}
        for dependency, channels in found:
            name = self._names.get(dependency.target.module)
            if name is None:
                continue
            if list(channels) != list(range(width)):
                return None  # channels that a reader sees in another order or number are left alone
            writes = self._graph.is_out_channel_pruning_fn(dependency.handler)
            (writers if writes else readers)[name] = None
        return Group(root, width, tuple(writers), tuple(name for name in readers if name not in writers))
