"""What asking a proposer costs, learned from its calls. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

from paceline.decision.linear import Linear

_ALL = 32  # first calls that are all learned from; later only some are: least squares cost more than many a call
_EVERY = 8


def _basis(features: Sequence[float]) -> Sequence[float]:
    members, depth = features
    return (members, depth, members * depth)


@final
class CallCost:
    """Seconds of a call for ``members`` requests, ``depth`` tokens deep: a plane with their product.

    >>> cost = CallCost()
    >>> cost.observe(1, 1, 60.0)                     # a first use tells of itself alone
    >>> for members, depth in [(1, 1), (1, 8), (8, 1), (8, 8)] * 8:
    ...     cost.observe(members, depth, 0.001 + 0.0005 * depth)
    >>> round(cost.seconds(4, 4), 4), cost.known
    (0.003, True)
    """

    __slots__ = ("_line", "catches_up", "num_calls", "per_depth_s", "per_member_depth_s", "per_member_s", "shared_s")

    def __init__(self) -> None:
        self._line = Linear([64.0, 8.0, 512.0], basis=_basis)  # so a first call tells little of larger ones
        self.num_calls = 0
        self.shared_s = self.per_member_s = self.per_depth_s = self.per_member_depth_s = 0.0
        self.catches_up = True  # and grades itself meanwhile, as far as is known

    @property
    def known(self) -> bool:
        return self.num_calls > 1

    def observe(self, members: int, depth: int, seconds: float) -> None:
        self.num_calls += 1
        if self.num_calls == 1 or (self.num_calls > _ALL and self.num_calls % _EVERY):
            return
        self._line.observe((members, depth), seconds)
        self.shared_s, self.per_member_s, self.per_depth_s, self.per_member_depth_s = self._line.coefficients

    def seconds(self, members: float, depth: float) -> float:
        return (
            self.shared_s
            + self.per_member_s * members
            + self.per_depth_s * depth
            + self.per_member_depth_s * members * depth
        )
