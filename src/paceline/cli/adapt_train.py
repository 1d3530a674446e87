"""``paceline adapt train``: from a folder of pictures to an adapter."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import typer

from paceline.cli import adapt_options as a
from paceline.cli import options as o
from paceline.cli.adapt_open import CHECKPOINT, open_base, tell_skipped
from paceline.cli.adapt_progress import Bars
from paceline.cli.console import say
from paceline.cli.output import check_writable, counted, percent, show, sized, wilson
from paceline.errors import ConfigError

if TYPE_CHECKING:
    from paceline.transfer.adapted import AdaptedNet
    from paceline.transfer.backbone.load import Base
    from paceline.transfer.evaluate import Evaluation
    from paceline.transfer.fit.history import EpochRecord, History
    from paceline.transfer.fit.options import FitOptions
    from paceline.transfer.methods import Method
    from paceline.transfer.parts import Parts

INTERRUPTED = 130  # as shells have it


class _Job(NamedTuple):
    """What is to be done."""

    images: Path
    out: Path
    base: str | None
    arch: str | None
    method: Method
    from_stage: str
    options: FitOptions
    val: float
    test: float
    resume: bool


class _Trained(NamedTuple):
    """What there is to write and to tell."""

    base: Base
    net: AdaptedNet
    history: History
    parts: Parts
    test: Evaluation | None


def train(
    images: a.Images,
    out: a.Out,
    base: a.Base = None,
    arch: a.Arch = None,
    gate: a.Gate = "affine",
    from_stage: a.From = "stem",
    epochs: a.Epochs = 12,
    head_epochs: a.HeadEpochs = 4,
    batch_size: a.BatchSize = 32,
    learning_rate: a.LearningRate = None,
    l1: a.L1 = 0.0,
    patience: a.Patience = 0,
    balance: a.Balance = False,
    flip: a.Flip = False,
    seed: a.Seed = 0,
    val: a.Val = 0.15,
    test: a.Test = 0.15,
    resume: a.Resume = False,
    overwrite: a.Overwrite = False,
    precision: a.Precision = "auto",
    device: a.Device = "cpu",
    threads: a.Threads = None,
    quiet: o.Quiet = False,
    as_json: o.AsJson = False,
    debug: o.Debug = False,
) -> None:  # fmt: skip
    """Learn the classes of IMAGES: a head and, inside a frozen network, gates.

    Example: paceline adapt train images/ --out birds/

    After Ctrl-C, or a power cut, the same command with --resume goes on from the last checkpoint.
    """
    _check_out(out, resume, overwrite)
    from paceline.transfer.fit.options import FitOptions

    options = FitOptions(
        epochs=epochs, head_epochs=head_epochs, batch_size=batch_size, learning_rate=learning_rate, l1=l1, patience=patience,
        balance_classes=balance, flip=flip, seed=seed, precision=precision, device=device, num_threads=threads,
    )  # fmt: skip
    job = _Job(images, out, base, arch, method_of(gate), from_stage, options, val, test, resume)
    began = time.monotonic()
    try:
        with Bars(quiet=quiet or as_json) as bars:
            trained = _run(job, bars)
    except KeyboardInterrupt:
        _tell_interrupted(out, quiet=quiet)
        raise typer.Exit(INTERRUPTED) from None
    seconds = time.monotonic() - began
    if as_json:
        print(json.dumps(_as_json(job, trained, seconds)))
        return
    _tell(job, trained, seconds, quiet=quiet)
    tell_skipped(trained.parts.skipped, quiet=quiet)


def method_of(gate: str) -> Method:
    """What ``--gate`` names. ConfigError, with the known names, if that is no gate."""
    from paceline.transfer.gates.gate import GATES
    from paceline.transfer.methods import METHODS

    if gate == "none":
        return METHODS["probe"]
    if gate not in GATES and gate in METHODS:
        raise ConfigError(
            f"--gate {gate} is no gate; give none for the head alone, or one of {', '.join(GATES)}. "
            "'paceline adapt compare' measures what changes the whole network"
        )
    assert GATES[gate]  # or else it names the known ones
    return METHODS[gate]


def _check_out(out: Path, resume: bool, overwrite: bool) -> None:
    """ConfigError if something would be lost, or there is nothing to go on with."""
    if resume and overwrite:
        raise ConfigError("give --resume, which goes on, or --overwrite, which begins anew; not both")
    if out.exists() and not out.is_dir():
        raise ConfigError(f"--out {out} is a file; name a folder")
    if resume and not (out / CHECKPOINT).is_file():
        raise ConfigError(f"--resume: no training was cut short in {out}; leave it out to begin one")
    if not (resume or overwrite):
        if (out / CHECKPOINT).is_file():
            raise ConfigError(
                f"{out} holds a training that was cut short; go on with --resume, or begin anew with --overwrite"
            )
        if (out / "adapter.json").is_file():
            raise ConfigError(
                f"{out} holds an adapter already; name another folder with --out, or replace it with --overwrite"
            )
    check_writable(out)


def _run(job: _Job, bars: Bars) -> _Trained:
    """Reads, trains, tests and writes."""
    from paceline.transfer.evaluate import evaluate
    from paceline.transfer.fit.trainer import fit
    from paceline.transfer.parts import read_parts

    base = open_base(job.base, job.arch)
    preprocessing = base.preprocessing
    parts = read_parts(
        job.images, preprocessing, val=job.val, test=job.test, seed=job.options.seed, progress=bars.decoded
    )
    num_classes = len(parts["train"].classes)
    net = job.method.make(base, num_classes, from_stage=job.from_stage, seed=job.options.seed)
    history = fit(
        net, parts["train"], parts["val"], job.method, job.options, preprocessing=preprocessing,
        checkpoint=job.out / CHECKPOINT, resume=job.resume, progress=bars,
    )  # fmt: skip
    test = evaluate(net, parts["test"], preprocessing) if "test" in parts else None
    trained = _Trained(base, net, history, parts, test)
    _write(job, trained)
    return trained


def _write(job: _Job, trained: _Trained) -> None:
    """The adapter and its record; then the checkpoint may go."""
    from paceline.transfer.adapter import save_adapter
    from paceline.transfer.record import describe, place_of, record_of, write_record

    measured = {} if trained.test is None else {"test_top1": trained.test.top1, "test_macro_f1": trained.test.macro_f1}
    classes = trained.parts["train"].classes
    info = describe(trained.base, trained.net, classes, trained.history, job.options.seed, measured)
    save_adapter(job.out, trained.net, info)
    write_record(job.out, record_of(trained.parts.pictures, job.images, place_of(job.base), trained.history))
    (job.out / CHECKPOINT).unlink(missing_ok=True)


def _tell(job: _Job, trained: _Trained, seconds: float, *, quiet: bool) -> None:
    parts = trained.parts
    best, head = trained.history.best, trained.history.epochs[0]
    size = (job.out / "adapter.safetensors").stat().st_size
    pictures = ", ".join(f"{len(parts[name]):,} {name}" for name in parts.pictures)
    show(
        [
            ("pictures", f"{pictures}; {counted(len(parts['train'].classes), 'class')}"),
            ("learned", f"{_learned(job.method, trained.history)}; {seconds:.0f} s"),
            ("validation", _validation_line(job.method, best, head)),
            ("test", _test_line(trained)),
            ("adapter", f"{job.out}, {sized(size)}; it needs the base {trained.base.name!r}"),
        ]
    )
    say(
        f"next: paceline adapt predict {job.out} PICTURE\n"
        f"      paceline adapt report {job.out} {job.images} --out report.html",
        quiet=quiet,
    )


def _learned(method: Method, history: History) -> str:
    return "the head" if method.trains == "head" else f"the head, and {history.num_trained:,} numbers of {method.name}"


def _validation_line(method: Method, best: EpochRecord, head: EpochRecord) -> str:
    told = f"{percent(best.val_top1)} right in epoch {best.epoch}"
    if method.trains == "head":
        return told
    if best.epoch == 0:
        return f"{percent(head.val_top1)} right with the head alone; no epoch of {method.name} was better, so it is left out"
    return f"{told}; the head alone {percent(head.val_top1)}"


def _test_line(trained: _Trained) -> str:
    if trained.test is None:
        return "none: IMAGES has no test/, and the figures above chose the epoch, so they are a little too good"
    low, high = wilson(trained.test.top1, len(trained.parts["test"]))
    return (
        f"{percent(trained.test.top1)} right ({percent(low)} to {percent(high)}), macro F1 {trained.test.macro_f1:.3f}"
    )


def _as_json(job: _Job, trained: _Trained, seconds: float) -> dict[str, Any]:
    from msgspec import to_builtins

    return {
        "out": str(job.out),
        "base": trained.base.name,
        "gate": trained.net.gate,
        "classes": trained.parts["train"].classes,
        "num_pictures": {name: len(pictures) for name, pictures in trained.parts.pictures.items()},
        "test_top1": None if trained.test is None else trained.test.top1,
        "test_macro_f1": None if trained.test is None else trained.test.macro_f1,
        "history": to_builtins(trained.history),
        "skipped": [{"path": str(each.path), "reason": each.reason} for each in trained.parts.skipped],
        "seconds": seconds,
    }


def _tell_interrupted(out: Path, *, quiet: bool) -> None:
    if (out / CHECKPOINT).is_file():
        say(f"stopped; what was learned is kept in {out}: the same command with --resume goes on", quiet=quiet)
    else:
        say("stopped before there was anything to keep", quiet=quiet)
