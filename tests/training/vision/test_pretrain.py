from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from training.vision.pictures import CLASSES, HELD_OUT_EPOCH, Alphabets, Batches
from training.vision.pretrain import Recipe, Trainee, evaluate, pretrain, rate_at

RECIPE = Recipe(epochs=2, pictures_per_epoch=16, batch_size=8, held_out_pictures=8)


@pytest.fixture(scope="module")
def alphabets() -> Alphabets:
    """Four faces of noise, one of each style."""
    masters = np.random.default_rng(0).integers(0, 256, (4, 62, 96, 96), dtype=np.uint8)
    return Alphabets(masters, np.arange(4))


def test_pictures_depend_on_seed_and_epoch_alone(alphabets: Alphabets) -> None:
    first, again, later = (Batches(alphabets, 16, 8, 0, epoch)[1] for epoch in (3, 3, 4))
    assert torch.equal(first[0], again[0])
    assert torch.equal(first[1], again[1])
    assert not torch.equal(first[0], later[0])
    assert first[0].shape == (8, 1, 64, 64)
    assert first[0].min() >= -1
    assert first[0].max() <= 1
    assert not torch.equal(first[0], Batches(alphabets, 16, 8, 0, HELD_OUT_EPOCH)[1][0])


def test_a_label_is_a_character_and_a_style(alphabets: Alphabets) -> None:
    one_style = Alphabets(alphabets.masters[:1], np.array([2]))
    labels = Batches(one_style, 64, 64, 0, 0)[0][1]
    assert all(CLASSES[label].endswith(" bold") for label in labels)
    assert len(set(labels.tolist())) > 20


def test_a_resumed_run_ends_with_the_same_weights(alphabets: Alphabets, tmp_path: Path) -> None:
    def run(name: str, *, resume: bool = False) -> dict[str, torch.Tensor]:
        trainee, _ = pretrain(alphabets, RECIPE, tmp_path / name, resume=resume, log=said.append)
        return trainee.state_dict()

    said: list[str] = []
    whole = run("whole")

    class Stopped(Exception):
        pass

    def stop(text: str) -> None:
        raise Stopped(text)

    with pytest.raises(Stopped, match="epoch 1 of 2"):
        pretrain(alphabets, RECIPE, tmp_path / "cut", resume=False, log=stop)
    resumed = run("cut", resume=True)
    assert said[2] == "goes on behind epoch 1"
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_the_rate_rises_and_falls_to_nothing() -> None:
    rates = [rate_at(step, 100, RECIPE) for step in range(100)]
    assert max(rates) == pytest.approx(RECIPE.peak_rate)
    assert rates[:10] == sorted(rates[:10])
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[-1] < RECIPE.peak_rate / 100


def test_untrained_it_guesses(alphabets: Alphabets) -> None:
    measured = evaluate(Trainee(RECIPE), alphabets, RECIPE)
    assert measured["pictures"] == 8
    assert 0 <= measured["top1"] <= measured["character_top1"] <= 1
