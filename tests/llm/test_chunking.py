from collections.abc import Sequence

import pytest

from paceline.decision.cost import Estimate
from paceline.decision.linear import Linear
from paceline.llm.chunking import ChunkPolicy
from paceline.llm.load import StepLoad

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
    assert ChunkPolicy(Affine(), max_step_s=max_step_s).prefill_rows(DECODES, 512) == rows


def test_alone_a_prefill_takes_all() -> None:
    assert ChunkPolicy(Affine(), max_step_s=0.001).prefill_rows(NOTHING, 512) == 512


def test_before_anything_is_measured_a_prefill_takes_all() -> None:
    policy = ChunkPolicy(Linear([512.0, 1000.0, 64.0]), max_step_s=0.001)
    assert policy.prefill_rows(DECODES, 512) == 512
    assert policy.predict_s(DECODES) == 0.0


def test_learns_from_steps() -> None:
    policy = ChunkPolicy(Linear([512.0, 1000.0, 64.0]), max_step_s=0.05)
    for rows in (1, 512, 20, 300, 64, 128, 7, 32):
        policy.observe(StepLoad(rows, 0, 1), 0.005 + 0.001 * rows)
    assert policy.prefill_rows(DECODES, 512) == 32


def test_small_rests_are_not_cut() -> None:
    assert ChunkPolicy(Affine(), max_step_s=0.001).prefill_rows(DECODES, 9) == 9
