"""Counts add up; what is shown is drawn on a terminal and nowhere else."""

from __future__ import annotations

import io
import sys

import pytest

from paceline.clock import VirtualClock, to_microseconds
from paceline.sql.model import Answer
from paceline.sql.prices import Price
from paceline.sql.progress import Progress, ProgressBar

ANSWER = Answer("yes", prompt_tokens=1000, cached_tokens=750, output_tokens=4)


def test_equal_requests_count_as_rows_but_cost_once() -> None:
    progress = Progress(total=20)
    progress.take(ANSWER, num_rows=7)
    progress.take(Answer(None, "boom", prompt_tokens=1000), num_rows=3)
    progress.take_stored(10)
    assert (progress.num_done, progress.num_errors) == (20, 3)
    assert (progress.prompt_tokens, progress.cached_tokens, progress.hit_share) == (2000, 750, 0.375)


@pytest.mark.parametrize(
    ("price", "words"),
    [
        (None, "1/9 rows, 0.5 rows/s, 1004 tokens, 75 % cached"),
        (Price(input=0.0, output=0.0), "$0.000000"),
        (Price(input=100.0, cached=0.0, output=0.0), "$0.025"),
        (Price(input=1e7, cached=0.0, output=0.0), "$2,500.00"),
    ],
)
def test_a_line_for_people(price: Price | None, words: str) -> None:
    progress = Progress(total=9, price=price)
    progress.take(ANSWER)
    assert words in progress.line(2.0)
    assert ("$" in progress.line(2.0)) == (price is not None)


def test_an_empty_line() -> None:
    assert Progress(total=0).line(0.0) == "0/0 rows, 0 rows/s, 0 tokens, 0 % cached"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_shows_it(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "160")
    clock = VirtualClock()
    with ProgressBar(Progress(total=0), clock) as bar:
        bar.progress.total = 2  # known once the calls are reached
        bar.progress.take(ANSWER)
        clock.advance(to_microseconds(0.5))
        bar.show()
        assert bar._rich is not None
        assert bar._rich.tasks[0].percentage == 50.0
    assert "the planner is compiled" in terminal.getvalue()
    assert "1/2 rows, 2 rows/s" in terminal.getvalue()


def test_a_file_gets_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    file = io.StringIO()
    monkeypatch.setattr(sys, "stderr", file)
    with ProgressBar(Progress(total=2)) as bar:
        bar.show()
    assert file.getvalue() == ""
