"""A training that was killed ends with the same bits as one that was not."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.transfer.fit.training_process import run

ROOT = Path(__file__).resolve().parents[3]
NUM_STEPS = 8  # of which the head has three, and each epoch three


def run_and_kill(*arguments: str) -> None:
    """In the middle of an epoch."""
    command = [sys.executable, "-m", "tests.transfer.fit.training_process", *arguments]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for _ in range(NUM_STEPS):
            assert process.stdout.readline() == "step\n"
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL


@pytest.mark.parametrize(("method", "stage"), [("affine", "layer3"), ("full_finetune", "stem"), ("scratch", "stem")])
def test_the_result_is_the_same_bit_for_bit(tmp_path: Path, method: str, stage: str) -> None:
    file = tmp_path / "checkpoint.safetensors"
    run_and_kill(str(file), method, stage)
    resumed = run(method, stage, file, resume=True)
    whole = run(method, stage)
    assert [name for name, tensor in whole.items() if not torch.equal(tensor, resumed[name])] == []
