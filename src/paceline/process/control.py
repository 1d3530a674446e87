"""What a supervisor and its child tell each other beside the part's own messages."""

from __future__ import annotations

import msgspec

CHANNEL_VARIABLE = "PACELINE_CHANNEL"  # "<descriptor>:<pid of the parent>" in the child's environment


class Ready(msgspec.Struct, frozen=True, tag="ready"):
    """Child: loaded, will answer."""


class Beat(msgspec.Struct, frozen=True, tag="beat"):
    """Child: alive; its loop has been inside one step for ``stalled_s`` seconds."""

    stalled_s: float


class Failed(msgspec.Struct, frozen=True, tag="failed"):
    """Child: ends because of ``error``, the name of a class of ``paceline.errors``."""

    error: str
    message: str


class Drain(msgspec.Struct, frozen=True, tag="drain"):
    """Parent: finish what you have, then exit."""


FromChild = Ready | Beat | Failed
FromParent = Drain
