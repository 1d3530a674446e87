"""What a user can choose about training."""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

from paceline.errors import ConfigError

Precision: TypeAlias = Literal["auto", "float32", "bfloat16"]


class FitOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How a network is trained. ConfigError, naming the option, for a value that makes no sense.

    >>> FitOptions(epochs=0)
    Traceback (most recent call last):
        ...
    paceline.errors.ConfigError: epochs must be >= 1, got 0
    """

    epochs: int = 12  # of everything that is learned together, behind the head's own
    head_epochs: int = 4  # passes through the frozen network whose features the head is fitted to, each augmented anew
    batch_size: int = 32
    learning_rate: float | None = None  # None: the method's own
    check_learning_rate: bool = True  # try rates near it on the first steps
    weight_decay: float = 1e-2  # of kernels and the head; gates and norms have none
    l1: float = 0.0  # how strongly scales are drawn to 0, so that few channels stay in use
    warmup_share: float = 0.03  # of all steps, in which the rate grows from 0: a fitted head needs no long one
    patience: int = 0  # epochs without a better validation loss before training ends; 0: all epochs
    label_smoothing: float = 0.0
    balance_classes: bool = False  # a class with few pictures weighs as much as one with many
    augment: bool = True  # shift each picture a little
    flip: bool = False  # mirror every other picture
    cached_views: int = 4  # augmentations of a picture whose prefix is kept where gates begin late; 0: keep none
    cache_mb: int = 1024  # the most memory for them
    precision: Precision = "auto"  # bfloat16 where the device is fast at it
    device: str = "cpu"
    seed: int = 0
    num_threads: int | None = None  # None: as many as torch uses
    checkpoint_every_s: float = 60.0

    def __post_init__(self) -> None:
        for name, least in _LEAST.items():
            value = getattr(self, name)
            if value is not None and not value >= least:  # written so that NaN fails too
                raise ConfigError(f"{name} must be >= {least}, got {value}")
        for name in ("warmup_share", "label_smoothing"):
            if not 0 <= getattr(self, name) < 1:
                raise ConfigError(f"{name} must be in [0, 1), got {getattr(self, name)}")
        if self.learning_rate is not None and not 0 < self.learning_rate < 10:
            raise ConfigError(f"learning_rate must be in (0, 10), got {self.learning_rate}")
        if self.precision not in ("auto", "float32", "bfloat16"):
            raise ConfigError(f"precision must be auto, float32 or bfloat16, got {self.precision!r}")


_LEAST = {
    "epochs": 1,
    "head_epochs": 1,
    "batch_size": 1,
    "weight_decay": 0,
    "l1": 0,
    "patience": 0,
    "cached_views": 0,
    "cache_mb": 0,
    "num_threads": 1,
    "checkpoint_every_s": 0,
    "seed": 0,
}
