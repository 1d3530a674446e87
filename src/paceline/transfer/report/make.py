"""The report of one adapted network as one HTML file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from paceline.errors import ConfigError
from paceline.transfer.adapted import AdaptedNet
from paceline.transfer.backbone.backbone import Preprocessing
from paceline.transfer.compare import Row
from paceline.transfer.fit.history import History
from paceline.transfer.mask import MaskedPoint
from paceline.transfer.pictures.pictures import Pictures
from paceline.transfer.prune.curve import PruningCurve
from paceline.transfer.ranking import Ranking
from paceline.transfer.report.collect import Reader, baseline_of, cut_points, epochs_of, masking_lines
from paceline.transfer.report.content import Report
from paceline.transfer.report.page import render
from paceline.transfer.stability import Stability

MAX_BYTES: Final = 5_000_000


def make_report(
    net: AdaptedNet,
    pictures: Pictures,
    preprocessing: Preprocessing,
    *,
    title: str,
    ranking: Ranking,
    stability: Stability | None = None,
    history: History | None = None,
    masking: Mapping[str, Sequence[MaskedPoint]] | None = None,
    pruning: PruningCurve | None = None,
    comparison: Sequence[Row] = (),
) -> str:
    """HTML of at most 5 MB that needs no network. ``pictures`` are those that the network is judged by, best the test pictures.

    What is not given is left out of the page. ConfigError if ``ranking`` is of another network.
    """
    widths = {unit.name: unit.conv.out_channels for unit in net.backbone.units}
    if any(widths.get(unit) != len(scores) for unit, scores in ranking.scores.items()):
        raise ConfigError(f"the ranking is of another network than this {net.backbone.arch}; rank this one")
    reader = Reader(net, pictures, preprocessing)
    page = render(
        Report(
            title=title,
            facts=reader.facts(),
            criterion=ranking.criterion,
            gates=reader.gates(),
            channels=reader.channels(ranking, stability),
            num_channels=len(ranking),
            stability=None if stability is None else stability.overall,
            warning=None if stability is None else stability.warning,
            classes=reader.classes(),
            confusions=reader.confusions(),
            epochs=() if history is None else epochs_of(history),
            best_epoch=0 if history is None else history.best.epoch,
            masking=tuple(masking_lines(masking or {}, reader.accuracy)),
            pruning=() if pruning is None else cut_points(pruning),
            baselines=tuple(map(baseline_of, comparison)),
        )
    )
    assert len(page.encode()) <= MAX_BYTES, "bounded by the number and size of its pictures"
    return page
