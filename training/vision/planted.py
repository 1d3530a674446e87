"""A network of which we know channels that cannot matter, to check rankings of channels against.

Construction. The network is a base network and, beside it, a planted lane of half its width that shares no weight path with it:

1. Pictures have three channels. The first holds the picture whose class is asked for; the second, the distractor, holds another beetle whose
   class and all else are drawn apart from the first; the third is empty.
2. In every convolution the first O output channels are those of the base: their weights on the base's inputs are the base's, on all others 0.
   So they compute what the base, with the statistics of point 4, computes on the first picture channel.
3. The next O / 2 output channels are planted. Each is a copy of a base channel chosen at random, restricted to the copied half of that
   convolution's inputs and scaled to the L1 norm of the original; on all other inputs, the first picture channel among them, its weights are 0.
   Channels that meet in a residual sum are copies of the same base channels.
4. Gamma and beta of the norms are the base's and copies of them. Running mean and variance of all norms, in both lanes, are measured anew on
   beetles, as the base has never seen one: otherwise its own channels would be the less active ones.

Hence every planted channel is a function of the distractor alone. The distractor is independent of the class and of the first picture, so the
mutual information between all planted channels together and the class, given the rest, is exactly 0: the best predictor ignores them,
and removing them costs nothing but what a head made of their noise. Yet their kernels have the L1 norms of the channels they were copied from,
the same gamma and beta, hence the same mean and variance before the ReLU, and the distractor is drawn like the picture. A criterion that is
blind to the labels has nothing to go by before a fit; chance is `share` in :func:`recall`.

The check is about planted channels only. That the base's own channels matter is not claimed; many may not, for a given target.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from paceline.transfer.backbone.backbone import Backbone, Preprocessing, build
from paceline.transfer.embedded.jitter import Grey
from paceline.transfer.embedded.targets import load_target
from training.vision.pictures import to_input

PREPROCESSING: Final = Preprocessing(size=64, resize=64, mean=(0.5,) * 3, std=(0.5,) * 3)
_SHARE: Final = 2  # a planted lane has the base's width divided by this


class Planted(NamedTuple):
    """A frozen network of three input channels, and for each of its units which output channels are planted."""

    backbone: Backbone
    irrelevant: dict[str, NDArray[np.bool_]]  # unit name -> [O]


def with_distractor(images: Grey, seed: int) -> Grey:
    """Each picture beside another beetle of random kind: uint8 [N, 1, 64, 64] -> [N, 3, 64, 64]."""
    others = distractors(len(images), seed)
    return np.concatenate([images, others, np.full_like(images, 127)], axis=1)


def distractors(num: int, seed: int) -> Grey:
    """Beetles in random order of kinds, from streams that no target uses: uint8 [N, 1, 64, 64]."""
    kinds = len(load_target("procedural", 1).classes)
    pictures = load_target("procedural", -(-num // kinds), seed=_DISTRACTORS + seed).images
    return pictures[np.random.default_rng((_DISTRACTORS, seed)).permutation(len(pictures))[:num]]


_DISTRACTORS: Final = 1 << 32  # beyond the seeds of targets


def plant(base: Backbone, seed: int = 0, num_pictures: int = 1024) -> Planted:
    """``base`` (one input channel, bottleneck ResNet) with a planted lane beside it."""
    width = base.units[0].conv.out_channels
    wide = build(base.arch, norm="batch", num_inputs=3, width=width + width // _SHARE)
    streams = _Streams(np.random.default_rng(seed))
    for old, new in zip(base.units, wide.units, strict=True):
        into, out = streams.ends(old.name, old.conv)
        _copy(old.conv, new.conv, into, out, first=old is base.units[0])
        for name in ("weight", "bias"):
            _lay(getattr(new.norm, name), getattr(old.norm, name), out)
    _measure(wide, torch.from_numpy(distractors(num_pictures, seed)))
    frozen = build(base.arch, norm="frozen", num_inputs=3, width=width + width // _SHARE)
    frozen.load_state_dict(wide.state_dict())
    sizes = zip(base.units, frozen.units, strict=True)
    return Planted(frozen, {new.name: np.arange(new.conv.out_channels) >= old.conv.out_channels for old, new in sizes})


def recall(scores: Mapping[str, NDArray[np.floating]], planted: Planted, share: float = 0.5) -> float:
    """Of the planted channels, how many are among the lowest ``share`` of their unit's channels; by chance it is ``share``.

    ``scores`` has one row [O] for each unit that was ranked. A third of a unit's channels are planted, so the least sensible share is 1/3.
    """
    hits = total = 0
    for name, score in scores.items():
        irrelevant = planted.irrelevant[name]
        by_chance = np.random.default_rng(0).permutation(len(score))  # among equals: planted channels are the last ones
        lowest = np.lexsort((by_chance, score))[: round(share * len(score))]
        hits += int(irrelevant[lowest].sum())
        total += int(irrelevant.sum())
    return hits / total


class _Streams:
    """Which base channels are copied: one choice for each tensor that flows between convolutions."""

    def __init__(self, generator: np.random.Generator) -> None:
        self._generator = generator
        self._chosen: dict[str, Tensor] = {}

    def ends(self, unit: str, conv: nn.Conv2d) -> tuple[Tensor, Tensor]:
        """Chosen inputs and chosen outputs of a convolution."""
        into, out = _tensors(unit)
        return self._of(into, conv.in_channels), self._of(out, conv.out_channels)

    def _of(self, name: str, num: int) -> Tensor:
        if name not in self._chosen:
            chosen = self._generator.permutation(num)[: num // _SHARE]
            self._chosen[name] = torch.from_numpy(np.sort(chosen))
        return self._chosen[name]


def _tensors(unit: str) -> tuple[str, str]:
    """Names of what a convolution reads and writes. All blocks of a stage write into one residual stream."""
    if unit == "conv1":
        return "picture", "stem"
    layer, block, place, *_ = unit.split(".")
    before = "stem" if layer == "layer1" else f"layer{int(layer[-1]) - 1}"
    outside = before if block == "0" else layer
    return {
        "conv1": (outside, f"{layer}.{block}.1"),
        "conv2": (f"{layer}.{block}.1", f"{layer}.{block}.2"),
        "conv3": (f"{layer}.{block}.2", layer),
        "downsample": (outside, layer),
    }[place]


@torch.no_grad()
def _copy(old: nn.Conv2d, new: nn.Conv2d, into: Tensor, out: Tensor, *, first: bool) -> None:
    """The base's kernels and the planted ones; zero wherever the lanes would meet."""
    new.weight.zero_()
    num_out, num_in = old.weight.shape[:2]
    new.weight[:num_out, :num_in] = old.weight
    if first:  # one picture channel each: nothing to choose from
        new.weight[num_out:, 1:2] = old.weight[out]
        return
    part = old.weight[out][:, into]
    norms = old.weight[out].abs().sum((1, 2, 3)) / part.abs().sum((1, 2, 3))
    new.weight[num_out:, num_in:] = part * norms[:, None, None, None]


@torch.no_grad()
def _lay(new: Tensor, old: Tensor, out: Tensor) -> None:
    new.copy_(torch.cat([old, old[out]]))


@torch.no_grad()
def _measure(network: Backbone, pictures: Tensor) -> None:
    """Mean and variance of every norm over the pictures, which are given to both lanes."""
    for unit in network.units:
        assert isinstance(unit.norm, nn.BatchNorm2d)
        unit.norm.momentum = None  # the mean over all batches
        unit.norm.reset_running_stats()
    network.train()
    for batch in pictures.split(128):
        grey = to_input(batch[:, 0].numpy())
        network(torch.cat([grey, grey, torch.zeros_like(grey)], 1))
    network.eval()
