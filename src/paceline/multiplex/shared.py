"""Weights that many model folders name instead of holding them: one file beside the folders, such as the base of adapters."""

from __future__ import annotations

from pathlib import Path
from typing import final

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from paceline.errors import ModelError


@final
class SharedFiles:
    """Reads such files. The last one is kept, so that the next model that names it gets the same tensors, not a copy."""

    def __init__(self) -> None:
        self._last: tuple[Path, int, dict[str, torch.Tensor]] | None = None

    def load(self, folder: Path, name: str) -> dict[str, torch.Tensor]:
        """The weights in the file ``name``, which lies beside ``folder``. ModelError if it is elsewhere or cannot be read."""
        if Path(name).name != name or not name.endswith(".safetensors"):
            raise ModelError(
                f"{folder / 'model.json'}: shared must be the name of a .safetensors file beside the folder, got {name!r}"
            )
        path = folder.parent / name
        try:
            written = path.stat().st_mtime_ns
        except OSError as error:
            raise ModelError(f"{path}: cannot be read ({error.strerror or error})") from None
        if self._last is None or self._last[:2] != (path, written):
            self._last = (path, written, read_weights(path))
        return self._last[2]


def read_weights(path: Path) -> dict[str, torch.Tensor]:
    """The tensors of a safetensors file. ModelError if it cannot be read, or if one of them holds NaN."""
    try:
        weights = load_file(path)
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({error.strerror or error})") from None
    except (SafetensorError, ValueError, KeyError, RuntimeError) as error:
        raise ModelError(f"{path}: not a valid safetensors file ({error})") from None
    for name, tensor in weights.items():
        if tensor.is_floating_point() and bool(tensor.isnan().any()):  # masks hold infinities, but nothing holds NaN
            raise ModelError(f"{path}: {name!r} holds NaN")
    return weights
