"""Why a model runs with others, or does not."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from paceline.multiplex.hosted import Hosted
from paceline.multiplex.solo import Solo

_SHOWN = 5  # names


class Explained(msgspec.Struct, frozen=True, kw_only=True):
    """``partners`` may be in one launch with it. ``num_shared`` of its ``num_weights`` are the same for all of them, and cost what
    one of them costs; ``num_loop_ops`` of its operators gain nothing from company. ``num_segments``: pieces between which
    others may go first.
    """

    name: str
    coalescible: bool
    family: str
    partners: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()
    num_segments: int = 1
    num_weights: int = 0
    num_shared: int = 0
    num_loop_ops: int = 0

    def __str__(self) -> str:
        if not self.coalescible:
            return f"{self.name} runs by itself: {'; '.join(self.reasons)}"
        if not self.partners:
            return f"{self.name} (family {self.family}) could run with models of its family, but there are no others"
        more = len(self.partners) - _SHOWN
        names = ", ".join(self.partners[:_SHOWN]) + (f" and {more} more" if more > 0 else "")
        text = f"{self.name} (family {self.family}) runs with {names}; {self.num_shared} of {self.num_weights} weights are shared"
        return text + (f"; {self.num_loop_ops} operators run one by one" if self.num_loop_ops else "")


def explain(model: Hosted | Solo, others: Sequence[Hosted]) -> Explained:
    """About ``model``, among ``others``."""
    if isinstance(model, Solo):
        return Explained(name=model.name, coalescible=False, family=model.spec.family, reasons=model.reasons)
    family = model.family
    partners = [other for other in others if other.family is family]
    num_weights = len(family.graph.weights)
    return Explained(
        name=model.name,
        coalescible=True,
        family=model.spec.family,
        partners=tuple([other.name for other in partners if other is not model]),
        num_segments=len(family.segments),
        num_weights=num_weights,
        num_shared=num_weights - family.num_different([other.slot for other in partners]),
        num_loop_ops=family.num_loop_ops,
    )
