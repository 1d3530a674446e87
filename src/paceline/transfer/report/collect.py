"""Reads a network and its pictures into the content of a report."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from paceline.transfer.adapted import AdaptedNet
from paceline.transfer.backbone.backbone import Preprocessing
from paceline.transfer.batches import Labelled
from paceline.transfer.compare import Row
from paceline.transfer.fit.history import History
from paceline.transfer.mask import MaskedPoint
from paceline.transfer.pictures.pictures import Pictures
from paceline.transfer.prune.curve import PruningCurve
from paceline.transfer.ranking import Channel, Ranking
from paceline.transfer.report.activating import strongest
from paceline.transfer.report.cam import grad_cam
from paceline.transfer.report.content import (
    Baseline,
    ChannelCard,
    ClassMap,
    Confusion,
    CutPoint,
    Epoch,
    Fact,
    GateScales,
    MaskingLine,
    Shown,
)
from paceline.transfer.report.png import heated, png
from paceline.transfer.stability import Stability
from paceline.transfer.tap import evaluating

MAX_CLASSES: Final = 40  # shown with a heat map
MAX_CONFUSIONS: Final = 9
PER_STAGE: Final = 3  # channels shown
_NUM_EXAMPLES: Final = 4
_NUM_STRONGEST: Final = 9


class Reader:
    """One network and the pictures that it is judged by, all of them answered once."""

    def __init__(self, net: AdaptedNet, pictures: Pictures, preprocessing: Preprocessing) -> None:
        self.net = net
        self.pictures = pictures
        self.preprocessing = preprocessing
        self.batches = Labelled(pictures, preprocessing)
        with evaluating(net), torch.no_grad():
            self.probabilities = torch.cat([net(x).softmax(1) for x, _ in self.batches]).numpy()  # [N, K]
        self.answers: NDArray[np.int64] = self.probabilities.argmax(1)

    @property
    def accuracy(self) -> float:
        return float((self.answers == self.pictures.labels).mean())

    def facts(self) -> tuple[Fact, ...]:
        net = self.net
        trained = sum(parameter.numel() for parameter in net.gates.parameters())
        head = sum(parameter.numel() for parameter in net.head.parameters())
        return (
            Fact(value=f"{100 * self.accuracy:.1f} %", label=f"right on {len(self.pictures):,} pictures"),
            Fact(value=f"{len(self.pictures.classes)}", label="classes"),
            Fact(value=net.gate or "none", label=f"gates, from {net.from_stage}"),
            Fact(value=f"{trained:,}", label="numbers in gates"),
            Fact(value=f"{head:,}", label="numbers in the head"),
        )

    def gates(self) -> tuple[GateScales, ...]:
        """Empty if the gates multiply no channel."""
        scales = {unit.name: gate.scale() for unit, gate in self.net.gated()}
        return tuple(
            GateScales(unit=name, scales=tuple(scale.detach().tolist()))
            for name, scale in scales.items()
            if scale is not None
        )

    def channels(self, ranking: Ranking, stability: Stability | None) -> tuple[ChannelCard, ...]:
        """The most important ones of each stage, since no stage would leave room for others."""
        places = {scored.channel: place for place, scored in enumerate(ranking.ordered(), 1)}
        top = [
            scored
            for stage in range(len(self.net.backbone.stage_names))
            for scored in ranking.within({u.name for u in self.net.backbone.units if u.stage == stage}).top(PER_STAGE)
        ]
        found = strongest(self.net, self.batches, [scored.channel for scored in top], _NUM_STRONGEST)
        return tuple(
            ChannelCard(
                unit=channel.unit,
                number=channel.number,
                score=score,
                place=places[channel],
                place_spread=None if stability is None else _spread(stability, channel),
                strongest=tuple(
                    self._shown(each.row, each.value, each.top, each.left, each.size) for each in found[channel]
                ),
            )
            for channel, score in top
        )

    def classes(self) -> tuple[ClassMap, ...]:
        """Of each of the first classes the picture that the network is surest of, right or wrong answers of others left aside."""
        labels = self.pictures.labels
        present = [label for label in range(len(self.pictures.classes)) if (labels == label).any()][:MAX_CLASSES]
        rows = [int(np.where(labels == label, self.probabilities[:, label], -1.0).argmax()) for label in present]
        return tuple(self._class_map(label, row) for label, row in zip(present, rows, strict=True))

    def confusions(self) -> tuple[Confusion, ...]:
        """The most frequent pairs of a class and a wrong answer, the most frequent first."""
        num = len(self.pictures.classes)
        wrong = self.answers != self.pictures.labels
        counts = np.zeros((num, num), np.int64)
        np.add.at(counts, (self.pictures.labels[wrong], self.answers[wrong]), 1)
        order = np.argsort(-counts, axis=None, kind="stable")[:MAX_CONFUSIONS]
        pairs = [divmod(int(place), num) for place in order]
        return tuple(self._confusion(*pair, int(counts[pair])) for pair in pairs if counts[pair])

    def _class_map(self, label: int, row: int) -> ClassMap:
        x = next(iter(Labelled(self.pictures.take(np.array([row])), self.preprocessing)))[0]
        heat = grad_cam(self.net, x, torch.tensor([label]))[0].numpy()
        of_class = self.pictures.labels == label
        return ClassMap(
            name=self.pictures.classes[label],
            picture=png(self._picture(row)),
            heat=png(heated(self._picture(row), heat)),
            probability=float(self.probabilities[row, label]),
            accuracy=float((self.answers[of_class] == label).mean()),
        )

    def _confusion(self, truth: int, answer: int, num: int) -> Confusion:
        of_class = self.pictures.labels == truth
        rows = np.flatnonzero(of_class & (self.answers == answer))
        rows = rows[np.argsort(-self.probabilities[rows, answer])][:_NUM_EXAMPLES]  # the surest first
        return Confusion(
            truth=self.pictures.classes[truth],
            answer=self.pictures.classes[answer],
            num=num,
            num_truth=int(of_class.sum()),
            examples=tuple(self._shown(int(row), float(self.probabilities[row, answer])) for row in rows),
        )

    def _shown(self, row: int, value: float, top: int = 0, left: int = 0, size: int | None = None) -> Shown:
        side = self.preprocessing.size if size is None else size
        crop = self._picture(row)[:, top : top + side, left : left + side]
        return Shown(picture=png(crop), label=self.pictures.classes[self.pictures.labels[row]], value=value)

    def _picture(self, row: int) -> NDArray[np.uint8]:
        """What the network sees of it, as ``to_input`` cuts it out: [C, S, S]."""
        image: NDArray[np.uint8] = self.pictures.images[row]
        size = self.preprocessing.size
        top, left = (image.shape[1] - size) // 2, (image.shape[2] - size) // 2
        return image[:, top : top + size, left : left + size]


def _spread(stability: Stability, channel: Channel) -> float:
    """In places of the unit."""
    shares = stability.places[channel.unit]
    return shares[channel.number] * (len(shares) - 1)


def epochs_of(history: History) -> tuple[Epoch, ...]:
    return tuple(
        Epoch(number=record.epoch, train_loss=record.train_loss, val_loss=record.val_loss, accuracy=record.val_top1)
        for record in history.epochs
    )


def baseline_of(row: Row) -> Baseline:
    return Baseline(
        method=row.method,
        accuracy=row.top1,
        half_width=row.half_width,
        num_seeds=row.num_seeds,
        gap_closed=row.gap_closed,
        num_trained=row.num_trained,
        train_s=row.seconds,
    )


def cut_points(curve: PruningCurve) -> tuple[CutPoint, ...]:
    whole = curve.points[0]
    return tuple(
        CutPoint(
            macs=point.num_macs / whole.num_macs,
            parameters=point.num_parameters / whole.num_parameters,
            latency=point.latency_share,
            num_bytes=point.num_bytes,
            accuracy_cut=point.accuracy_cut,
            accuracy=point.accuracy,
        )
        for point in curve.points
    )


def masking_lines(curves: Mapping[str, Sequence[MaskedPoint]], whole: float) -> Iterator[MaskingLine]:
    """Curves by their criteria, each begun at the accuracy of the whole network."""
    for criterion, points in curves.items():
        yield MaskingLine(
            criterion=criterion, points=((0.0, whole), *((point.share, point.accuracy) for point in points))
        )
