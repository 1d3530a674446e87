"""What the engine's process sends: no answer is too large for a frame."""

from __future__ import annotations

import pytest

from paceline.errors import InvalidRequest
from paceline.llm.messages import Deltas
from paceline.llm.request import MAX_PROMPT_LOGPROBS, Delta, Request, SamplingParams, TokenLogprob
from paceline.llm.worker import frames
from paceline.process.frames import MESSAGE, encode, pack


def scored(name: str, num_tokens: int, num_alternatives: int) -> Delta:
    entry = TokenLogprob(150_000, -1.2345678, ((150_000, -1.2345678),) * num_alternatives)
    return Delta(request_id=name, prompt_logprobs=(entry,) * num_tokens)


def test_the_longest_scored_prompts_of_a_step_fit_their_frames() -> None:
    longest = MAX_PROMPT_LOGPROBS // 21
    params = SamplingParams(prompt_logprobs=20)
    Request(request_id="a", prompt=(1,) * longest, params=params)
    with pytest.raises(InvalidRequest) as wrong:
        Request(request_id="a", prompt=(1,) * (longest + 1), params=params)
    assert wrong.value.param == "prompt_logprobs"
    deltas = [scored("a", longest, 20), Delta(request_id="b", text="x"), scored("c", MAX_PROMPT_LOGPROBS, 0)]
    sent = list(frames(deltas))
    assert [[delta.request_id for delta in frame.deltas] for frame in sent] == [["b"], ["a"], ["c"]]
    for frame in sent:
        pack(MESSAGE, encode(frame))  # raises when it is too large
    assert list(frames([])) == []
    assert list(frames(deltas[1:2])) == [Deltas(deltas[1:2])]
