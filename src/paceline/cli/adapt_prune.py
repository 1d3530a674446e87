"""``paceline adapt prune``: a network without the channels that matter least."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from paceline.cli import adapt_options as a
from paceline.cli import options as o
from paceline.cli.adapt_open import OpenedAdapter, open_adapter, open_parts, tell_skipped
from paceline.cli.console import say, working
from paceline.cli.output import check_writable, percent, show, sized, wilson
from paceline.errors import ConfigError

if TYPE_CHECKING:
    from torch import nn

    from paceline.transfer.pictures.pictures import Pictures


class _Cut(NamedTuple):
    """A network before and behind it, by the same held-out pictures."""

    num_pictures: int
    top1_before: float
    top1: float
    macs_before: int
    macs: int
    latency_share: float
    num_parameters: int


def prune(
    adapter: a.Adapter,
    images: a.Images,
    out: a.Out,
    base: a.TrainedBase = None,
    macs: a.Macs = 0.7,
    heal: a.Heal = 8,
    seed: a.Seed = 0,
    overwrite: a.Overwrite = False,
    threads: a.Threads = None,
    quiet: o.Quiet = False,
    as_json: o.AsJson = False,
    debug: o.Debug = False,
) -> None:
    """Cut the channels that matter least, and let the rest learn back what that cost.

    Example: paceline adapt prune birds/ images/ --macs 0.7 --heal 3 --out birds-small/

    What comes out is a network of its own, which shares no base: eval, predict and export take it as they take an adapter.
    """
    from paceline.transfer.fit.numerics import threads as using
    from paceline.transfer.parts import learned_and_held_out
    from paceline.transfer.prune.cut import PruneOptions
    from paceline.transfer.shrink import shrunk

    PruneOptions(macs=macs)  # a mistake is told before pictures are read
    if (out / "pruned.json").is_file() and not overwrite:
        raise ConfigError(
            f"{out} holds a pruned network already; name another folder with --out, or replace it with --overwrite"
        )
    check_writable(out)
    opened = open_adapter(adapter, base)
    parts = open_parts(opened, images, quiet=quiet or as_json)
    learned, held_out = learned_and_held_out(parts, seed)
    began = time.monotonic()
    with using(threads), working("cutting and healing ...", quiet=quiet or as_json):
        small = shrunk(opened.net, learned, opened.preprocessing, macs=macs, heal_epochs=heal, seed=seed)
        cut = _measured(opened, small, held_out)
    _write(out, small, opened, cut)
    if as_json:
        print(json.dumps({**cut._asdict(), "out": str(out), "seconds": time.monotonic() - began}))
        return
    _tell(out, cut, time.monotonic() - began, quiet=quiet)
    tell_skipped(parts.skipped, quiet=quiet)


def _measured(opened: OpenedAdapter, small: nn.Module, held_out: Pictures) -> _Cut:
    from paceline.transfer.batches import Labelled
    from paceline.transfer.evaluate import evaluate
    from paceline.transfer.fold import fold
    from paceline.transfer.prune.cost import num_macs, num_parameters
    from paceline.transfer.prune.latency import interleaved_s

    whole = fold(opened.net)
    example, _ = next(iter(Labelled(held_out, opened.preprocessing)))
    seconds = interleaved_s({"small": small, "whole": whole}, example)
    return _Cut(
        num_pictures=len(held_out),
        top1_before=evaluate(whole, held_out, opened.preprocessing).top1,
        top1=evaluate(small, held_out, opened.preprocessing).top1,
        macs_before=num_macs(whole, example[:1]),
        macs=num_macs(small, example[:1]),
        latency_share=seconds["small"] / seconds["whole"],
        num_parameters=num_parameters(small),
    )


def _write(out: Path, small: nn.Module, opened: OpenedAdapter, cut: _Cut) -> None:
    from paceline.transfer.prune.pruned import PrunedInfo, save_pruned
    from paceline.transfer.record import write_record

    info = PrunedInfo(
        arch=opened.info.arch,
        classes=opened.classes,
        preprocessing=opened.preprocessing,
        metrics={"test_top1": cut.top1, "test_top1_before": cut.top1_before, "macs_share": cut.macs / cut.macs_before},
    )
    save_pruned(out, small, info)
    if opened.record is not None:
        write_record(out, opened.record)


def _tell(out: Path, cut: _Cut, seconds: float, *, quiet: bool) -> None:
    low, high = wilson(cut.top1, cut.num_pictures)
    size = (out / "pruned.safetensors").stat().st_size
    show(
        [
            ("work", f"{percent(cut.macs / cut.macs_before)} of the multiplications, {percent(cut.latency_share)} of the time here"),
            ("right", f"{percent(cut.top1)} ({percent(low)} to {percent(high)}) of {cut.num_pictures:,} held-out pictures; before {percent(cut.top1_before)}"),
            ("network", f"{out}, {sized(size)}; it stands alone and needs no base"),
        ]
    )  # fmt: skip
    say(f"{seconds:.0f} s; next: paceline adapt export {out} --out model.onnx", quiet=quiet)
