"""A network with random weights in a file: what needs a base, and not a good one, takes it."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import save_file

from paceline.transfer.backbone.backbone import build


def write_base(path: Path, seed: int = 0, arch: str = "glyphnet", num_inputs: int = 1) -> Path:
    """It sees 32 x 32 pixels, which is quick."""
    torch.manual_seed(seed)
    state = build(arch, num_inputs=num_inputs).state_dict()
    save_file({name: tensor.contiguous() for name, tensor in state.items()}, path)
    values = ", ".join(["0.5"] * num_inputs)
    path.with_suffix(".json").write_text(
        f'{{"preprocessing": {{"size": 32, "resize": 32, "mean": [{values}], "std": [{values}]}}}}'
    )
    return path
