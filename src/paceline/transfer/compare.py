"""Ways to adapt a network, side by side: the same pictures, epochs, search for a learning rate and seeds for each."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec
from msgspec.structs import replace

from paceline.errors import ConfigError
from paceline.transfer.journal import Journal

if TYPE_CHECKING:
    from paceline.transfer.backbone.load import Base
    from paceline.transfer.fit.history import Progress
    from paceline.transfer.fit.options import FitOptions
    from paceline.transfer.pictures.pictures import Pictures

FLOOR, CEILING = "probe", "full_finetune"  # between which the gap lies
BASELINES: Final = (FLOOR, "affine", "out", "full", "lora", "affine_lora", "dynamic", CEILING, "scratch")

_STUDENT: Final = (
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101,
    2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042,
)  # fmt: skip  # 97.5 % quantiles of Student's t for 1, 2, ... degrees of freedom


class Data(NamedTuple):
    """Pictures to learn from, to choose by, and to judge by."""

    train: Pictures
    val: Pictures
    test: Pictures


class Cell(msgspec.Struct, frozen=True, kw_only=True):
    """One method with one seed."""

    method: str
    seed: int
    top1: float  # on test pictures, as all shares 0..1
    top3: float
    macro_f1: float
    ece: float
    loss: float
    num_trained: int  # without the head
    learning_rate: float
    best_epoch: int
    val_top1: tuple[float, ...]  # of each epoch, the head's first
    seconds: float  # of learning
    pictures_per_s: float  # in the epochs behind the head's; 0 if there are none


class Row(NamedTuple):
    """One method over all seeds."""

    method: str
    num_seeds: int
    top1: float
    half_width: float | None  # of the 95 % interval of the mean (Student's t); None with one seed
    macro_f1: float
    num_trained: int
    seconds: float
    gap_closed: float | None  # 0 is the head alone, 1 is to learn everything; None unless both were compared


def compare(
    base: Base,
    data: Data,
    methods: Sequence[str],
    seeds: Sequence[int],
    options: FitOptions,
    *,
    from_stage: str = "stem",
    journal: Path | None = None,
    progress: Progress | None = None,
) -> Iterator[Cell]:
    """Yields each cell once it is there: all methods with the first seed, then with the next.

    With ``journal``, a file of JSON lines, cells that it holds are not computed again. Raises ConfigError for an unknown method, and for
    a journal of other pictures, options or another base.
    """
    from paceline.transfer.methods import METHODS

    chosen = [METHODS[name] for name in methods]
    kept = None if journal is None else Journal(journal, _identity(base, data, options, from_stage), Cell)
    known = {} if kept is None else {(cell.method, cell.seed): cell for cell in kept.read()}
    for seed in seeds:
        for method in chosen:
            cell = known.get((method.name, seed))
            if cell is None:
                cell = _computed(base, data, method.name, replace(options, seed=seed), from_stage, progress)
                if kept is not None:
                    kept.add(cell)
            yield cell


def table(cells: Iterable[Cell]) -> tuple[Row, ...]:
    """One row for each method, in the order in which they come first."""
    by_method: dict[str, list[Cell]] = {}
    for cell in cells:
        by_method.setdefault(cell.method, []).append(cell)
    means = {name: statistics.fmean(cell.top1 for cell in some) for name, some in by_method.items()}
    return tuple(_row(name, some, means) for name, some in by_method.items())


def half_width(values: Sequence[float]) -> float | None:
    """Of the 95 % interval around the mean of ``values``; None for a single one.

    >>> round(half_width([0.5, 0.6]), 3)
    0.635
    """
    if len(values) < 2:
        return None
    quantile = _STUDENT[min(len(values) - 1, len(_STUDENT)) - 1]
    return quantile * statistics.stdev(values) / math.sqrt(len(values))


def gap_closed(top1: float, floor: float, ceiling: float) -> float | None:
    """Where ``top1`` lies between the two; None if there is no gap."""
    return (top1 - floor) / (ceiling - floor) if ceiling > floor else None


def _row(name: str, cells: Sequence[Cell], means: dict[str, float]) -> Row:
    has_gap = FLOOR in means and CEILING in means
    return Row(
        method=name,
        num_seeds=len(cells),
        top1=means[name],
        half_width=half_width([cell.top1 for cell in cells]),
        macro_f1=statistics.fmean(cell.macro_f1 for cell in cells),
        num_trained=cells[0].num_trained,
        seconds=statistics.fmean(cell.seconds for cell in cells),
        gap_closed=gap_closed(means[name], means[FLOOR], means[CEILING]) if has_gap else None,
    )


def _computed(
    base: Base, data: Data, name: str, options: FitOptions, from_stage: str, progress: Progress | None
) -> Cell:
    from paceline.transfer.evaluate import evaluate
    from paceline.transfer.fit.trainer import fit
    from paceline.transfer.methods import METHODS

    method = METHODS[name]
    net = method.make(base, len(data.train.classes), from_stage=from_stage, seed=options.seed)
    history = fit(net, data.train, data.val, method, options, preprocessing=base.preprocessing, progress=progress)
    judged = evaluate(net, data.test, base.preprocessing)
    behind_head = [record.seconds for record in history.epochs if record.phase == "all"]
    return Cell(
        method=name,
        seed=options.seed,
        top1=judged.top1,
        top3=judged.top3,
        macro_f1=judged.macro_f1,
        ece=judged.ece,
        loss=judged.loss,
        num_trained=history.num_trained,
        learning_rate=history.learning_rate,
        best_epoch=history.best_epoch,
        val_top1=tuple(record.val_top1 for record in history.epochs),
        seconds=history.seconds,
        pictures_per_s=len(data.train) * len(behind_head) / sum(behind_head) if behind_head else 0.0,
    )


def _identity(base: Base, data: Data, options: FitOptions, from_stage: str) -> dict[str, object]:
    from paceline.transfer.fit.state import kept_options, listing_digest

    if not len(data.test):
        raise ConfigError("there are no test pictures to compare by")
    named = kept_options(options)
    del named["seed"]  # each cell names its own
    return {"base": base.sha256, "from_stage": from_stage, "pictures": listing_digest(*data), **named}
