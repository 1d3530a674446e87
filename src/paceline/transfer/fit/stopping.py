"""Which epoch is the best so far, and when to go no further."""

from __future__ import annotations

import msgspec


class Stopping(msgspec.Struct, frozen=True, kw_only=True):
    """Follows the validation loss. A value: ``after`` gives the next one.

    >>> seen = Stopping(patience=2).after(0, 1.0).after(1, 0.8).after(2, 0.9).after(3, 0.85)
    >>> seen.best_epoch, seen.stop
    (1, True)
    """

    patience: int = 0  # 0: never stop
    best_epoch: int = -1
    best_loss: float | None = None  # None before the first epoch, since JSON has no infinity
    num_worse: int = 0  # epochs since the best one

    def after(self, epoch: int, loss: float) -> Stopping:
        """With one more epoch; of equal losses the first is the best."""
        if self.best_loss is None or loss < self.best_loss:
            return Stopping(patience=self.patience, best_epoch=epoch, best_loss=loss)
        return msgspec.structs.replace(self, num_worse=self.num_worse + 1)

    @property
    def stop(self) -> bool:
        return 0 < self.patience <= self.num_worse
