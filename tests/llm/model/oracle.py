"""What transformers computes for a folder."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")


def oracle_logits(folder: Path, tokens: Sequence[int]) -> NDArray[np.float32]:
    """Float32 logits after each of ``tokens`` [len(tokens), V]."""
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
    with torch.inference_mode():
        logits: NDArray[np.float32] = model(torch.tensor([list(tokens)])).logits[0].numpy()
    return logits
