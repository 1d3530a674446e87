"""What happened in a training."""

from __future__ import annotations

from typing import Literal, Protocol, TypeAlias, final

import msgspec

Phase: TypeAlias = Literal["head", "rate", "all"]


class EpochRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One pass over the pictures. Losses are cross-entropies in nats."""

    epoch: int  # 0 is the head's
    phase: Phase
    train_loss: float
    val_loss: float  # of logits made as sharp as is best for it; those of the finished network are
    val_top1: float  # 0..1
    learning_rate: float  # at its end
    seconds: float  # of learning, without validation


class RateTrial(msgspec.Struct, frozen=True, kw_only=True):
    """A learning rate tried on the first steps."""

    learning_rate: float
    loss: float | None  # on validation pictures afterwards; None if it diverged


class History(msgspec.Struct, frozen=True, kw_only=True):
    """A training from its start to its end."""

    epochs: tuple[EpochRecord, ...] = ()
    best_epoch: int = 0  # whose weights the network has
    learning_rate: float = 0.0  # the one chosen; 0 if only the head was learned
    trials: tuple[RateTrial, ...] = ()
    trials_s: float = 0.0
    num_trained: int = 0  # numbers that were learned, without the head
    head_penalty: float = 0.0  # the strength of L2 regularisation that the head was fitted with

    @property
    def best(self) -> EpochRecord:
        return next(record for record in self.epochs if record.epoch == self.best_epoch)

    @property
    def seconds(self) -> float:
        """Of learning, the search for a rate with it, without validation."""
        return self.trials_s + sum(record.seconds for record in self.epochs)


class Progress(Protocol):
    """Is told how far a training is; a command draws bars of it."""

    def begin(self, phase: Phase, num_steps: int) -> None: ...

    def step(self, loss: float) -> None: ...

    def end_epoch(self, record: EpochRecord) -> None: ...


@final
class Silent:
    """Tells nobody."""

    def begin(self, phase: Phase, num_steps: int) -> None:
        pass

    def step(self, loss: float) -> None:
        pass

    def end_epoch(self, record: EpochRecord) -> None:
        pass
