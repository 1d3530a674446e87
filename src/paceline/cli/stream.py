"""``paceline stream``: what goes with tracking: scores, speed, rendered drives."""

from __future__ import annotations

import contextlib
import json
import math
from typing import TYPE_CHECKING, Final

import typer

from paceline.cli import options as o
from paceline.cli import stream_options as s
from paceline.cli.console import say, working
from paceline.cli.output import show, show_table
from paceline.errors import ConfigError

if TYPE_CHECKING:
    from paceline.streaming.score.report import Score

_ROWS: Final = (
    ("MOTA", "mota"), ("IDF1", "idf1"), ("HOTA", "hota"), ("AP .50:.95", "ap"), ("AP .50", "ap_50"), ("AP small", "ap_small"),
    ("AP medium", "ap_medium"), ("AP large", "ap_large"), ("misses", "num_misses"), ("false alarms", "num_false_alarms"),
    ("switches", "num_switches"), ("objects", "num_objects"),
)  # fmt: skip

stream = typer.Typer(
    name="stream",
    help="Judge tracks against the world at the time of the answer, time detectors, render drives with truth.\n\n"
    "Start with: paceline track render:7 -o tracks.jsonl && paceline stream eval tracks.jsonl --truth render:7",
    no_args_is_help=True,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@stream.command("eval")
def eval_(
    outputs: s.Outputs,
    truth: s.Truth,
    rule: s.Rule = "octopus",
    by_class: s.ByClass = False,
    quiet: o.Quiet = False,
    as_json: o.AsJson = False,
    debug: o.Debug = False,
) -> None:
    """Judge the answers of any system by what was there when they came.

    Example: paceline stream eval tracks.jsonl --truth render:7

    The right column judges each answer at the moment it was meant for, as if it had been there then.
    """
    from paceline.streaming.score.associate import OCTOPUS, SAP
    from paceline.streaming.score.jsonl import read
    from paceline.streaming.score.report import evaluate
    from paceline.streaming.sources.open import open_log

    found = read(outputs)
    with working("judging ...", quiet=quiet or as_json):
        score = evaluate(found, open_log(truth), association=OCTOPUS if rule == "octopus" else SAP, by_class=by_class)
    if as_json:
        print(json.dumps({key: _finite(value) for key, value in score.figures().items()}))
        return
    _tell(score)


def _tell(score: Score) -> None:
    streaming, offline = score.streaming.figures(), score.offline.figures()
    show_table(
        ("", "when shown", "offline"), [(name, _cell(streaming[key]), _cell(offline[key])) for name, key in _ROWS]
    )
    print()
    show(
        [
            ("frames", f"{score.num_frames:,}, of which {score.num_dropped:,} got no answer of their own"),
            (
                "age",
                f"{_cell(score.shown.p50_s)} s of what is shown in the middle, {_cell(score.shown.p95_s)} s in 95 of 100",
            ),
        ]
    )


def _cell(value: float) -> str:
    if isinstance(value, int):
        return f"{value:,}"
    return "-" if math.isnan(value) else f"{value:.3f}"


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


@stream.command("profile")
def profile(
    detectors: s.Folder = None,
    threads: s.Threads = 1,
    repeats: s.Repeats = 50,
    out: s.ProfileFile = None,
    quiet: o.Quiet = False,
    as_json: o.AsJson = False,
    debug: o.Debug = False,
) -> None:
    """Say how long each detector takes on this machine.

    Example: paceline stream profile --threads 2
    """
    from paceline.streaming.detect.onnx import PACKAGED, ladder
    from paceline.streaming.profile import Profile, measure, write
    from paceline.streaming.render import Drive

    frame = Drive(seed=7, duration_s=1.0).frame(5)
    measured = []
    with working("timing ...", quiet=quiet or as_json):
        for name, loadable in ladder(detectors or PACKAGED, threads=threads).items():
            measured.append(measure(loadable.load(), [frame], name=name, threads=threads, repeats=repeats))
    made = Profile(tuple(measured))
    if out is not None:
        write(out, made)
    quantiles = {name: values for (name, _), values in made.quantiles_s().items()}
    if as_json:
        print(
            json.dumps(
                {name: dict(zip(("p50_s", "p95_s", "p99_s"), each, strict=True)) for name, each in quantiles.items()}
            )
        )
        return
    show_table(
        ("detector", "median", "p95", "p99"),
        [(name, *(f"{1e3 * value:.1f} ms" for value in values)) for name, values in quantiles.items()],
    )
    if out is not None:
        say(f"all samples: {out}", quiet=quiet)


@stream.command("render")
def render(
    source: s.Source,
    out: s.VideoFile,
    rate: s.Rate = None,
    quiet: o.Quiet = False,
    debug: o.Debug = False,
) -> None:
    """Write a rendered drive, or any other source, as a video.

    Example: paceline stream render "render:7?seconds=10&light=night" -o night.webm

    Its truth is there under the same name: paceline stream eval --truth "render:7?seconds=10&light=night"
    """
    from paceline.streaming.frame import Tracks
    from paceline.streaming.sinks.annotated import AnnotatedVideo
    from paceline.streaming.sources.open import open_source
    from paceline.streaming.sources.source import Recording

    with contextlib.closing(open_source(source, rate_hz=rate)) as opened:
        if not isinstance(opened, Recording):
            raise ConfigError(
                f"{source!r} is live and has no end; give a recording, or record it with 'paceline track -o'"
            )
        with AnnotatedVideo(out, opened.size) as video, working("rendering ...", quiet=quiet):
            num_frames = 0
            for frame in opened:
                video.write(frame, Tracks())
                num_frames += 1
    say(f"{num_frames} pictures: {out}", quiet=quiet)
