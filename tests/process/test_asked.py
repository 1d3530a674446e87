"""Answers find those who asked, in the order of the questions, and nobody waits for what will not come."""

from __future__ import annotations

import asyncio

import pytest

from paceline.errors import NotReady
from paceline.process.asked import Asked


def test_answers_come_in_the_order_of_the_questions() -> None:
    async def scenario() -> None:
        asked: Asked[int] = Asked()
        sent: list[object] = []
        tasks = [asyncio.create_task(asked.ask(sent.append, name)) for name in "abc"]
        await asyncio.sleep(0)
        assert sent == ["a", "b", "c"]
        tasks[1].cancel()  # its answer comes all the same
        await asyncio.sleep(0)
        for value in range(3):
            asked.answer(value)
        asked.answer(3)  # nobody asked
        assert await asyncio.gather(tasks[0], tasks[2]) == [0, 2]

    asyncio.run(scenario())


def test_whoever_waits_is_told_when_no_answer_will_come() -> None:
    async def scenario() -> None:
        asked: Asked[int] = Asked()

        def refuse(question: object) -> None:
            raise NotReady("there is no engine")

        with pytest.raises(NotReady, match="no engine"):
            await asked.ask(refuse, "a")
        tasks = [asyncio.create_task(asked.ask(lambda question: None, "b")) for _ in range(2)]
        await asyncio.sleep(0)
        asked.fail(lambda: NotReady("it died"))
        errors = await asyncio.gather(*tasks, return_exceptions=True)
        assert [str(error) for error in errors] == ["it died"] * 2
        assert errors[0] is not errors[1]

    asyncio.run(scenario())
