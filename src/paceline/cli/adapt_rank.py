"""``paceline adapt rank``: which channels matter."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from paceline.cli import adapt_options as a
from paceline.cli import options as o
from paceline.cli.adapt_open import OpenedAdapter, open_adapter, open_alike, open_parts, tell_skipped
from paceline.cli.console import say, working
from paceline.cli.output import check_file, counted, show, show_table

if TYPE_CHECKING:
    from paceline.transfer.pictures.pictures import Pictures
    from paceline.transfer.ranking import Ranking
    from paceline.transfer.stability import Stability


def rank(
    adapter: a.Adapter,
    images: a.Images,
    base: a.TrainedBase = None,
    criterion: a.Criterion = "taylor",
    against: a.Against = None,
    num: a.NumChannels = 10,
    out: a.RankingFile = None,
    threads: a.Threads = None,
    quiet: o.Quiet = False,
    as_json: o.AsJson = False,
    debug: o.Debug = False,
) -> None:
    """Rank channels by how much they matter for telling the classes of IMAGES apart.

    Example: paceline adapt rank birds/ images/ --against birds-seed-1/ --against birds-seed-2/

    Pictures are those that were learned from, or all of a folder that was not. With --against the mean of all rankings is shown.
    """
    from paceline.transfer.fit.numerics import threads as using
    from paceline.transfer.stability import mean_ranking, stability

    if out is not None:
        check_file(out, ".json")
    opened = [open_adapter(adapter, base), *open_alike(adapter, against or (), base)]
    parts = open_parts(opened[0], images, quiet=quiet or as_json)
    pictures = parts["train"] if "train" in parts else parts["new"]
    with using(threads), working("ranking ...", quiet=quiet or as_json):
        rankings = [ranking_of(each, pictures, criterion) for each in opened]
    ranking = mean_ranking(rankings)
    agreement = stability(rankings) if len(rankings) > 1 else None
    if out is not None:
        ranking.save(out)
    if as_json:
        print(json.dumps(_ranking_json(ranking, agreement, num)))
        return
    _tell_ranking(ranking, agreement, num)
    if out is not None:
        say(f"all scores: {out}", quiet=quiet)
    tell_skipped(parts.skipped, quiet=quiet)


def ranking_of(opened: OpenedAdapter, pictures: Pictures, criterion: str) -> Ranking:
    """Channels of an adapted network, ranked by these pictures."""
    from paceline.transfer.batches import Labelled
    from paceline.transfer.rank import rank as rank_channels

    return rank_channels(opened.net, Labelled(pictures, opened.preprocessing), criterion, seed=opened.info.seed)


def _tell_ranking(ranking: Ranking, agreement: Stability | None, num: int) -> None:
    show(
        [
            ("channels", f"{len(ranking):,} in {counted(len(ranking.scores), 'unit')}"),
            ("criterion", f"{ranking.criterion}, over {counted(ranking.num_pictures, 'picture')}"),
            ("stability", _stability_line(agreement)),
        ]
    )
    print()
    show_table(
        ("unit", "channel", "score"),
        [(scored.channel.unit, str(scored.channel.number), f"{scored.score:.4g}") for scored in ranking.top(num)],
    )


def _stability_line(agreement: Stability | None) -> str:
    if agreement is None:
        return "not known: give adapters of other seeds with --against"
    told = f"Spearman {agreement.overall:.2f} over {agreement.num_rankings} seeds"
    return f"{told}; {agreement.warning}" if agreement.warning else told


def _ranking_json(ranking: Ranking, agreement: Stability | None, num: int) -> dict[str, Any]:
    return {
        "criterion": ranking.criterion,
        "num_pictures": ranking.num_pictures,
        "num_channels": len(ranking),
        "stability": None if agreement is None else agreement.overall,
        "warning": None if agreement is None else agreement.warning,
        "channels": [
            {"unit": scored.channel.unit, "channel": scored.channel.number, "score": scored.score}
            for scored in ranking.top(num)
        ],
    }
