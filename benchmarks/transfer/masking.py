"""Rankings of channels, tried out: what is left when the least important ones are silenced, and do seeds agree."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any

from benchmarks.common.cells import Cells
from benchmarks.transfer.accuracy import base, kept_net, make_nets
from benchmarks.transfer.data import data, some
from benchmarks.transfer.intervals import Bounds, mean_interval
from benchmarks.transfer.protocol import GOAL_TARGET, MASK_GOAL, Protocol
from benchmarks.transfer.work import Job, Work
from paceline.transfer.batches import Labelled
from paceline.transfer.criteria import CRITERIA
from paceline.transfer.evaluate import evaluate
from paceline.transfer.mask import masking_curve
from paceline.transfer.rank import rank
from paceline.transfer.ranking import Ranking
from paceline.transfer.stability import stability

NONE = "none"  # nothing is silenced


def measure_masking(work: Work) -> None:
    make_nets(work)
    seeds = work.protocol.net_seeds
    work.fill(Job(f"masking/{seed}", mask, (work.protocol, seed, work.folder)) for seed in seeds)


def mask(protocol: Protocol, seed: int, folder: Path) -> dict[str, Any]:
    """All criteria and shares on one network. Pictures that it learned from say what matters, as in ``paceline adapt rank``."""
    net = kept_net(protocol, seed, folder)
    sets, preprocessing = data(protocol, GOAL_TARGET, protocol.net_shots, seed), base().preprocessing
    batches = Labelled(some(sets.train, protocol.num_ranked), preprocessing)
    judged = some(sets.test, protocol.num_masked)
    rankings = {name: rank(net, batches, name, seed=seed) for name in CRITERIA}
    return {
        "top1": evaluate(net, judged, preprocessing).top1,
        "taylor": rankings["taylor"].scores,
        "masked": {
            name: {
                f"{point.share:g}": point.accuracy
                for point in masking_curve(
                    net,
                    ranking,
                    lambda net: evaluate(net, judged, preprocessing).top1,
                    shares=protocol.mask_shares,
                )
            }
            for name, ranking in rankings.items()
        },
    }


def masking_rows(cells: Cells) -> list[dict[str, Any]]:
    """Means over seeds. The first row is that of the whole networks."""
    found = list(cells.having("masking/").values())
    if not found:
        return []
    rows = [{"criterion": NONE, "share": 0.0, "test_top1": statistics.fmean(cell["top1"] for cell in found)}]
    for criterion, shares in found[0]["masked"].items():
        for share in shares:
            mean = statistics.fmean(cell["masked"][criterion][share] for cell in found)
            rows.append({"criterion": criterion, "share": float(share), "test_top1": mean})
    return rows


def taylor_over_gamma(cells: Cells) -> Bounds | None:
    """Difference of accuracies with the share of the goal silenced, the same networks in both."""
    share = f"{MASK_GOAL:g}"
    masked = [cell["masked"] for cell in cells.having("masking/").values()]
    return mean_interval([each["taylor"][share] - each["gamma"][share] for each in masked])


def stability_of(cells: Cells) -> dict[str, Any] | None:
    """Spearman's correlation of Taylor rankings, over pairs of seeds: all channels, and the mean and the least of the units."""
    found = list(cells.having("masking/").values())
    if len(found) < 2:
        return None
    made = stability([Ranking(criterion="taylor", scores=cell["taylor"], num_pictures=1) for cell in found])
    units = made.units.values()
    return {
        "overall": made.overall,
        "mean_of_units": statistics.fmean(units),
        "least_of_units": min(units),
        "num_rankings": made.num_rankings,
    }
