"""Which channels of a network matter, as numbers that can be sorted, compared and kept. Pure."""

from __future__ import annotations

import math
from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple

import msgspec

from paceline.errors import ModelError
from paceline.process.atomic import write_atomic

_MAX_BYTES = 64 << 20  # a ResNet-152 of 64-bit scores is 2 MB


class Channel(NamedTuple):
    """One output channel of one unit."""

    unit: str
    number: int


class ScoredChannel(NamedTuple):
    channel: Channel
    score: float


class Ranking(msgspec.Struct, frozen=True, kw_only=True):
    """One score, >= 0, for every channel of every unit, in the order in which the units run; more is more important.

    >>> ranking = Ranking(criterion="taylor", scores={"conv1": (0.2, 0.9), "layer1.0.conv1": (0.5,)}, num_pictures=64)
    >>> [scored.channel.number for scored in ranking.top(2)], ranking.bottom(1)[0].channel
    ([1, 0], Channel(unit='conv1', number=0))
    """

    criterion: str
    scores: dict[str, tuple[float, ...]]
    num_pictures: int

    def __post_init__(self) -> None:
        for unit, scores in self.scores.items():
            if not all(math.isfinite(score) and score >= 0.0 for score in scores):
                raise ValueError(f"scores of {unit} must be finite and >= 0")

    def __len__(self) -> int:
        return sum(map(len, self.scores.values()))

    def ordered(self) -> list[ScoredChannel]:
        """All channels, the most important first; equals stay in the order of the network."""
        channels = [
            ScoredChannel(Channel(unit, number), score)
            for unit, scores in self.scores.items()
            for number, score in enumerate(scores)
        ]
        return sorted(channels, key=lambda scored: -scored.score)

    def top(self, num: int) -> list[ScoredChannel]:
        return self.ordered()[:num]

    def bottom(self, num: int) -> list[ScoredChannel]:
        """The least important first."""
        return self.ordered()[::-1][:num]

    def within(self, units: Collection[str]) -> Ranking:
        """The same scores of these units alone."""
        return msgspec.structs.replace(self, scores={unit: self.scores[unit] for unit in self.scores if unit in units})

    def save(self, path: Path) -> None:
        """As JSON. ResourceError if it cannot be written."""
        write_atomic(path, msgspec.json.format(msgspec.json.encode(self), indent=1))

    @classmethod
    def load(cls, path: Path) -> Ranking:
        """ModelError, naming the file, if it is no ranking."""
        try:
            if path.stat().st_size > _MAX_BYTES:
                raise ModelError(f"{path} is larger than {_MAX_BYTES >> 20} MiB, so it is no ranking")
            return msgspec.json.decode(path.read_bytes(), type=cls)
        except (OSError, msgspec.DecodeError) as error:
            raise ModelError(f"{path} is no ranking: {error}") from error
