"""Writes the network into the package: weights, what they are, and a model card."""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import msgspec
import torch
from safetensors.torch import save
from torch import Tensor

from paceline.process.atomic import write_atomic
from paceline.transfer.backbone.backbone import Backbone, Preprocessing, build
from paceline.transfer.embedded.targets import Masters, read_masters
from training.vision.fonts import Package, faces
from training.vision.pictures import CLASSES
from training.vision.pretrain import Recipe
from training.vision.targets import TARGETS

NAME: Final = "glyphnet"
PREPROCESSING: Final = Preprocessing(size=64, resize=64, mean=(0.5,), std=(0.5,))


def export(
    folder: Path, backbone: Backbone, recipe: Recipe, measured: dict[str, float], packages: Sequence[Package]
) -> None:
    """``glyphnet.safetensors``, ``glyphnet.json`` and ``README.md``."""
    tensors = {name: _stored(tensor) for name, tensor in backbone.state_dict().items()}
    preprocessing = msgspec.json.encode(PREPROCESSING).decode()
    weights = save(tensors, {"arch": recipe.arch, "preprocessing": preprocessing})
    write_atomic(folder / f"{NAME}.safetensors", weights)
    about = _about(backbone, recipe, measured, packages)
    (folder / f"{NAME}.json").write_text(json.dumps(about, indent=2) + "\n")
    (folder / "README.md").write_text(card(about, packages))


def rewrite_card(folder: Path, packages: Sequence[Package]) -> None:
    """``README.md`` anew from ``glyphnet.json``."""
    (folder / "README.md").write_text(card(json.loads((folder / f"{NAME}.json").read_text()), packages))


def _stored(tensor: Tensor) -> Tensor:
    """Kernels in half precision; the norms' vectors are few and keep theirs."""
    return tensor.detach().contiguous().to(torch.float16 if tensor.ndim == 4 else tensor.dtype)


def rounded(backbone: Backbone) -> Backbone:
    """The network as the file will give it back; this is what is measured."""
    result = build(backbone.arch, norm="frozen", num_inputs=1)
    result.load_state_dict({name: _stored(tensor).to(tensor.dtype) for name, tensor in backbone.state_dict().items()})
    return result


def _about(
    backbone: Backbone, recipe: Recipe, measured: dict[str, float], packages: Sequence[Package]
) -> dict[str, Any]:
    found = faces(packages, "base")
    return {
        "arch": recipe.arch,
        "preprocessing": msgspec.to_builtins(PREPROCESSING),
        "parameters": sum(parameter.numel() for parameter in backbone.parameters()),
        "features": backbone.num_features,
        "classes": len(CLASSES),
        "faces": len(found),
        "families": len({face.family for face in found}),
        "recipe": msgspec.to_builtins(recipe),
        "measured": measured,
        "versions": {name: version(name) for name in ("torch", "pillow", "numpy")},
    }


def card(about: dict[str, Any], packages: Sequence[Package]) -> str:
    """The model card, in Markdown."""
    recipe, measured = about["recipe"], about["measured"]
    shown = recipe["epochs"] * recipe["pictures_per_epoch"]
    licenses = "\n".join(_row(package) for package in packages)
    targets = {name: read_masters(name) for name in TARGETS}
    return f"""---
license: apache-2.0
pipeline_tag: image-feature-extraction
---
# glyphnet, and the pictures it is tried on

A small convolutional network to adapt, so that `paceline adapt` can be seen at work without a download. It knows printed characters and nothing
else. Made with `python -m training.vision` (fixed seeds; libraries: {", ".join(f"{k} {v}" for k, v in about["versions"].items())}).

## The network

Bottleneck ResNet [2, 2, 2, 2] of width 16 with torchvision's names of tensors: {about["parameters"]:,} parameters, {about["features"]} features, one grey input
channel, 64 x 64 pixels, mean 0.5, standard deviation 0.5. Kernels are stored in half precision.

Trained from random weights to tell {about["classes"]} classes apart: 62 characters, each in regular, italic, bold and bold italic.
{shown:,} pictures of {about["faces"]} faces in {about["families"]} families, each picture drawn once, in {recipe["epochs"]} epochs; AdamW, {recipe["precision"]}, {measured["seconds"]:.0f} s on one shared CPU core.
The classes hold style as well as character because a network that has learned to ignore style has nothing to offer a task about typefaces.

| on {measured["pictures"]:,} pictures of the same faces that no epoch drew | top-1 |
|---|---|
| character and style ({about["classes"]} classes) | {measured["top1"]:.3f} |
| character alone (62) | {measured["character_top1"]:.3f} |

## The pictures

`typefaces.npz` and `weights.npz` hold clean glyphs of 96 x 96 pixels; pictures are made of them with another size, place, angle, blur, contrast and
noise each time (`jitter.py`), so that there are as many as are wanted and no font is needed. `procedural` is drawn by `creatures.py`.

| target | classes | what decides the class |
|---|---|---|
| typefaces | {len(targets["typefaces"].classes)} | the family: {_listed(targets["typefaces"])} |
| weights | {len(targets["weights"].classes)} | weight and width within Lato and League Mono |
| procedural | 12 | bands, spots and antennae of a beetle |

Characters of the first two: {targets["typefaces"].characters}. None of their families, nor one drawn after them, was in the training.

## Fonts

Pictures were rendered from these packages; the package holds no font and no outline. Versions and the digest of every face are in
`training/vision/fonts.json`.

| package | version | licence | faces |
|---|---|---|---|
{licenses}

## Limits

Grey, synthetic, one domain, fewer than a million parameters. It ranks methods of transfer against each other; what it says of photographs is nothing.
Latin letters and digits only. Not for any decision about people.
"""


def _row(package: Package) -> str:
    return f"| {package.name} | {package.version} | {package.license} | {len(package.faces)} |"


def _listed(masters: Masters) -> str:
    return ", ".join(masters.classes)
