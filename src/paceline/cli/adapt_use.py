"""``paceline adapt eval`` and ``predict``: how good a network is, and what it says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from paceline.cli import adapt_options as a
from paceline.cli import options as o
from paceline.cli.adapt_open import chosen_part, open_network, open_parts, tell_skipped
from paceline.cli.adapt_progress import Bars
from paceline.cli.output import counted, percent, show, show_table, wilson

if TYPE_CHECKING:
    from paceline.transfer.evaluate import Evaluation
    from paceline.transfer.pictures.folder import Skipped
    from paceline.transfer.pictures.pictures import Pictures

NUM_MISTAKES = 5  # pairs of classes that are shown


def eval_(
    adapter: a.Adapter,
    images: a.Images,
    base: a.TrainedBase = None,
    part: a.Part = "auto",
    threads: a.Threads = None,
    quiet: o.Quiet = False,
    as_json: o.AsJson = False,
    debug: o.Debug = False,
) -> None:
    """Say how many pictures of IMAGES are classified right, and what is mistaken for what.

    Example: paceline adapt eval birds/ images/

    Pictures that the training learned from are known by what is in their files, and left out. Pruned networks are taken, too.
    """
    from paceline.transfer.evaluate import evaluate
    from paceline.transfer.fit.numerics import threads as using

    opened = open_network(adapter, base)
    parts = open_parts(opened, images, quiet=quiet or as_json)
    pictures = chosen_part(parts, part, images)
    with using(threads):
        found = evaluate(opened.net, pictures, opened.preprocessing)
    if as_json:
        print(json.dumps(_evaluation_json(found, pictures, parts.skipped)))
        return
    low, high = wilson(found.top1, len(pictures))
    show(
        [
            ("pictures", f"{len(pictures):,} of {counted(len(opened.classes), 'class')}"),
            (
                "right",
                f"{percent(found.top1)} ({percent(low)} to {percent(high)}); among the first three {percent(found.top3)}",
            ),
            ("macro F1", f"{found.macro_f1:.3f}"),
            ("calibration", f"probabilities are off by {100 * found.ece:.1f} points on average"),
        ]
    )
    mistakes = _mistakes(found, opened.classes)
    if mistakes:
        print()
        show_table(("is", "taken for", "times", "of"), mistakes, num_texts=2)
    tell_skipped(parts.skipped, quiet=quiet)


def _mistakes(found: Evaluation, classes: tuple[str, ...]) -> list[tuple[str, str, str, str]]:
    """The commonest ones."""
    confusion = found.confusion.tolist()
    pairs = sorted(
        (
            (num, row, column)
            for row, line in enumerate(confusion)
            for column, num in enumerate(line)
            if num and row != column
        ),
        key=lambda pair: -pair[0],
    )
    return [
        (classes[row], classes[column], f"{num:,}", f"{sum(confusion[row]):,}")
        for num, row, column in pairs[:NUM_MISTAKES]
    ]


def _evaluation_json(found: Evaluation, pictures: Pictures, skipped: tuple[Skipped, ...]) -> dict[str, Any]:
    low, high = wilson(found.top1, len(pictures))
    return {
        "num_pictures": len(pictures),
        "top1": found.top1,
        "top1_interval": [low, high],
        "top3": found.top3,
        "macro_f1": found.macro_f1,
        "ece": found.ece,
        "loss": found.loss,
        "classes": pictures.classes,
        "confusion": found.confusion.tolist(),
        "skipped": _skipped_json(skipped),
    }


def _skipped_json(skipped: tuple[Skipped, ...] | list[Skipped]) -> list[dict[str, str]]:
    return [{"path": str(each.path), "reason": each.reason} for each in skipped]


def predict(
    adapter: a.Adapter,
    pictures: a.Pictures,
    base: a.TrainedBase = None,
    top: a.Top = 1,
    threads: a.Threads = None,
    quiet: o.Quiet = False,
    as_json: o.AsJson = False,
    debug: o.Debug = False,
) -> None:
    """Say of each PICTURE which class it is, and how sure that is.

    Example: paceline adapt predict birds/ photo.jpg holiday/

    Ends with 1 if a picture could not be read.
    """
    from paceline.transfer.fit.numerics import threads as using
    from paceline.transfer.fit.predict import predict as logits_of
    from paceline.transfer.pictures.folder import Item
    from paceline.transfer.pictures.pictures import load_pictures

    files = _files(pictures)
    opened = open_network(adapter, base)
    with Bars(quiet=quiet or as_json) as bars:
        items = [Item(path, 0) for path in files]
        loaded, skipped = load_pictures(items, opened.classes, opened.preprocessing, bars.decoded)
    with using(threads):
        probabilities = logits_of(opened.net, loaded, opened.preprocessing).softmax(1)
    values, places = probabilities.topk(min(top, len(opened.classes)))
    answers = [
        (path, [(opened.classes[place], value) for value, place in zip(*each, strict=True)])
        for path, *each in zip(loaded.paths, values.tolist(), places.tolist(), strict=True)
    ]
    if as_json:
        print(
            json.dumps({"pictures": [_answer_json(*answer) for answer in answers], "skipped": _skipped_json(skipped)})
        )
    else:
        lines = [(str(path), name, percent(value)) for path, named in answers for name, value in named]
        show_table(("picture", "class", "probability"), lines, num_texts=2)
    tell_skipped(skipped, quiet=as_json)
    raise typer.Exit(1 if skipped else 0)


def _files(given: list[Path]) -> list[Path]:
    """The files themselves, and all pictures in the folders."""
    from paceline.transfer.given import picture_files

    return [file for path in given for file in (picture_files(path) if path.is_dir() else [path])]


def _answer_json(path: Path, named: list[tuple[str, float]]) -> dict[str, Any]:
    name, probability = named[0]
    return {
        "path": str(path),
        "class": name,
        "probability": probability,
        "classes": [{"class": name, "probability": probability} for name, probability in named],
    }
