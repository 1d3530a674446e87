"""``exact``: the bits of an answer do not depend on what else is served, in whatever order it comes."""

from __future__ import annotations

import queue
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from paceline.multiplex import models as registry
from paceline.multiplex.architectures import adapted, encoder, lstm, mlp, resnet
from paceline.multiplex.engine import Runtime
from paceline.multiplex.numerics import same_bits
from tests.multiplex.runtimes import SLOW

NUM_TENANTS = 5
MAX_ROWS = 4
_BASE = mlp(width=16, num_layers=2)
NETS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "mlp": (lambda: mlp(width=16, num_layers=2), (16,)),
    "lstm": (lambda: lstm(width=8), (3, 8)),
    "encoder": (lambda: encoder(width=16, num_heads=2), (3, 16)),
    "resnet": (lambda: resnet(channels=(4, 8)), (3, 8, 8)),
    "adapted": (lambda: adapted(base=_BASE, rank=2), (16,)),
}


class Served:
    """Tenants of one net in an exact runtime, and what each of their inputs gives alone."""

    def __init__(self, runtime: Runtime, net: str) -> None:
        make, self.feature = NETS[net]
        self.runtime = runtime
        for tenant in range(NUM_TENANTS):
            torch.manual_seed(tenant)
            example = torch.randn(2, *self.feature)
            runtime.register(str(tenant), make().eval(), example, slo=SLOW, max_rows=MAX_ROWS, max_queued=1000)
        self.alone: dict[tuple[int, int], tuple[Tensor, Tensor]] = {}

    def expected(self, tenant: int, rows: int) -> tuple[Tensor, Tensor]:
        """Inputs, and the outputs for them when nothing else is served."""
        if (tenant, rows) not in self.alone:
            torch.manual_seed(100 * tenant + rows)
            inputs = torch.randn(rows, *self.feature)
            self.alone[tenant, rows] = inputs, self.runtime.infer_sync(str(tenant), inputs)
        return self.alone[tenant, rows]


@pytest.fixture(scope="module", params=[(net, segments) for net in NETS for segments in (False, True)], ids=str)
def served(request: pytest.FixtureRequest) -> Iterator[Served]:
    net, segments = request.param
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch, Runtime(numerics="exact") as runtime:
        patch.setattr(registry, "_SEGMENT_S", 1e-9 if segments else 1.0)
        found = Served(runtime, net)
        assert (runtime.explain("0").num_segments > 1) == segments
        yield found


@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    asked=st.lists(st.tuples(st.integers(0, NUM_TENANTS - 1), st.integers(1, 6)), min_size=1, max_size=12),
    pauses=st.lists(st.sampled_from([0.0, 0.0, 1e-4, 1e-3]), min_size=12, max_size=12),
    priorities=st.lists(st.integers(-1, 1), min_size=12, max_size=12),
)
def test_the_bits_are_those_of_the_same_request_alone(
    served: Served, asked: list[tuple[int, int]], pauses: list[float], priorities: list[int]
) -> None:
    wanted = [served.expected(*each) for each in asked]
    answers: list[queue.SimpleQueue[Any]] = [queue.SimpleQueue() for _ in asked]
    for (tenant, _), (inputs, _), pause, priority, answer in zip(
        asked, wanted, pauses, priorities, answers, strict=False
    ):
        served.runtime.submit(str(tenant), (inputs,), priority=priority, done=answer.put)
        time.sleep(pause)
    for answer, (_, expected) in zip(answers, wanted, strict=True):
        assert same_bits(answer.get(timeout=30)[0], expected)


def test_the_bits_stay_while_others_come_change_and_go(served: Served) -> None:
    make, feature = NETS[next(net for net in NETS if NETS[net][1] == served.feature)]
    wanted = [(tenant, *served.expected(tenant, 3)) for tenant in range(NUM_TENANTS)]
    for turn in range(3):
        name = f"guest {turn % 2}"
        if turn == 2:
            served.runtime.unregister(name)
        served.runtime.register(name, make().eval(), torch.randn(1, *feature), slo=SLOW)
        served.runtime.update_weights(name, make().state_dict())
        asked = [(str(tenant), inputs) for tenant, inputs, _ in wanted for _ in range(2)]
        made = served.runtime.infer_many_sync([(name, wanted[0][1]), *asked])[1:]
        for each, (_, _, expected) in zip(made[::2], wanted, strict=True):
            assert same_bits(each, expected)
    for turn in range(2):
        served.runtime.unregister(f"guest {turn}")
