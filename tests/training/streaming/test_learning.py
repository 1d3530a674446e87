"""Pieces, loss, network, checkpoints and export, on a handful of pictures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from paceline.streaming.frame import Truth
from training.streaming.batches import Batch, Pieces, _placed
from training.streaming.loss import generalised_iou, loss
from training.streaming.network import SHAPES, STRIDE, Detector
from training.streaming.pictures import PER_DRIVE, SIZE, make, read
from training.streaming.train import RECIPES, Recipe, train

SMALL = Recipe(name="small", steps=3, batch=2, piece=(96, 64), scales=(0.2, 0.4))


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    assert len(list(make(folder, 1))) == 1
    return folder


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def test_pictures_come_back(pictures: Path) -> None:
    examples = read(pictures)
    assert len(examples) == PER_DRIVE
    assert examples[0].image().size == SIZE
    assert examples[0].image(half=True).size == (SIZE[0] // 2, SIZE[1] // 2)
    assert all(example.truth.boxes.max(initial=0) <= SIZE[0] for example in examples)


def test_a_step_has_its_batch(pictures: Path) -> None:
    first, second = (Pieces(read(pictures), (0.3, 0.5), 0).batch(5, 3, (96, 64)) for _ in range(2))
    assert first.pixels.shape == (3, 3, 64, 96)
    assert torch.equal(first.pixels, second.pixels)
    boxes = first.boxes[first.state > 0]
    assert (boxes[:, 2:] > boxes[:, :2]).all()
    assert (boxes >= 0).all()
    assert (boxes[:, 2] <= 96).all()


def test_boxes_are_laid_into_the_piece() -> None:
    truth = Truth(
        np.array([[100, 100, 140, 120], [0, 0, 40, 40], [110, 100, 111, 101.0]]),
        np.arange(3),
        np.zeros(3, np.int64),
        np.array([1.0, 1.0, 1.0]),
        np.zeros(3, bool),
    )
    boxes, state = _placed(truth, np.array([80.0, 90.0]), np.array([80.0, 40.0]), (160, 80))
    np.testing.assert_allclose(boxes[0], [40, 20, 120, 60])
    assert state.tolist() == [1, 0, 2]


def answers(batch: Batch, height: int, width: int) -> tuple[torch.Tensor, torch.Tensor]:
    """What a perfect network would say of one box."""
    box = batch.boxes[0, 0] / STRIDE
    middle = ((box[:2] + box[2:]) / 2).floor().int().tolist()
    middles = torch.full((1, 3, height, width), -12.0)
    middles[0, 0, middle[1], middle[0]] = 12.0
    x, y = torch.meshgrid(torch.arange(width) + 0.5, torch.arange(height) + 0.5, indexing="xy")
    sides = torch.stack([x - box[0], y - box[1], box[2] - x, box[3] - y])[None].clamp(min=0.02).log()
    return middles, sides


def test_the_right_answer_costs_nothing() -> None:
    batch = Batch(
        torch.zeros(1, 3, 64, 96, dtype=torch.uint8),
        torch.tensor([[[16.0, 12.0, 60.0, 44.0]]]),
        torch.zeros(1, 1, dtype=torch.long),
        torch.ones(1, 1, dtype=torch.long),
    )
    middles, sides = answers(batch, 16, 24)
    found, boxes = loss(middles, sides, batch)
    assert float(found) < 1e-2
    assert float(boxes) < 1e-4
    assert float(loss(-middles, sides, batch)[0]) > 1


def test_ignored_ones_are_not_held_against_it() -> None:
    batch = Batch(
        torch.zeros(1, 3, 64, 96, dtype=torch.uint8),
        torch.tensor([[[16.0, 12.0, 60.0, 44.0]]]),
        torch.zeros(1, 1, dtype=torch.long),
        torch.full((1, 1), 2),
    )
    middles, sides = answers(batch, 16, 24)
    assert float(loss(middles, sides, batch)[0]) < 1e-2


def test_generalised_iou_by_hand() -> None:
    first, second = torch.tensor([[0.0, 0.0, 2.0, 2.0]] * 2), torch.tensor([[0.0, 0.0, 2.0, 2.0], [4.0, 0.0, 6.0, 2.0]])
    assert generalised_iou(first, second).tolist() == pytest.approx([1.0, -1 / 3])


@pytest.mark.parametrize("name", SHAPES)
def test_folding_changes_nothing(name: str) -> None:
    torch.manual_seed(0)
    net = Detector(SHAPES[name])
    net(torch.rand(2, 3, 64, 64))
    net.eval()
    picture = torch.rand(1, 3, 64, 96)
    with torch.inference_mode():
        before = net(picture)
        after = net.fold()(picture)
    for a, b in zip(before, after, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)
    assert sum(parameter.numel() for parameter in net.parameters()) < 1_600_000


def test_going_on_equals_going_through(pictures: Path, tmp_path: Path) -> None:
    quiet = {"device": "cpu", "log": lambda _: None}
    through = train(SMALL, pictures, tmp_path / "a", **quiet)
    _stop_after(2, pictures, tmp_path / "b")
    resumed = train(SMALL, pictures, tmp_path / "b", **quiet)
    for a, b in zip(through.parameters(), resumed.parameters(), strict=True):
        torch.testing.assert_close(a, b)


class Stopped(Exception):
    pass


def _stop_after(steps: int, pictures: Path, path: Path) -> None:
    def log(text: str) -> None:
        if f"step {steps} " in text:
            raise Stopped

    with pytest.raises(Stopped):
        train(SMALL, pictures, path, device="cpu", save_every_s=-1.0, log=log)


def test_recipes_know_their_shapes() -> None:
    assert list(RECIPES) == list(SHAPES)
    for recipe in RECIPES.values():
        assert recipe.piece[0] % 32 == recipe.piece[1] % 32 == 0


def test_the_exported_graph_answers_as_the_network_does(tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnx")
    from training.streaming.export import export

    torch.manual_seed(0)
    net = Detector(SHAPES["small"])
    torch.nn.init.normal_(net.middle.weight, std=1.0)
    net(torch.rand(2, 3, 64, 64))
    net.fold().half().float()
    export(net, tmp_path / "x.onnx", {})
    session = onnxruntime.InferenceSession(str(tmp_path / "x.onnx"), providers=["CPUExecutionProvider"])
    pixels = np.random.default_rng(0).integers(0, 256, (1, 3, 64, 96), np.uint8)
    boxes, scores, classes = session.run(None, {"pixels": pixels})
    with torch.inference_mode():
        middles, sides = net(torch.from_numpy(pixels).float() / 255)
    peaks = torch.where(middles == torch.nn.functional.max_pool2d(middles, 3, 1, 1), middles, torch.tensor(-30.0))
    best, place = peaks.flatten().topk(100)
    count = int((best > -29).sum())
    np.testing.assert_allclose(scores[0, :count], torch.sigmoid(best)[:count], atol=1e-5)
    label, row, column = (part.numpy() for part in torch.unravel_index(place, middles.shape[1:]))
    np.testing.assert_array_equal(classes[0, :count], label[:count])
    reach = sides[0, :, row, column].exp().numpy()
    wanted = np.stack([column + 0.5 - reach[0], row + 0.5 - reach[1], column + 0.5 + reach[2], row + 0.5 + reach[3]], 1)
    wanted = np.clip(wanted / (24, 16, 24, 16), 0, 1)
    np.testing.assert_allclose(boxes[0, :count], wanted[:count], atol=1e-4)
