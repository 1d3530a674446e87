from collections.abc import Sequence

import pytest

from paceline.decision.cost import Estimate
from paceline.decision.linear import Linear
from paceline.llm.chunking import ChunkPolicy
from paceline.llm.load import StepLoad
from paceline.llm.step_cost import StepCost

NOTHING = StepLoad(0, 0, 0)
DECODES = StepLoad(4, 400, 4)


class Affine:
    """5 ms and 1 ms a row."""

    def predict(self, features: Sequence[float]) -> Estimate:
        return Estimate(0.005 + 0.001 * features[0], 0.0, 1)

    def observe(self, features: Sequence[float], seconds: float) -> None:
        pass


@pytest.mark.parametrize(
    ("max_step_s", "rows"),
    [(1.0, 512), (0.270, 256), (0.05, 32), (0.001, 16)],
    ids=["all fits", "half fits", "little fits", "nothing fits: the least, so that prefill goes on"],
)
def test_chunk_is_the_most_that_keeps_the_step_short(max_step_s: float, rows: int) -> None:
    assert ChunkPolicy(StepCost(Affine()), max_step_s=max_step_s).prefill_rows(DECODES, 512) == rows


def test_alone_a_prefill_takes_all() -> None:
    assert ChunkPolicy(StepCost(Affine()), max_step_s=0.001).prefill_rows(NOTHING, 512) == 512


def test_before_anything_is_measured_a_prefill_takes_all() -> None:
    cost = StepCost(Linear([512.0, 1000.0, 64.0]))
    assert ChunkPolicy(cost, max_step_s=0.001).prefill_rows(DECODES, 512) == 512
    assert cost.predict_s(DECODES) == 0.0


def test_learns_from_steps() -> None:
    cost = StepCost(Linear([512.0, 1000.0, 64.0]))
    for rows in (1, 512, 20, 300, 64, 128, 7, 32):
        cost.observe(StepLoad(rows, 0, 1), 0.005 + 0.001 * rows)
    assert ChunkPolicy(cost, max_step_s=0.05).prefill_rows(DECODES, 512) == 32


def test_small_rests_are_not_cut() -> None:
    assert ChunkPolicy(StepCost(Affine()), max_step_s=0.001).prefill_rows(DECODES, 9) == 9


class Staircase(Affine):
    """A step at 64 rows that makes 64 a little better than the 100 which wait."""

    def predict(self, features: Sequence[float]) -> Estimate:
        return Estimate(0.005 + 0.001 * features[0] + (0.004 if features[0] > 68 else 0.0), 0.0, 1)


def test_a_prompt_is_not_cut_for_a_little() -> None:
    policy = ChunkPolicy(StepCost(Staircase()), max_step_s=1.0)
    assert policy.prefill_rows(DECODES, 100) == 100
