"""The oracle verifies what will be accepted, nothing else, and only where it pays."""

from __future__ import annotations

import pytest

from paceline.llm.simulate.oracle import Oracle
from paceline.llm.simulate.published import served_model
from paceline.llm.simulate.runs import constant_batch
from paceline.llm.simulate.traces import AcceptanceTrace, generate
from paceline.llm.simulate.virtual import named_policy
from tests.llm.simulate.drafting import drafting

H100 = served_model("llama-3.1-8b", "H100")


@pytest.mark.parametrize("batch", [1, 16])
def test_no_fixed_length_beats_it(batch: int) -> None:
    traces = [trace.clipped(80) for trace in generate("mixed", 24, seed=4)]
    best = constant_batch(H100, traces, batch, Oracle, num_warm_up=4)
    assert best.rows_per_step == best.tokens_per_step > 2.0
    assert best.num_failures == 0
    for other in (named_policy("off"), drafting(2), drafting(6), drafting(12, "lookup")):
        assert constant_batch(H100, traces, batch, other, num_warm_up=4).tokens_per_s < best.tokens_per_s


def test_it_leaves_alone_what_does_not_pay() -> None:
    poor = bytes([1] * 30)
    rare = bytes([1] * 14 + [2] + [1] * 15)  # one token more is worth less than the head's pass
    traces = [
        AcceptanceTrace("", 20, 30, {"heads": rare if index == 0 else poor, "lookup": poor}) for index in range(48)
    ]
    found = constant_batch(H100, traces, 32, Oracle, num_warm_up=2)
    plain = constant_batch(H100, traces, 32, named_policy("off"), num_warm_up=2)
    assert found == plain
