"""Requests whose grammars compile beside the loop: whatever goes wrong there is theirs alone."""

from __future__ import annotations

import threading
import time
from typing import Any, cast

from paceline.errors import InvalidRequest
from paceline.llm import intake
from paceline.llm.core import EngineCore
from paceline.llm.intake import Intake
from paceline.llm.messages import Deltas, Refused
from paceline.llm.request import Grammar, Request, SamplingParams


class Core:
    """Compiles when ``gate`` opens, then raises what is asked for."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.warmed: list[str] = []
        self.submitted: dict[str, object] = {}

    def warm_up(self) -> None:
        pass

    def warm(self, request: Request) -> Any:
        self.gate.wait(10)
        self.warmed.append(request.request_id)
        if request.request_id == "crash":
            raise RuntimeError("the compiler broke")
        if request.request_id == "wrong":
            raise InvalidRequest("no grammar", param="guided_regex")
        return f"matcher of {request.request_id}"

    def submit(self, request: Request, matcher: object) -> None:
        self.submitted[request.request_id] = matcher

    def abort(self, request_id: str) -> None:
        pass


def request(name: str, n: int = 1) -> Request:
    params = SamplingParams(grammar=Grammar("regex", "a"), n=n)
    return Request(request_id=name, prompt=(1,), params=params)


def settled(taking_in: Intake) -> list[Refused | Deltas]:
    answers: list[Refused | Deltas] = []
    end = time.monotonic() + 10
    while not taking_in.idle:
        assert time.monotonic() < end
        answers += taking_in.settle()
        time.sleep(0.001)
    return answers


def test_a_compiler_that_breaks_fails_its_request_alone() -> None:
    core = Core()
    core.gate.set()
    taking_in = Intake(cast(EngineCore, core))
    for item in (request("crash", n=2), request("wrong"), request("good")):
        assert taking_in.put(item) is None
    crash, wrong = sorted(settled(taking_in), key=lambda answer: isinstance(answer, Refused))
    assert isinstance(crash, Deltas)
    assert [(delta.request_id, delta.index, delta.finish_reason) for delta in crash.deltas] == [
        ("crash", 0, "error"),
        ("crash", 1, "error"),
    ]
    assert isinstance(wrong, Refused)
    assert wrong.param == "guided_regex"
    assert core.submitted == {"good": "matcher of good"}


def test_what_waits_to_be_compiled_is_bounded_and_forgotten_on_abort() -> None:
    core = Core()
    taking_in = Intake(cast(EngineCore, core))
    names = [f"r{number}" for number in range(intake._MAX_COMPILING)]
    assert not any(taking_in.put(request(name)) for name in names)
    refused = taking_in.put(request("one more"))
    assert refused is not None
    assert refused.retry_after_s is not None
    for name in names:
        taking_in.abort(name)
    assert taking_in.put(request("late")) is None
    core.gate.set()
    assert settled(taking_in) == []
    assert core.submitted == {"late": "matcher of late"}
    assert len(core.warmed) <= 3  # two had begun
