"""The estimator: pictures of every kind, labels of every kind, what it keeps in files, and what scikit-learn expects of it."""

from __future__ import annotations

import copy
import pickle
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.utils import estimator_checks

from paceline.errors import ConfigError, ModelError
from paceline.transfer.backbone.load import load_backbone
from paceline.transfer.estimator import AdaptClassifier
from paceline.transfer.pictures.decode import UnreadablePicture
from tests.transfer.drawn import SHAPES, arrays, draw_folder
from tests.transfer.small_base import write_base

IMAGES, LABELS = arrays(8)
QUICK = {"num_threads": 1}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_base(tmp_path_factory.mktemp("base") / "small.safetensors")


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def fitted(base: Path) -> AdaptClassifier:
    return AdaptClassifier(base, epochs=1, from_stage="layer3", options=QUICK).fit(IMAGES, LABELS)


def probe(base: Path, **parameters: Any) -> AdaptClassifier:
    return AdaptClassifier(base, gate=None, options=QUICK, **parameters)


def test_it_learns_from_arrays_and_answers_with_labels(fitted: AdaptClassifier) -> None:
    assert fitted.classes_.tolist() == sorted(SHAPES)
    probabilities = fitted.predict_proba(IMAGES)
    assert probabilities.shape == (len(IMAGES), len(SHAPES))
    assert probabilities.sum(1) == pytest.approx(np.ones(len(IMAGES)), abs=1e-5)
    assert fitted.predict(IMAGES).tolist() == fitted.classes_[probabilities.argmax(1)].tolist()
    assert fitted.score(IMAGES, LABELS) > 0.6
    assert [record.phase for record in fitted.history_.epochs] == ["head", "all"]


def test_colour_alpha_and_one_channel_are_arrays_too(base: Path) -> None:
    grey = probe(base).fit(IMAGES[..., None], LABELS)
    colour = np.repeat(IMAGES[..., None], 3, 3)
    opaque = np.concatenate([colour, np.full((*IMAGES.shape, 1), 255, np.uint8)], 3)
    for same in (colour, opaque):
        assert grey.predict_proba(same) == pytest.approx(grey.predict_proba(IMAGES), abs=1e-4)


def test_folders_and_lists_of_files_give_the_same(base: Path, tmp_path: Path) -> None:
    folder = draw_folder(tmp_path, 8)
    files = sorted(folder.glob("*/*.png"))
    of_files = probe(base).fit([str(file) for file in files], [file.parent.name for file in files])
    of_folder = probe(base).fit(str(folder))
    assert of_files.predict_proba(files) == pytest.approx(of_folder.predict_proba(folder), abs=1e-6)
    assert of_folder.score(folder) == of_folder.score(files, [file.parent.name for file in files])


LABELS_OF_EVERY_KIND: list[tuple[str, Callable[[int], Any]]] = [
    ("int", lambda place: 10 * place),
    ("bool", lambda place: place == 1),
    ("tuple", lambda place: (place, "x")),
    ("mixed", lambda place: None if place == 2 else place),
]


@pytest.mark.parametrize(
    ("kind", "label"), LABELS_OF_EVERY_KIND, ids=lambda value: value if isinstance(value, str) else ""
)
def test_labels_are_anything_hashable(kind: str, label: Callable[[int], Any], base: Path) -> None:
    labels = [label(list(SHAPES).index(name)) for name in LABELS]
    found = probe(base).fit(IMAGES, labels)
    assert set(found.predict(IMAGES).tolist()) <= set(labels)
    assert found.score(IMAGES, labels) > 0.6


@pytest.mark.parametrize("kind", [str, int])
def test_a_saved_one_answers_as_before(kind: type, base: Path, tmp_path: Path) -> None:
    labels = LABELS if kind is str else [list(SHAPES).index(name) for name in LABELS]
    before = probe(base, seed=3).fit(IMAGES, labels)
    before.save(tmp_path / "adapter")
    after = AdaptClassifier.load(tmp_path / "adapter")
    assert after.get_params() == {**before.get_params(), "base": str(base)}
    assert after.predict_proba(IMAGES) == pytest.approx(before.predict_proba(IMAGES), abs=5e-3)  # fp16
    assert after.classes_.tolist() == before.classes_.tolist()
    assert after.history_ == before.history_
    assert isinstance(after.predict(IMAGES[:1]).tolist()[0], kind)


def test_a_saved_one_wants_its_own_base(fitted: AdaptClassifier, tmp_path: Path) -> None:
    fitted.save(tmp_path / "adapter")
    with pytest.raises(ModelError, match="made for the base 'small'"):
        AdaptClassifier.load(tmp_path / "adapter", write_base(tmp_path / "other.safetensors", seed=1))


def test_labels_that_no_file_can_hold_are_not_saved(base: Path, tmp_path: Path) -> None:
    found = probe(base).fit(IMAGES, [(name, 1) for name in LABELS])
    with pytest.raises(ConfigError, match="fit with texts or numbers"):
        found.save(tmp_path)


def test_it_ranks_and_prunes(fitted: AdaptClassifier, tmp_path: Path) -> None:
    ranking = fitted.rank(IMAGES, LABELS)
    assert ranking.criterion == "taylor"
    assert ranking.num_pictures == len(IMAGES)
    small = fitted.prune(IMAGES, LABELS, macs=0.8, heal_epochs=1)
    small.save(tmp_path)
    again = AdaptClassifier.load(tmp_path)
    assert again.predict_proba(IMAGES) == pytest.approx(small.predict_proba(IMAGES), abs=1e-5)
    assert again.base_ is None
    assert sum(p.numel() for p in small.net_.parameters()) < sum(p.numel() for p in fitted.net_.parameters())
    with pytest.raises(ConfigError, match="was pruned"):
        again.rank(IMAGES, LABELS)


def test_the_base_may_be_loaded_before(base: Path) -> None:
    loaded = load_backbone(base)
    found = clone(probe(base).set_params(base=loaded)).fit(IMAGES, LABELS)
    assert found.base_.sha256 == loaded.sha256


MISTAKES: list[tuple[dict[str, Any], Any, Any, str]] = [
    ({}, IMAGES, None, "need labels"),
    ({}, IMAGES, LABELS[:-1], "give one label for each picture"),
    ({}, IMAGES, ["one"] * len(IMAGES), "at least two classes"),
    ({}, IMAGES, [0.5, 1.5] * (len(IMAGES) // 2), "unknown label type"),
    ({}, IMAGES, [float("nan"), 1.0] * (len(IMAGES) // 2), "nan"),
    ({}, IMAGES.astype(float), LABELS, "must be uint8"),
    ({}, IMAGES[:, 0], LABELS, r"\[N, H, W\]"),
    ({}, [], [], "two classes"),
    ({}, [IMAGES[0]], ["a"], "two classes"),
    ({}, "/no/such/folder", None, "is not there"),
    ({}, ".", ["a"], "brings its own"),
    ({"gate": "afine"}, IMAGES, LABELS, "did you mean 'affine'"),
    ({"gate": "scratch"}, IMAGES, LABELS, "unknown gate 'scratch'"),
    ({"epochs": 0}, IMAGES, LABELS, "epochs must be >= 1"),
    ({"validation": 1.0}, IMAGES, LABELS, "validation must be in"),
    ({"options": {"epochs": 3}}, IMAGES, LABELS, "options has 'epochs'"),
    ({"from_stage": "layer9"}, IMAGES, LABELS, "no stage 'layer9'"),
]


@pytest.mark.parametrize(
    ("parameters", "pictures", "labels", "says"), MISTAKES, ids=lambda value: value if isinstance(value, str) else ""
)
def test_mistakes_are_explained(parameters: dict[str, Any], pictures: Any, labels: Any, says: str, base: Path) -> None:
    with pytest.raises(ConfigError, match=says):
        AdaptClassifier(base, **parameters).fit(pictures, labels)


def test_pictures_that_cannot_be_read_are_listed_when_learning_and_named_when_asked(base: Path, tmp_path: Path) -> None:
    draw_folder(tmp_path, 8)
    broken = tmp_path / "disc" / "broken.png"
    broken.write_bytes(b"no picture")
    with pytest.warns(UserWarning, match="1 files are left out"):
        found = probe(base).fit(tmp_path)
    assert [skipped.path for skipped in found.skipped_] == [broken]
    with pytest.raises(UnreadablePicture, match="broken"):
        found.predict([broken, tmp_path / "disc" / "016.png"])


def test_a_class_that_was_not_learned_is_wrong_in_a_score_and_an_error_in_a_ranking(fitted: AdaptClassifier) -> None:
    assert fitted.score(IMAGES[:2], ["unheard-of", "of"]) == 0.0
    with pytest.raises(ConfigError, match="was not learned"):
        fitted.rank(IMAGES[:2], ["unheard-of", "bars"])


# -- scikit-learn ----------------------------------------------------------------------------------------------------

CHECKS = [  # those of its checks that need no data
    "check_estimator_cloneable", "check_estimator_repr", "check_no_attributes_set_in_init", "check_get_params_invariance",
    "check_set_params", "check_parameters_default_constructible", "check_do_not_raise_errors_in_init_or_set_params",
    "check_mixin_order", "check_valid_tag_types", "check_estimator_tags_renamed",
]  # fmt: skip


@pytest.mark.parametrize("check", CHECKS)
def test_it_is_an_estimator(check: str) -> None:
    """The others bring rows of features [N, F] of floats, which are no pictures; what they check follows below."""
    getattr(estimator_checks, check)("AdaptClassifier", AdaptClassifier())


def test_tags_say_that_it_takes_pictures() -> None:
    tags = AdaptClassifier().__sklearn_tags__()
    assert not tags.input_tags.two_d_array
    assert tags.input_tags.three_d_array
    with warnings.catch_warnings(record=True):
        warnings.simplefilter("always")
        assert not list(estimator_checks._yield_all_checks(AdaptClassifier(), legacy=True))


def test_unfitted_ones_say_so(base: Path, tmp_path: Path) -> None:
    unfitted = AdaptClassifier(base)
    for use in (unfitted.predict, unfitted.predict_proba, unfitted.save):
        with pytest.raises(NotFittedError):
            use(tmp_path)  # type: ignore[operator]


def test_it_can_be_copied_and_pickled(fitted: AdaptClassifier) -> None:
    before = fitted.predict_proba(IMAGES)
    for other in (copy.deepcopy(fitted), pickle.loads(pickle.dumps(fitted))):
        assert np.array_equal(other.predict_proba(IMAGES), before)


def test_answers_do_not_depend_on_their_company(fitted: AdaptClassifier) -> None:
    together = fitted.predict_proba(IMAGES)
    assert fitted.predict_proba(IMAGES[::-1])[::-1] == pytest.approx(together, abs=1e-4)
    assert np.concatenate([fitted.predict_proba(IMAGES[row : row + 1]) for row in range(4)]) == pytest.approx(
        together[:4], abs=1e-4
    )


def test_fitting_again_gives_the_same_and_changes_no_parameter(base: Path) -> None:
    classifier = probe(base)
    before = classifier.get_params()
    first = classifier.fit(IMAGES, LABELS).predict_proba(IMAGES)
    assert np.array_equal(classifier.fit(IMAGES, LABELS).predict_proba(IMAGES), first)
    assert classifier.get_params() == before


def test_sample_weights_count(fitted: AdaptClassifier) -> None:
    right = fitted.predict(IMAGES) == np.array(LABELS)
    assert fitted.score(IMAGES, LABELS, sample_weight=right.astype(float)) == 1.0


def test_pictures_may_be_read_only_and_are_left_alone(base: Path, tmp_path: Path) -> None:
    pictures = IMAGES.copy()
    pictures.setflags(write=False)
    probe(base).fit(pictures, LABELS).predict(pictures)
    assert np.array_equal(pictures, IMAGES)
    assert Image.fromarray(pictures[0]).size == (IMAGES.shape[2], IMAGES.shape[1])
