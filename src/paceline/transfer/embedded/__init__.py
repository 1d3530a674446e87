"""The small network that comes in the package, and the pictures it is shown on; see README.md beside this file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from paceline.transfer.embedded.targets import Target


def embedded_base() -> Path:
    """File of glyphnet's weights, the base where none is given; ``glyphnet.json`` beside it says how it was made."""
    return Path(__file__).parent / "glyphnet.safetensors"


def typefaces(shots: int = 20, seed: int = 0, split: str = "train") -> Target:
    """Pictures of letters in 20 typefaces that the network was not trained on; the class is the typeface.

    ``shots`` pictures a class of the split "train", "val" or "test"; see ``embedded.targets`` for the other targets.
    """
    from paceline.transfer.embedded.targets import load_target  # Pillow and numpy only when pictures are drawn

    return load_target("typefaces", shots, seed, split)  # type: ignore[arg-type]
