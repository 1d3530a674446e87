"""Answers reach their event loops: all of them, once."""

from __future__ import annotations

import asyncio
import logging
import threading

import pytest
import torch

from paceline.errors import ExecutionError
from paceline.multiplex.mailbox import Mailbox, Outcome, Tally, tell


def test_no_answer_is_lost_or_doubled_when_many_threads_put_and_flush() -> None:
    async def collect() -> list[int]:
        loop = asyncio.get_running_loop()
        mailbox = Mailbox(loop)
        futures = [loop.create_future() for _ in range(4000)]

        def work(start: int) -> None:
            for place in range(start, 4000, 8):
                mailbox.put(futures[place], (torch.tensor(place),))
                mailbox.flush()

        threads = [threading.Thread(target=work, args=(start,)) for start in range(8)]
        for thread in threads:
            thread.start()
        outcomes = await asyncio.wait_for(asyncio.gather(*futures), 30)
        for thread in threads:
            thread.join()
        return [int(outcome[0]) for outcome in outcomes]

    assert asyncio.run(collect()) == list(range(4000))


def test_errors_are_raised_and_cancelled_futures_left_alone() -> None:
    async def collect() -> None:
        loop = asyncio.get_running_loop()
        mailbox, given_up, failed = Mailbox(loop), loop.create_future(), loop.create_future()
        given_up.cancel()
        for future in (given_up, failed):
            mailbox.put(future, ExecutionError("no"))
        mailbox.flush()
        with pytest.raises(ExecutionError, match="no"):
            await failed
        assert given_up.cancelled()

    asyncio.run(collect())


def test_answers_for_a_closed_loop_are_forgotten() -> None:
    loop = asyncio.new_event_loop()
    mailbox, future = Mailbox(loop), loop.create_future()
    loop.close()
    for _ in range(2):
        mailbox.put(future, ())
        mailbox.flush()
    assert not future.done()


def test_a_callback_that_raises_harms_nobody(caplog: pytest.LogCaptureFixture) -> None:
    def done(_: Outcome) -> None:
        raise ValueError("mine")

    with caplog.at_level(logging.ERROR):
        tell(done, ())
    assert "a callback for an answer raised" in caplog.text


def test_a_tally_tells_once_in_order() -> None:
    told: list[list[Outcome]] = []
    tally = Tally(3, told.append)
    for place in (2, 0, 1):
        assert not told
        tally.put(place, (torch.tensor(place),))
    assert [[int(outcome[0]) for outcome in outcomes] for outcomes in told] == [[0, 1, 2]]  # type: ignore[index]


def test_a_tally_of_nothing_tells_at_once() -> None:
    told: list[list[Outcome]] = []
    Tally(0, told.append)
    assert told == [[]]
