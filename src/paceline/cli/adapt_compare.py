"""``paceline adapt compare``: ways to adapt a network, side by side on the user's pictures."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from paceline.cli import adapt_options as a
from paceline.cli import options as o
from paceline.cli.adapt_open import open_base, tell_skipped
from paceline.cli.adapt_progress import Bars
from paceline.cli.adapt_train import INTERRUPTED
from paceline.cli.console import say
from paceline.cli.output import counted, percent, show_table, wilson
from paceline.errors import ConfigError

if TYPE_CHECKING:
    from paceline.transfer.backbone.load import Base
    from paceline.transfer.compare import Cell, Row
    from paceline.transfer.parts import Parts


def compare(
    images: a.Images,
    base: a.Base = None,
    arch: a.Arch = None,
    method: a.Methods = None,
    from_stage: a.From = "stem",
    epochs: a.Epochs = 12,
    batch_size: a.BatchSize = 32,
    flip: a.Flip = False,
    seeds: a.Seeds = 1,
    val: a.Val = 0.15,
    test: a.Test = 0.15,
    journal: a.JournalFile = None,
    precision: a.Precision = "auto",
    device: a.Device = "cpu",
    threads: a.Threads = None,
    quiet: o.Quiet = False,
    as_json: o.AsJson = False,
    debug: o.Debug = False,
) -> None:
    """Try several ways to learn the classes of IMAGES: the same pictures, epochs and search for a learning rate for each.

    Example: paceline adapt compare images/ -m probe -m affine -m lora -m full_finetune --seeds 3

    Nothing is kept but the figures. They are of test pictures, which no training has seen.
    """
    from paceline.transfer.compare import BASELINES, Data
    from paceline.transfer.compare import compare as compared
    from paceline.transfer.fit.options import FitOptions
    from paceline.transfer.methods import METHODS

    methods = list(dict.fromkeys(method or BASELINES))
    assert all(METHODS[name] for name in methods)  # or else it names the known ones
    options = FitOptions(
        epochs=epochs, batch_size=batch_size, flip=flip, precision=precision, device=device, num_threads=threads
    )
    cells: list[Cell] = []
    interrupted = False
    with Bars(quiet=quiet or as_json, with_epochs=False) as bars:
        loaded = open_base(base, arch)
        parts = _parts(images, loaded, val, test, bars)
        data = Data(parts["train"], parts["val"], parts["test"])
        order = [f"{name}, seed {seed}" for seed in range(seeds) for name in methods]
        try:
            bars.title = order[0]
            for cell in compared(
                loaded, data, methods, range(seeds), options, from_stage=from_stage, journal=journal, progress=bars
            ):
                cells.append(cell)
                bars.tell(f"{order[len(cells) - 1]}: {percent(cell.top1)} right, {cell.seconds:.0f} s")
                bars.title = order[len(cells)] if len(cells) < len(order) else ""
        except KeyboardInterrupt:
            interrupted = True
    num_test = len(data.test)
    if as_json:
        print(json.dumps(_as_json(cells, parts)))
    elif cells:
        _tell(cells, num_test, quiet=quiet)
        tell_skipped(parts.skipped, quiet=quiet)
    if interrupted:
        goes_on = (
            f"the same command goes on with what {journal} holds" if journal else "with --journal FILE it could go on"
        )
        say(f"stopped after {counted(len(cells), 'training')} of {len(order)}; {goes_on}", quiet=quiet)
        raise typer.Exit(INTERRUPTED)


def _parts(images: Path, base: Base, val: float, test: float, bars: Bars) -> Parts:
    from paceline.transfer.parts import read_parts

    parts = read_parts(images, base.preprocessing, val=val, test=test, progress=bars.decoded)
    if "test" not in parts:
        raise ConfigError(
            f"{images} has no pictures to test with: add a test/ beside its train/, or give --test a share > 0"
        )
    return parts


def _interval(row: Row, num_test: int) -> tuple[float, float]:
    """Of the mean over seeds, or, of a single training, by the number of its test pictures."""
    if row.half_width is None:
        return wilson(row.top1, num_test)
    return max(0.0, row.top1 - row.half_width), min(1.0, row.top1 + row.half_width)


def _tell(cells: Sequence[Cell], num_test: int, *, quiet: bool) -> None:
    from paceline.transfer.compare import table

    rows = table(cells)
    lines = [
        (
            row.method, percent(row.top1), " to ".join(percent(bound) for bound in _interval(row, num_test)), f"{row.macro_f1:.3f}",
            "" if row.gap_closed is None else f"{100 * row.gap_closed:.0f} %", f"{row.num_trained:,}", f"{row.seconds:.0f}",
        )
        for row in rows
    ]  # fmt: skip
    show_table(("method", "right", "95 % interval", "macro F1", "gap closed", "learned", "seconds"), lines)
    over = (
        "the mean over seeds"
        if rows[0].num_seeds > 1
        else f"chance in {num_test:,} test pictures; --seeds 3 shows that of training too"
    )
    say(
        f"intervals: {over}. Gap closed: 0 % is the head alone, 100 % everything fine-tuned. Learned: numbers besides the head.",
        quiet=quiet,
    )


def _as_json(cells: Sequence[Cell], parts: Parts) -> dict[str, Any]:
    from msgspec import to_builtins

    from paceline.transfer.compare import table

    num_test = len(parts["test"])
    methods = []
    for row in table(cells):
        low, high = _interval(row, num_test)
        methods.append(
            {
                "method": row.method, "top1": row.top1, "low": low, "high": high, "macro_f1": row.macro_f1,
                "gap_closed": row.gap_closed, "num_trained": row.num_trained, "train_s": row.seconds, "num_seeds": row.num_seeds,
            }
        )  # fmt: skip
    return {
        "methods": methods,
        "num_pictures": {name: len(pictures) for name, pictures in parts.pictures.items()},
        "trainings": to_builtins(cells),
        "skipped": [{"path": str(each.path), "reason": each.reason} for each in parts.skipped],
    }
