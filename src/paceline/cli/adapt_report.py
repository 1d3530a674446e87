"""``paceline adapt report``: one HTML file about an adapted network."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from paceline.cli import adapt_options as a
from paceline.cli import options as o
from paceline.cli.adapt_open import OpenedAdapter, chosen_part, open_adapter, open_alike, open_parts, tell_skipped
from paceline.cli.adapt_rank import ranking_of
from paceline.cli.console import say, working
from paceline.cli.output import check_file, sized
from paceline.errors import ConfigError
from paceline.process.atomic import write_atomic

if TYPE_CHECKING:
    from paceline.transfer.adapted import AdaptedNet
    from paceline.transfer.compare import Row
    from paceline.transfer.mask import MaskedPoint
    from paceline.transfer.pictures.pictures import Pictures
    from paceline.transfer.prune.curve import PruningCurve


def report(
    adapter: a.Adapter,
    images: a.Images,
    out: a.ReportFile,
    base: a.TrainedBase = None,
    criterion: a.Criterion = "taylor",
    against: a.Against = None,
    compared: a.Compared = None,
    curve: a.Curve = False,
    part: a.Part = "auto",
    threads: a.Threads = None,
    quiet: o.Quiet = False,
    debug: o.Debug = False,
) -> None:
    """Write one HTML file about an adapted network. It can be sent to anybody: it loads nothing from anywhere.

    Example: paceline adapt report birds/ images/ --out birds.html

    It shows channels that matter and what they answer to, where in a picture each class is seen, and what is mistaken for what.
    """
    from paceline.transfer.fit.numerics import threads as using
    from paceline.transfer.report.make import make_report
    from paceline.transfer.stability import mean_ranking, stability

    check_file(out, ".html")
    rows = () if compared is None else read_comparison(compared)
    opened = [open_adapter(adapter, base), *open_alike(adapter, against or (), base)]
    parts = open_parts(opened[0], images, quiet=quiet)
    judged, learned = chosen_part(parts, part, images), parts["train"] if "train" in parts else parts["new"]
    with using(threads), working("reading the network ...", quiet=quiet):
        rankings = [ranking_of(each, learned, criterion) for each in opened]
        first = opened[0]
        page = make_report(
            first.net, judged, first.preprocessing, title=f"{adapter.resolve().name}: {first.info.gate or 'head'} on {first.info.base_name}",
            ranking=mean_ranking(rankings), stability=stability(rankings) if len(rankings) > 1 else None,
            history=None if first.record is None else first.record.history,
            masking=_masking(first, learned, judged, criterion), pruning=_curve(first, learned, judged) if curve else None,
            comparison=rows,
        )  # fmt: skip
    write_atomic(out, page.encode())
    say(f"wrote {out}, {sized(len(page.encode()))}; open it in a browser", quiet=quiet)
    tell_skipped(parts.skipped, quiet=quiet)


def _masking(
    opened: OpenedAdapter, learned: Pictures, judged: Pictures, criterion: str
) -> dict[str, tuple[MaskedPoint, ...]]:
    """How accuracy falls when channels are silenced, by the criterion and by chance."""
    from paceline.transfer.mask import masking_curve

    def accuracy(net: AdaptedNet) -> float:
        return _accuracy(net, judged, opened)

    names = dict.fromkeys((criterion, "random"))
    return {name: masking_curve(opened.net, ranking_of(opened, learned, name), accuracy) for name in names}


def _curve(opened: OpenedAdapter, learned: Pictures, judged: Pictures) -> PruningCurve:
    """How accuracy falls when channels are cut, and what healing brings back."""
    from paceline.transfer.batches import Labelled
    from paceline.transfer.fold import fold
    from paceline.transfer.prune.curve import pruning_curve
    from paceline.transfer.prune.cut import PruneOptions
    from paceline.transfer.shrink import healed

    return pruning_curve(
        fold(opened.net), Labelled(learned, opened.preprocessing), lambda net: _accuracy(net, judged, opened),
        lambda small, whole: healed(small, whole, learned, opened.preprocessing), options=PruneOptions(),
    )  # fmt: skip


def _accuracy(net: Any, judged: Pictures, opened: OpenedAdapter) -> float:
    from paceline.transfer.evaluate import evaluate

    return evaluate(net, judged, opened.preprocessing).top1


def read_comparison(path: Path) -> tuple[Row, ...]:
    """What ``paceline adapt compare --json`` printed. ConfigError if the file is something else."""
    import msgspec

    from paceline.transfer.compare import Cell, table

    try:
        told = msgspec.json.decode(path.read_bytes(), type=dict[str, msgspec.Raw])
        return table(msgspec.json.decode(told["trainings"], type=list[Cell]))
    except OSError as error:
        raise ConfigError(f"--compared {path} cannot be read: {error.strerror or error}") from error
    except (msgspec.MsgspecError, KeyError, UnicodeDecodeError) as error:
        raise ConfigError(f"--compared {path} is not what 'paceline adapt compare --json' prints") from error
