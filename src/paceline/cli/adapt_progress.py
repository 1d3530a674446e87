"""How far a training is, for people: a bar on a terminal, a line for each epoch elsewhere, nothing if not wanted."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self, final

from paceline.cli.console import console, say

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from paceline.transfer.fit.history import EpochRecord, Phase

_NAMES: Final = {"head": "head", "rate": "learning rate", "all": "epoch"}


@final
class Bars:
    """A ``Progress`` of a training that draws on standard error, and a context manager."""

    def __init__(self, *, quiet: bool, with_epochs: bool = True) -> None:
        self._quiet = quiet
        self._with_epochs = with_epochs
        self.title = ""  # of what is trained now
        self._screen = _bars() if not quiet and sys.stderr.isatty() else None
        self._task: TaskID | None = None

    def __enter__(self) -> Self:
        if self._screen is not None:
            self._screen.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._screen is not None:
            self._screen.stop()

    def decoded(self, num_done: int, num_all: int) -> None:
        """Pictures that have been read, of all."""
        if self._screen is None:
            return
        if self._task is None:
            self._task = self._screen.add_task("pictures", total=num_all, loss="")
        self._screen.update(self._task, completed=num_done, total=num_all)

    def begin(self, phase: Phase, num_steps: int) -> None:
        if self._screen is None:
            return
        if self._task is not None:
            self._screen.remove_task(self._task)  # one bar at a time
        self._task = self._screen.add_task(f"{self.title} {_NAMES[phase]}".strip(), total=num_steps, loss="")

    def step(self, loss: float) -> None:
        if self._screen is not None and self._task is not None:
            self._screen.update(
                self._task, advance=1, loss=f"loss {loss:.3f}" if loss else ""
            )  # none is known while features are read

    def end_epoch(self, record: EpochRecord) -> None:
        if self._with_epochs:
            self.tell(epoch_line(record))

    def tell(self, text: str) -> None:
        """A line above the bar."""
        if self._screen is None:
            say(text, quiet=self._quiet)
        else:
            self._screen.console.print(text, markup=False)


def epoch_line(record: EpochRecord) -> str:
    """
    >>> from paceline.transfer.fit.history import EpochRecord
    >>> epoch_line(EpochRecord(epoch=3, phase="all", train_loss=1.2, val_loss=1.5, val_top1=0.5, learning_rate=0.01, seconds=2.4))
    'epoch 3   loss 1.200   validation 1.500, 50.0 % right   2.4 s'
    """
    name = f"epoch {record.epoch}" if record.phase == "all" else _NAMES[record.phase]
    return (
        f"{name:9} loss {record.train_loss:.3f}   validation {record.val_loss:.3f}, {100 * record.val_top1:.1f} % right   "
        f"{record.seconds:.1f} s"
    )


def _bars() -> Progress:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    return Progress(
        TextColumn("{task.description:13}"), BarColumn(None), MofNCompleteColumn(), TextColumn("{task.fields[loss]}"),
        TimeRemainingColumn(), console=console(stderr=True), transient=True,
    )  # fmt: skip
