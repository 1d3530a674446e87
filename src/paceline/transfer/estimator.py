"""The scikit-learn estimator: pictures and labels in, classes out; and what ranking and pruning say about what was learned."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self, final

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.validation import check_is_fitted

from paceline.errors import ConfigError, ModelError
from paceline.transfer.given import all_pictures_of, folder_of, labelled, parts_of
from paceline.transfer.record import place_of, record_of

if TYPE_CHECKING:
    from torch import nn

    from paceline.transfer.adapted import AdaptedNet
    from paceline.transfer.backbone.load import Base
    from paceline.transfer.fit.options import FitOptions
    from paceline.transfer.given import Given
    from paceline.transfer.pictures.pictures import Pictures
    from paceline.transfer.ranking import Ranking

_OWN: Final = ("epochs", "learning_rate", "balance_classes", "flip", "seed")  # fields of FitOptions that are parameters


@final
class AdaptClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn ships no types
    """Tells the user's classes apart with a frozen pre-trained network, gates in it, and a head.

    Pictures are a folder (with a folder for each class, or train/, val/ and test/ of that kind; it brings its own labels), a list of
    files, or an array uint8 [N, H, W] or [N, H, W, C]. Labels are anything hashable.

    Parameters
    ----------
    base : file of the pre-trained network, or what ``load_backbone`` returned; None or "embedded" is the one in this package
    gate : "affine", "out", "lora", "affine_lora", "full" or "dynamic"; None learns the head alone
    from_stage : the first stage with gates, such as "layer3": later is faster, and learns less
    epochs : passes over the pictures, behind those of the head alone
    learning_rate : of the gates; None: the gate's own, checked on the first steps
    balance_classes : a class with few pictures weighs as much as one with many
    flip : every other picture is mirrored; not where left and right differ in meaning
    validation : share of the pictures by which the best epoch is chosen, unless the folder has a val/
    seed : of everything random
    options : further fields of ``FitOptions`` by name, such as {"batch_size": 64, "l1": 0.1}

    Attributes: ``classes_`` [K], ``history_`` of the training, ``net_`` (an ``AdaptedNet``; a smaller one after ``prune``), ``base_`` (its
    ``Base``; None for a pruned network from a file), ``skipped_`` (files that could not be read, and why).

    >>> import numpy as np
    >>> dark, light = np.zeros((6, 32, 32), np.uint8), np.full((6, 32, 32), 200, np.uint8)
    >>> pictures = np.concatenate([dark + np.arange(6, dtype=np.uint8)[:, None, None], light + np.arange(6, dtype=np.uint8)[:, None, None]])
    >>> classifier = AdaptClassifier(gate=None).fit(pictures, ["dark"] * 6 + ["light"] * 6)
    >>> classifier.predict(pictures[[0, 11]]).tolist()
    ['dark', 'light']
    """

    base_: Base | None
    net_: nn.Module

    def __init__(
        self,
        base: str | Path | Base | None = None,
        *,
        gate: str | None = "affine",
        from_stage: str = "stem",
        epochs: int = 12,
        learning_rate: float | None = None,
        balance_classes: bool = False,
        flip: bool = False,
        validation: float = 0.15,
        seed: int = 0,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        self.base = base
        self.gate = gate
        self.from_stage = from_stage
        self.epochs = epochs
        self.learning_rate = learning_rate
        self.balance_classes = balance_classes
        self.flip = flip
        self.validation = validation
        self.seed = seed
        self.options = options

    def __sklearn_tags__(self) -> Any:
        """Pictures, not rows of features."""
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        tags.input_tags.three_d_array = True
        return tags

    def fit(self, X: Given, y: Any = None) -> Self:
        """Learns from pictures. ConfigError for an option or labels that make no sense, ModelError for a base that cannot be loaded.

        Pictures that cannot be read are left out with a warning, and listed in ``skipped_``.
        """
        from paceline.transfer.fit.trainer import fit
        from paceline.transfer.gates.gate import GATES
        from paceline.transfer.methods import METHODS

        options, method = self._fit_options(), METHODS["probe"]
        if self.gate is not None:
            assert GATES[self.gate]  # or else it names the known ones
            method = METHODS[self.gate]
        base = self._load_base()
        parts, classes = parts_of(X, y, base.preprocessing, validation=self.validation, seed=self.seed)
        net = method.make(base, len(classes), from_stage=self.from_stage, seed=self.seed)
        history = fit(net, parts["train"], parts["val"], method, options, preprocessing=base.preprocessing)
        self.net_, self.base_, self.arch_, self.preprocessing_ = net, base, base.backbone.arch, base.preprocessing
        self.classes_, self.history_, self.skipped_ = classes, history, parts.skipped
        self.record_ = record_of(parts.pictures, folder_of(X), place_of(self.base), history)
        return self

    def predict(self, X: Given) -> NDArray[Any]:
        """The class of each picture, [N]. Of a folder all pictures are taken, in the order of their paths.

        UnreadablePicture for the first that cannot be read.
        """
        rows = self.predict_proba(X).argmax(1)
        return self.classes_[rows]  # type: ignore[no-any-return]

    def predict_proba(self, X: Given) -> NDArray[np.float32]:
        """Probabilities of ``classes_``: [N, K]."""
        check_is_fitted(self)
        return self._probabilities(all_pictures_of(X, self.preprocessing_))

    def score(self, X: Given, y: Any = None, sample_weight: NDArray[np.float64] | None = None) -> float:
        """Share of right answers. A folder of classes brings its labels itself."""
        check_is_fitted(self)
        pictures = labelled(X, y, self.preprocessing_, self.classes_)
        right = self._probabilities(pictures).argmax(1) == pictures.labels
        return float(np.average(right, weights=sample_weight))

    def rank(self, X: Given, y: Any = None, *, criterion: str = "taylor", seed: int = 0) -> Ranking:
        """How much each channel matters for telling these pictures apart; ``CRITERIA`` lists ways to say it."""
        from paceline.transfer.batches import Labelled
        from paceline.transfer.rank import rank

        check_is_fitted(self)
        return rank(self._adapted(), Labelled(self._of_known_classes(X, y), self.preprocessing_), criterion, seed=seed)

    def prune(self, X: Given, y: Any = None, *, macs: float = 0.7, heal_epochs: int = 8) -> Self:
        """A classifier with ``macs`` of the multiplications. It shares no base any more, so it is saved as a whole network.

        ``X`` and ``y`` say which channels matter, and are learned from for ``heal_epochs`` afterwards: give what was learned from before,
        and keep other pictures for ``score``.
        """
        from paceline.transfer.shrink import shrunk

        check_is_fitted(self)
        pictures = self._of_known_classes(X, y)
        pruned = copy.copy(self)
        pruned.net_ = shrunk(
            self._adapted(), pictures, self.preprocessing_, macs=macs, heal_epochs=heal_epochs, seed=self.seed
        )
        return pruned

    def save(self, folder: str | Path) -> None:
        """Writes an adapter, which ``paceline adapt`` reads too; the base is not in it, only its name and hash. After ``prune`` it is the
        whole network.

        ConfigError for labels that a file cannot hold: texts, numbers and bools can be, of one kind.
        """
        from paceline.transfer.estimator_file import Fitted, save

        check_is_fitted(self)
        parameters = {name: value for name, value in self.get_params().items() if name != "base"}
        fitted = Fitted(self.net_, self.base_, self.arch_, self.preprocessing_, self.classes_, self.record_, parameters)
        save(Path(folder).expanduser(), fitted, self.seed)

    @classmethod
    def load(cls, folder: str | Path, base: str | Path | Base | None = None) -> Self:
        """A fitted estimator from a folder that ``save`` or ``paceline adapt train`` wrote.

        Without ``base`` it is looked for where it was. ModelError if it is another one, or a file is damaged.
        """
        from paceline.transfer.estimator_file import load

        fitted = load(Path(folder).expanduser(), base)
        try:
            loaded = cls(fitted.record.base if base is None else base, **fitted.parameters)
        except TypeError as error:
            raise ModelError(f"{folder}: estimator.json holds parameters that are none ({error})") from error
        loaded.net_, loaded.base_, loaded.arch_, loaded.preprocessing_ = fitted[:4]
        loaded.classes_, loaded.record_ = fitted.classes, fitted.record
        loaded.history_, loaded.skipped_ = fitted.record.history, ()
        return loaded

    def _adapted(self) -> AdaptedNet:
        """ConfigError after pruning: what was cut has no gates, and no base to cut it from again."""
        from paceline.transfer.adapted import AdaptedNet

        if isinstance(self.net_, AdaptedNet):
            return self.net_
        raise ConfigError("this network was pruned, so it has no gates any more; use the classifier that it came from")

    def _of_known_classes(self, X: Given, y: Any) -> Pictures:
        pictures = labelled(X, y, self.preprocessing_, self.classes_)
        if (unknown := np.flatnonzero(pictures.labels < 0)).size:
            raise ConfigError(f"y[{unknown[0]}] is a class that was not learned; known: {self.classes_.tolist()}")
        return pictures

    def _probabilities(self, pictures: Pictures) -> NDArray[np.float32]:
        from paceline.transfer.fit.predict import predict

        logits = predict(self.net_, pictures, self.preprocessing_)
        return logits.softmax(1).numpy()

    def _fit_options(self) -> FitOptions:
        from paceline.transfer.fit.options import FitOptions

        own = {name: getattr(self, name) for name in _OWN}
        further = dict(self.options or {})
        if odd := sorted(further.keys() - (set(FitOptions.__struct_fields__) - own.keys())):
            known = sorted(set(FitOptions.__struct_fields__) - own.keys())
            raise ConfigError(f"options has {odd[0]!r}, which is none of {', '.join(known)}, or a parameter of its own")
        return FitOptions(**own, **further)

    def _load_base(self) -> Base:
        from paceline.transfer.backbone.load import load_backbone

        return self.base if isinstance(self.base, tuple) else load_backbone(self.base)
