import math
from typing import Any

import msgspec
import pytest

from paceline.errors import InvalidRequest
from paceline.llm.request import Delta, Request, SamplingParams


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("max_tokens", 0), ("max_tokens", 2**31), ("min_tokens", -1), ("temperature", -1.0), ("temperature", math.nan),
        ("temperature", 1e38), ("top_p", 0.0), ("top_p", 1.5), ("top_k", -5), ("min_p", 2.0), ("n", 0), ("n", 129),
        ("presence_penalty", 1e9), ("frequency_penalty", -3.0), ("repetition_penalty", 0.0), ("logprobs", 21),
        ("prompt_logprobs", -1), ("seed", 2**63), ("stop", ("x",) * 17), ("stop", ("",)), ("stop", ("x" * 257,)),
        ("logit_bias", {0: math.inf}), ("logit_bias", dict.fromkeys(range(1025), 0.0)), ("bad_words", ("x",) * 129),
        ("stop_token_ids", tuple(range(1025))),
    ],
)  # fmt: skip
def test_out_of_range_names_the_field(field: str, value: Any) -> None:
    with pytest.raises(InvalidRequest) as caught:
        SamplingParams(**{field: value})
    assert caught.value.param == field


def test_min_tokens_above_max_tokens() -> None:
    with pytest.raises(InvalidRequest, match="min_tokens"):
        SamplingParams(min_tokens=5, max_tokens=4)


def test_limits_themselves_are_allowed() -> None:
    SamplingParams(n=128, logprobs=20, temperature=100.0, top_p=1.0, seed=-(2**63), logit_bias={1: -100.0})


def test_values_survive_a_frame() -> None:
    request = Request(request_id="a", prompt=(1, 2), params=SamplingParams(stop=("x",), logit_bias={5: 1.0}))
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(request), type=Request) == request
    delta = Delta(request_id="a", text="é", token_ids=(3,), finish_reason="stop", stop_reason="x")
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(delta), type=Delta) == delta
