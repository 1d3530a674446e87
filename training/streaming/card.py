"""The model card of the packaged detectors, in Markdown."""

from __future__ import annotations

from typing import Any

from training.streaming.evaluate import table


def card(about: dict[str, Any], profile: dict[str, Any] | None) -> str:
    """From what `detectors.json` and `profile.json` hold."""
    made = about["made"]
    machine = (
        ""
        if profile is None
        else f"\nSeconds: p50 / p95 of one frame, resizing included, ONNX Runtime {profile['onnxruntime']} on {profile['processor']} (load {profile['load_average']} while measured: where that is above the number of cores, only the first column tells what the configuration costs)."
    )
    return f"""---
license: apache-2.0
pipeline_tag: object-detection
---
# Detectors of a rendered road

Two small convolutional networks that find {", ".join(about["classes"])}s in the pictures of `paceline.streaming.render`, and in nothing else. With two and
four sizes of picture they are six configurations, from fast to good, so that a pipeline has something to choose from without a download.
Made with `python -m training.streaming` (fixed seeds).

## Use

Input `pixels`: uint8 [1, 3, height, width], RGB. Resize {about["resize"]}.
Outputs: `boxes` {about["outputs"]["boxes"]}; `scores` {about["outputs"]["scores"]}; `classes` {about["outputs"]["classes"]}.
Nothing is to be done after: no anchors, no suppression beside the peaks. `detectors.json` lists the configurations, `profile.json` recorded seconds.

{table(made.get("measured", {}), profile)}

AP: mean over .50 to .95 and over classes, on {made.get("test_pictures", 0)} pictures (1280 x 720) of drives that no training saw, in their usual mixture of day, dusk, night and rain.
Recall: of boxes with a score of 0.3, IoU 0.5; sizes after COCO in pixels of a picture 1920 wide.{machine}

## The networks

Plain 3x3 convolutions with norms folded in, down to 1/32 and back up to 1/4 of the picture by nearest neighbours and sums; each cell of that says whether a
box of a class has its middle there and how far its four sides are. A peak is a cell that none of its eight neighbours exceeds.

| weights | parameters | steps | seconds of training |
|---|---|---|---|
{_rows(made.get("trained", {}))}

Trained on pieces of {made.get("pictures", 0):,} rendered pictures (960 x 576, JPEG), focal loss on the middles, generalised IoU on the boxes, AdamW, bfloat16, on shared CPU cores.

## Limits

Synthetic, one renderer, three classes. Of photographs they know nothing. Not for steering anything, nor for any decision about people.
"""


def _rows(trained: dict[str, Any]) -> str:
    return "\n".join(
        f"| {name} | {one['parameters']:,} | {one['step']} | {one['seconds']:.0f} |" for name, one in trained.items()
    )
