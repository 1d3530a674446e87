"""The Triton kernel against torch's own attention, compiled on a GPU or interpreted on a CPU."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from paceline.llm.model.attention import PagedAttention
from paceline.llm.model.families import read_config
from paceline.llm.model.kv import KVPool
from tests.llm.batches import Appended, row_batch
from tests.llm.folders import write_folder

if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"  # read when triton is imported
pytest.importorskip("triton")
attention = pytest.importorskip("paceline.llm.cuda.attention")

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
CHAIN = [Appended([1], 40, [3, 9, 5]), Appended([2, 3, 4], 0, [7]), Appended([5], 15, [1])]
TREE = [Appended([1, 2, 3, 4, 5], 30, [2, 6, 4], [-1, 0, 0, 2, 1]), Appended([9], 70, [8, 10, 11, 12, 13])]
PREFILL = [Appended(list(range(37)), 20, [0, 14, 15, 16]), Appended([6], 3, [17])]


@pytest.mark.parametrize("seqs", [CHAIN, TREE, PREFILL], ids=["chain", "tree", "prefill"])
@pytest.mark.parametrize(
    ("family", "overrides"),
    [
        ("qwen3", {}),
        ("mistral", {"sliding_window": 9}),
        ("llama", {"head_dim": 24, "num_attention_heads": 6, "num_key_value_heads": 1}),
    ],
)
@torch.inference_mode()
def test_equals_torch(tmp_path: Path, family: str, overrides: dict[str, Any], seqs: list[Appended]) -> None:
    config = read_config(write_folder(tmp_path, family, **overrides))
    batch = row_batch(seqs)
    generator = torch.Generator(DEVICE).manual_seed(0)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator, device=DEVICE)

    pools = [KVPool(config, 18, torch.float32, DEVICE) for _ in range(2)]
    stored = normal(*pools[0]._pool.shape)
    inputs = [
        normal(batch.num_rows, n, config.head_dim) for n in (config.num_heads, config.num_kv_heads, config.num_kv_heads)
    ]
    outputs = []
    for pool, make in zip(pools, (PagedAttention, attention.TritonAttention), strict=True):
        pool._pool.copy_(stored)
        outputs.append(make(config, pool, DEVICE).begin(batch)(1, *inputs).cpu().numpy())
    np.testing.assert_allclose(outputs[1], outputs[0], rtol=1e-4, atol=1e-5)
    assert torch.equal(pools[0]._pool, pools[1]._pool)
