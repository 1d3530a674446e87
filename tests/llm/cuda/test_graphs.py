"""Decode by CUDA graphs equals decode without them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from paceline.llm.model.checkpoint import open_weights
from paceline.llm.model.families import read_config
from paceline.llm.torch_runner import TorchRunner
from tests.llm.batches import Appended, row_batch
from tests.llm.folders import FAMILIES, write_folder

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


@pytest.mark.parametrize("family", FAMILIES)
def test_graphs_equal_the_cpu(tmp_path: Path, family: str) -> None:
    """Prefill, then decode in growing and shrinking batches; float32 on both sides."""
    folder = write_folder(tmp_path, family)
    config = read_config(folder)
    runners = [
        TorchRunner(open_weights(folder, config), config, num_blocks=32, device=device) for device in ("cpu", "cuda")
    ]
    tokens = np.random.default_rng(0).integers(0, 384, (5, 30)).tolist()
    tables = [[5 * i, 5 * i + 1, 5 * i + 2] for i in range(5)]
    steps = [row_batch([Appended(tokens[i][:20], 0, tables[i]) for i in range(5)])]
    for done, members in ((20, [0]), (20, [1, 2, 3]), (21, [0, 1, 2]), (20, [3, 4]), (22, [2])):
        steps.append(row_batch([Appended(tokens[i][done : done + 1], done, tables[i]) for i in members]))
    for runner in runners:
        runner.wants_hidden = True
    for batch in steps:
        expected, logits = (runner.forward(batch).copy() for runner in runners)
        assert np.abs(runners[0].hidden - runners[1].hidden).max() < 1e-3
        assert np.abs(logits - expected).max() < 1e-3
        assert (logits.argmax(-1) == expected.argmax(-1)).all()


def test_bfloat16_decodes(tmp_path: Path) -> None:
    folder = write_folder(tmp_path, "qwen3", "bfloat16")
    config = read_config(folder)
    runner = TorchRunner(open_weights(folder, config), config, num_blocks=16, device="cuda")
    runner.forward(row_batch([Appended(list(range(20)), 0, [3, 4])]))
    logits = runner.forward(row_batch([Appended([7], 20, [3, 4])]))
    assert np.isfinite(logits).all()
