"""Who decides which configuration runs next: the port, and the one that never changes its mind. Pure."""

from __future__ import annotations

from typing import Protocol, final

from paceline.streaming.frame import Floats


class Policy(Protocol):
    """Asked at every window's border; first ``observe`` tells how the window that ended went, then ``choose`` is asked for the next."""

    def choose(self, features: Floats | None, current: str, now_us: int) -> str:
        """The name of a configuration. ``features`` [NAMES of `features`] are those of the window that ended; None before the first."""
        ...

    def observe(self, configuration: str, agreement: float, now_us: int) -> None:
        """``agreement``, 0..1: how well boxes on the screen fit what detectors found in the pictures of that moment, once it was known.

        No truth is needed for it. ``configuration`` is the one that ran when the window ended.
        """
        ...


@final
class Fixed:
    """Always the same configuration.

    >>> Fixed("d4").choose(None, "d6", 0)
    'd4'
    """

    def __init__(self, name: str) -> None:
        self.name = name

    def choose(self, features: Floats | None, current: str, now_us: int) -> str:
        return self.name

    def observe(self, configuration: str, agreement: float, now_us: int) -> None:
        """Nothing can be learned from it."""
