from __future__ import annotations

import json

import numpy as np
import torch

from paceline.transfer.backbone.load import load_backbone
from paceline.transfer.embedded import embedded_base, typefaces


def test_what_is_packaged_is_small() -> None:
    sizes = {file.name: file.stat().st_size for file in embedded_base().parent.iterdir() if file.is_file()}
    assert sizes["glyphnet.safetensors"] < 4_000_000
    assert sizes["typefaces.npz"] + sizes["weights.npz"] < 1_000_000
    assert not [name for name in sizes if name.endswith((".ttf", ".otf"))]


def test_its_features_tell_unseen_typefaces_apart() -> None:
    """A ridge regression on them is far above the chance of one in twenty, and far from perfect."""
    base = load_backbone(embedded_base())

    def features(shots: int, split: str) -> tuple[np.ndarray, np.ndarray]:
        target = typefaces(shots, split=split)
        with torch.inference_mode():
            found = base.backbone(torch.from_numpy(target.images).float() / 127.5 - 1)
        return np.concatenate([found.numpy(), np.ones((len(found), 1), np.float32)], axis=1), target.labels

    train, labels = features(20, "train")
    test, truth = features(10, "test")
    weights = np.linalg.solve(train.T @ train + 3.0 * np.eye(train.shape[1]), train.T @ np.eye(20)[labels])
    right = ((test @ weights).argmax(1) == truth).mean()
    assert 0.15 < right < 0.9


def test_the_json_beside_it_says_how_it_was_made() -> None:
    about = json.loads(embedded_base().with_suffix(".json").read_text())
    base = load_backbone(embedded_base())
    assert about["arch"] == base.backbone.arch == "glyphnet"
    assert about["parameters"] == sum(parameter.numel() for parameter in base.backbone.parameters())
    assert about["preprocessing"]["size"] == base.preprocessing.size == 64
    assert about["measured"]["top1"] > 0.8
