"""Silence channels for a while, and see how much worse the network gets: a ranking's test.

What is silenced is the unit's output, behind gate and shift: 0 there, so 0 behind the ReLU too. A gate of 0 would not do that: its
channel would go on saying relu(shift) everywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import AbstractContextManager
from typing import Final, NamedTuple

import torch
from torch import Tensor

from paceline.errors import ConfigError
from paceline.transfer.adapted import AdaptedNet
from paceline.transfer.ranking import Channel, Ranking
from paceline.transfer.tap import Change, inner_units, tapped

SHARES: Final = (0.1, 0.2, 0.3)


class MaskedPoint(NamedTuple):
    """What is left with so many channels silenced."""

    share: float
    num_masked: int
    accuracy: float


def masked(net: AdaptedNet, channels: Iterable[Channel]) -> AbstractContextManager[None]:
    """The network without these channels, for the block. ConfigError for a unit or channel that is not there.

    >>> from paceline.transfer.backbone.backbone import build
    >>> net, x = AdaptedNet(build("glyphnet", num_inputs=1), num_classes=2).eval(), torch.rand(1, 1, 32, 32)
    >>> before = net(x)
    >>> with masked(net, [Channel("conv1", number) for number in range(16)]):
    ...     bool((net(x) == before).all())
    False
    >>> bool((net(x) == before).all())
    True
    """
    widths = {unit.name: unit.conv.out_channels for unit in net.backbone.units}
    silent: dict[str, list[int]] = {}
    for unit, index in channels:
        if unit in widths and not 0 <= index < widths[unit]:
            raise ConfigError(f"{unit} has channels 0 to {widths[unit] - 1}, got {index}")
        silent.setdefault(unit, []).append(index)
    return tapped(net.backbone, {unit: _silencer(indices) for unit, indices in silent.items()})


def masking_curve(
    net: AdaptedNet,
    ranking: Ranking,
    accuracy: Callable[[AdaptedNet], float],
    *,
    shares: Sequence[float] = SHARES,
    units: Collection[str] | None = None,
) -> tuple[MaskedPoint, ...]:
    """Accuracy with the least important ``shares`` of the channels of ``units`` silenced, nothing learned anew.

    ``units`` are by default those whose channels can be cut alone, see ``inner_units``. ConfigError for a share outside [0, 1].
    """
    if bad := [share for share in shares if not 0.0 <= share <= 1.0]:
        raise ConfigError(f"shares of masked channels must be in [0, 1], got {bad[0]}")
    candidates = ranking.within(inner_units(net.backbone) if units is None else units)
    points: list[MaskedPoint] = []
    for share in shares:
        num = round(share * len(candidates))
        with masked(net, [scored.channel for scored in candidates.bottom(num)]):
            points.append(MaskedPoint(share, num, accuracy(net)))
    return tuple(points)


def _silencer(indices: Sequence[int]) -> Change:
    chosen = torch.tensor(sorted(set(indices)))

    def change(y: Tensor) -> Tensor:
        return y.index_fill(1, chosen.to(y.device), 0.0)

    return change
