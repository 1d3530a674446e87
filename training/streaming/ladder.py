"""The six configurations of the packaged detectors: which weights see pictures of which size."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final, NamedTuple

from paceline.streaming.frame import CLASSES, Size
from training.streaming.network import COARSEST, SHAPES, work

EMBEDDED: Final = Path(__file__).parents[2] / "src/paceline/streaming/embedded"


class Rung(NamedTuple):
    name: str
    weights: str
    size: Size


LADDER: Final = (
    Rung("d1", "small", (256, 160)),
    Rung("d2", "small", (384, 224)),
    Rung("d3", "medium", (480, 288)),
    Rung("d4", "medium", (640, 384)),
    Rung("d5", "medium", (768, 448)),
    Rung("d6", "medium", (960, 576)),
)


def describe(measured: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """What `detectors.json` holds; ``measured`` by rung."""
    return {
        "input": {
            "name": "pixels",
            "type": "uint8",
            "shape": [1, 3, "height", "width"],
            "colours": "RGB",
            "multiple_of": COARSEST,
        },
        "resize": "the whole frame to width x height, bilinear over all pixels that are merged (Pillow's BILINEAR), not keeping the aspect",
        "outputs": {
            "boxes": "float32 [1, 100, 4]: left, top, right, bottom as shares of the frame's width and height",
            "scores": "float32 [1, 100], falling",
            "classes": "int64 [1, 100], index into classes",
        },
        "classes": list(CLASSES),
        "configurations": [
            {
                "name": rung.name,
                "weights": f"{rung.weights}.onnx",
                "width": rung.size[0],
                "height": rung.size[1],
                "gflop": round(work(SHAPES[rung.weights], rung.size), 2),
                **measured.get(rung.name, {}),
            }
            for rung in LADDER
        ],
    }
