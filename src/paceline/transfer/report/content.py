"""What a report holds, before anyone draws it. Pure. Pictures are PNG files as bytes, accuracies are between 0 and 1."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """One number at the top of the page."""

    value: str
    label: str


@dataclass(frozen=True, slots=True, kw_only=True)
class GateScales:
    """Multipliers of one unit's channels."""

    unit: str
    scales: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """A picture that made something happen."""

    picture: bytes
    label: str  # its class
    value: float  # how strong: an activation, or a probability


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelCard:
    """A channel, and where in which pictures it answers most."""

    unit: str
    number: int
    score: float
    place: int  # among all channels of the network, from 1
    place_spread: float | None  # standard deviation of its place in its unit over seeds; None with one seed
    strongest: tuple[Shown, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassMap:
    """A class, one of its pictures, and where in it the network saw the class."""

    name: str
    picture: bytes
    heat: bytes
    probability: float
    accuracy: float  # of the class


@dataclass(frozen=True, slots=True, kw_only=True)
class Confusion:
    """Two classes of which one is taken for the other."""

    truth: str
    answer: str
    num: int
    num_truth: int
    examples: tuple[Shown, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Epoch:
    number: int
    train_loss: float
    val_loss: float
    accuracy: float


@dataclass(frozen=True, slots=True, kw_only=True)
class CutPoint:
    """One pruned network."""

    macs: float  # share
    parameters: float  # share
    latency: float  # share
    num_bytes: int
    accuracy_cut: float
    accuracy: float


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskingLine:
    """Accuracies by the share of channels silenced, for one criterion."""

    criterion: str
    points: tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Baseline:
    """One way to train on the same pictures."""

    method: str
    accuracy: float  # mean over seeds
    half_width: float | None  # of its 95 % interval; None with one seed
    num_seeds: int
    gap_closed: float | None  # 0 is the head alone, 1 is to train everything
    num_trained: int  # without the head
    train_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """All of it. What is empty or None is left out of the page."""

    title: str
    facts: tuple[Fact, ...]
    criterion: str
    gates: tuple[GateScales, ...] = ()
    channels: tuple[ChannelCard, ...] = ()
    num_channels: int = 0  # of the whole network
    stability: float | None = None
    warning: str | None = None
    classes: tuple[ClassMap, ...] = ()
    confusions: tuple[Confusion, ...] = ()
    epochs: tuple[Epoch, ...] = ()
    best_epoch: int = 0
    masking: tuple[MaskingLine, ...] = ()
    pruning: tuple[CutPoint, ...] = ()
    baselines: tuple[Baseline, ...] = ()
