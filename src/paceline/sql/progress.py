"""How a query's requests come along: counted here, shown on a terminal, silent elsewhere."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Self, final

from paceline.clock import Clock, WallClock, to_seconds
from paceline.sql.model import Answer
from paceline.sql.prices import Price

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress
    from rich.progress import TaskID

_REFRESHES_PER_S: Final = 5
_BEFORE: Final = "planning; on a machine's first query the planner is compiled"  # 16 s on 2 cores


@dataclass(slots=True)
class Progress:
    """Counts of one query. ``total`` rows are expected; a filter with a limit may need fewer.

    >>> progress = Progress(total=5, price=Price(input=1.0, cached=0.1, output=4.0))
    >>> progress.take_stored(1)
    >>> progress.take(Answer("yes", prompt_tokens=1000, cached_tokens=900, output_tokens=10), num_rows=3)
    >>> progress.take(Answer(None, "no answer"))
    >>> print(progress.line(2.0))
    5/5 rows, 2 rows/s, 1 kept, 1010 tokens, 90 % cached, $0.000230, 1 error
    """

    total: int
    price: Price | None = None  # None: not known, and not shown
    num_stored: int = 0  # rows whose answer was in the store
    num_answered: int = 0  # rows that a model had to be asked for
    num_errors: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0

    def take(self, answer: Answer, num_rows: int = 1) -> None:
        """Counts what a model has answered, for all rows that asked the same."""
        self.num_answered += num_rows
        self.num_errors += num_rows * (answer.error is not None)
        self.prompt_tokens += answer.prompt_tokens
        self.cached_tokens += answer.cached_tokens
        self.output_tokens += answer.output_tokens

    def take_stored(self, num_rows: int) -> None:
        """Counts rows that nobody had to be asked for."""
        self.num_stored += num_rows

    @property
    def num_done(self) -> int:
        return self.num_stored + self.num_answered

    @property
    def hit_share(self) -> float:
        """Prompt tokens that were found in the model's prefix cache."""
        return self.cached_tokens / self.prompt_tokens if self.prompt_tokens else 0.0

    @property
    def cost(self) -> float | None:
        """Dollars so far; None without a price."""
        if self.price is None:
            return None
        return self.price.cost(self.prompt_tokens, self.cached_tokens, self.output_tokens)

    def line(self, elapsed_s: float) -> str:
        """All of it for people. Rows per second are those that were asked for."""
        rate = self.num_answered / elapsed_s if elapsed_s > 0 else 0.0
        parts = [f"{self.num_done}/{self.total} rows", f"{rate:.3g} rows/s"]
        if self.num_stored:
            parts.append(f"{self.num_stored} kept")
        parts += [f"{self.prompt_tokens + self.output_tokens} tokens", f"{100 * self.hit_share:.0f} % cached"]
        if self.cost is not None:
            parts.append(_dollars(self.cost))
        if self.num_errors:
            parts.append(f"{self.num_errors} error{'s' * (self.num_errors > 1)}")
        return ", ".join(parts)


def _dollars(cost: float) -> str:
    """
    >>> _dollars(0.00023), _dollars(0.025), _dollars(1234.5)
    ('$0.000230', '$0.025', '$1,234.50')
    """
    return f"${cost:,.2f}" if cost >= 1.0 else f"${cost:.3g}" if cost >= 0.01 else f"${cost:.6f}"


@final
class ProgressBar:
    """Shows a ``Progress`` on standard error for as long as the block runs, if that is a terminal.

    >>> with ProgressBar(Progress(total=2)) as bar:
    ...     bar.progress.take(Answer("yes"))
    ...     bar.show()
    """

    def __init__(self, progress: Progress, clock: Clock | None = None) -> None:
        self.progress = progress
        self._clock = clock or WallClock()
        self._started = self._clock.now()
        self._rich: RichProgress | None = None
        self._row: TaskID | None = None

    def __enter__(self) -> Self:
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, TextColumn
            from rich.progress import Progress as RichProgress

            columns = BarColumn(), TextColumn("{task.description}", markup=False)
            self._rich = RichProgress(
                *columns, console=Console(stderr=True), refresh_per_second=_REFRESHES_PER_S, transient=True
            )
            self._rich.start()
            self._row = self._rich.add_task(_BEFORE, total=self.progress.total or None)
        return self

    def __exit__(self, *_: object) -> None:
        if self._rich is not None:
            self._rich.stop()

    def show(self) -> None:
        """Takes in what has changed. Costs next to nothing; it is drawn a few times a second."""
        if self._rich is not None and self._row is not None:
            line = self.progress.line(to_seconds(self._clock.now() - self._started))
            done, total = self.progress.num_done, self.progress.total
            self._rich.update(self._row, completed=done, total=total, description=line)
