"""How accuracy falls as a network is cut further and further, before and after healing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import msgspec
from safetensors.torch import save
from torch import Tensor, nn

from paceline.transfer.criteria import Batches
from paceline.transfer.prune.cost import num_macs, num_parameters
from paceline.transfer.prune.cut import PruneOptions
from paceline.transfer.prune.gradual import prune_further
from paceline.transfer.prune.latency import interleaved_s

SHARES: Final = (0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3)


class CurvePoint(msgspec.Struct, frozen=True, kw_only=True):
    """One network of the curve. The first of a curve is the whole network, whose accuracies are both its own."""

    share: float  # of the multiplications that was asked for
    num_macs: int  # of one picture
    num_parameters: int
    accuracy_cut: float  # before healing
    accuracy: float  # healed
    latency_s: float  # of one batch
    latency_share: float  # of the whole network's, timed in turns with this one
    num_bytes: int  # of its file, in float32


class PruningCurve(msgspec.Struct, frozen=True, kw_only=True):
    points: tuple[CurvePoint, ...]  # the whole network first
    batch_size: int  # of the latencies


def pruning_curve(
    net: nn.Module,
    batches: Batches,
    accuracy: Callable[[nn.Module], float],
    heal: Callable[[nn.Module, nn.Module], None],
    *,
    shares: Sequence[float] = SHARES,
    options: PruneOptions,
    keep: Callable[[float, nn.Module], None] | None = None,
) -> PruningCurve:
    """Cuts a folded ``net`` to each of ``shares`` of its multiplications, and lets it heal by ``heal(pruned, net)``.

    From the largest share to the smallest, each point is cut from the healed one before: what is cut a little at a time heals to
    more. Latency is measured in turns with the whole network, on the first of ``batches``; ``keep`` is given each healed network.
    """
    example = next(iter(batches))[0]
    whole = _point(1.0, net, net, example, accuracy(net), accuracy(net))
    points, small = [whole], net
    for share in sorted(shares, reverse=True):
        small = prune_further(small, net, batches, msgspec.structs.replace(options, macs=share))
        cut = accuracy(small)
        heal(small, net)
        points.append(_point(share, small, net, example, cut, accuracy(small)))
        if keep is not None:
            keep(share, small)
    return PruningCurve(points=tuple(points), batch_size=len(example))


def _point(
    share: float, net: nn.Module, whole: nn.Module, example: Tensor, accuracy_cut: float, accuracy: float
) -> CurvePoint:
    seconds = interleaved_s({"net": net, "whole": whole}, example)
    return CurvePoint(
        share=share,
        num_macs=num_macs(net, example),
        num_parameters=num_parameters(net),
        accuracy_cut=accuracy_cut,
        accuracy=accuracy,
        latency_s=seconds["net"],
        latency_share=1.0 if net is whole else seconds["net"] / seconds["whole"],
        num_bytes=len(save({name: tensor.contiguous() for name, tensor in net.state_dict().items()})),
    )
