"""The grouped product against torch's own, compiled on a GPU or interpreted on a CPU."""

from __future__ import annotations

import os

import pytest
import torch
from torch import Tensor
from torch.nn import functional

if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"  # read when triton is imported
pytest.importorskip("triton")

from paceline.multiplex.cuda.grouped_gemm import GroupedGemm
from paceline.multiplex.lower.compare import same_bits
from paceline.multiplex.lower.group import Group, Scattered
from paceline.multiplex.lower.linear import GROUPED
from paceline.multiplex.lower.program import build
from paceline.multiplex.lower.rules import kernel_key, variants
from tests.multiplex.made import interpreted, mlp, random_weights

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
SHAPES = [(1, 48, 7), (3, 33, 80), (17, 16, 16), (2, 5, 129)]  # rows, K, N
TOLERANCE = {torch.float32: 1e-5, torch.float16: 2e-2, torch.bfloat16: 1e-1}


def numbers(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(shape).to(DEVICE, dtype)


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("has_bias", [False, True])
def test_problems_of_different_shapes(dtype: torch.dtype, has_bias: bool) -> None:
    if dtype is torch.bfloat16 and DEVICE.type == "cpu":
        pytest.skip("triton's interpreter multiplies bfloat16 as whole numbers")
    values = [numbers(n, k, dtype=dtype) for n, k, _ in SHAPES]
    weights = [numbers(m, k, dtype=dtype) for _, k, m in SHAPES]
    biases = [numbers(m, dtype=dtype) for _, _, m in SHAPES] if has_bias else None
    product = GroupedGemm(weights, biases, [n for n, _, _ in SHAPES])
    made = product.flat(torch.cat([each.flatten() for each in values])).split([n * m for n, _, m in SHAPES])
    for place, (n, _, m) in enumerate(SHAPES):
        expected = functional.linear(values[place].float(), weights[place].float(), biases and biases[place].float())
        tolerance = TOLERANCE[dtype]
        torch.testing.assert_close(made[place].view(n, m).float(), expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("width", [32, 21])
def test_bits_do_not_depend_on_the_others(width: int) -> None:
    weights = [numbers(19, width) for _ in range(5)]
    values = numbers(5, 3, width)
    together = GroupedGemm(weights)(values)
    for tenants in ([2], [4, 2], [3, 2, 0, 1]):
        made = GroupedGemm([weights[each] for each in tenants])(values[tenants])
        assert same_bits(made, together[tenants])


def test_rows_of_others_do_not_mix() -> None:
    values = numbers(2, 2, 16)
    values[0, 1] = float("nan")
    made = GroupedGemm([numbers(8, 16) for _ in range(2)])(values)
    assert made.isnan().any(2).tolist() == [[False, True], [False, False]]


def test_refuses_what_does_not_fit() -> None:
    with pytest.raises(NotImplementedError, match="float64"):
        GroupedGemm([numbers(2, 2, dtype=torch.float64)])
    with pytest.raises(ValueError, match="longer"):
        GroupedGemm([numbers(2, 2), numbers(2, 2)], rows=[1])
    with pytest.raises(ValueError, match="weight 1"):
        GroupedGemm([numbers(2, 2), numbers(2, 2, dtype=torch.float16)])
    with pytest.raises(ValueError, match="bias 0"):
        GroupedGemm([numbers(2, 2)], [numbers(3)])
    with pytest.raises(ValueError, match="8 numbers"):
        GroupedGemm([numbers(2, 4)])(numbers(1, 2, 3))


def test_a_program_reads_scattered_weights_where_they_lie() -> None:
    graph = mlp()
    own = random_weights(graph, 4)
    tenants = [3, 0, 2]
    banks = {name: torch.stack([each[name] for each in own]).to(DEVICE) for name in graph.weights}
    matrices = [name for name, spec in graph.weights.items() if len(spec.shape) == 2]
    stacked = Scattered(
        {name: banks[name][tenants] for name in graph.weights if name not in matrices},
        {name: [banks[name][tenant] for tenant in tenants] for name in matrices},
    )
    keys = [kernel_key(graph, op) for op in graph.ops if GROUPED in variants(graph, op, stacked, on_cuda=True)]
    program = build(graph, Group(len(tenants), {}, stacked), dict.fromkeys(keys, GROUPED))
    values = numbers(len(tenants), 2, 16)
    made = program([values.unbind(0)])[0]
    assert keys
    assert stacked.copied_bytes == 0
    for place, tenant in enumerate(tenants):
        expected = interpreted(graph, own[tenant], (values[place].cpu(),))[0]
        torch.testing.assert_close(made[place].cpu(), expected, rtol=1e-4, atol=1e-5)
