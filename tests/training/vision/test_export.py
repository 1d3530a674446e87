from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from paceline.transfer.backbone.load import load_backbone
from paceline.transfer.embedded import embedded_base
from training.vision.export import card, export, rounded
from training.vision.fonts import read_manifest
from training.vision.pretrain import Recipe, Trainee


@pytest.fixture(scope="module")
def trainee() -> Trainee:
    return Trainee(Recipe())


def test_what_is_measured_is_what_the_file_gives_back(trainee: Trainee, tmp_path: Path) -> None:
    measured = {"top1": 0.5, "character_top1": 0.75, "pictures": 8, "seconds": 3}
    export(tmp_path, trainee.backbone, Recipe(), measured, read_manifest())
    base = load_backbone(tmp_path / "glyphnet.safetensors")
    x = torch.randn(2, 1, 64, 64)
    with torch.inference_mode():
        assert torch.equal(base.backbone(x), rounded(trainee.backbone)(x))
        np.testing.assert_allclose(base.backbone(x), trainee.backbone.eval()(x), rtol=0.05, atol=0.05)
    assert base.preprocessing.mean == (0.5,)
    text = (tmp_path / "README.md").read_text()
    assert "0.500" in text
    assert json.loads((tmp_path / "glyphnet.json").read_text())["measured"] == measured


def test_the_packaged_card_is_up_to_date() -> None:
    about = json.loads(embedded_base().with_suffix(".json").read_text())
    assert (embedded_base().parent / "README.md").read_text() == card(about, read_manifest())
