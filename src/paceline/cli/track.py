"""``paceline track``: objects in a video, where they are when they are shown."""

from __future__ import annotations

import contextlib
import json
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from paceline.cli import options as o
from paceline.cli import stream_options as s
from paceline.cli.console import say, working
from paceline.cli.output import show
from paceline.cli.track_output import TrackWriter
from paceline.clock import to_microseconds
from paceline.errors import ConfigError, ExecutionError

if TYPE_CHECKING:
    from paceline.streaming.detect.detector import Detector
    from paceline.streaming.detect.pool import Loadable
    from paceline.streaming.frame import Detections, Frame, Output
    from paceline.streaming.pipeline import Pipeline, Start
    from paceline.streaming.sources.source import Source

_TRIALS, _TRIAL_S = 20, 2.0  # runs that tell what a detector takes


def track(
    source: s.Source,
    config: s.Config = "d4",
    detectors: s.Folder = None,
    threads: s.Threads = 1,
    tracker: s.Tracker = "sort",
    min_score: s.MinScore = 0.4,
    max_age_s: s.MaxAge = 0.5,
    forecast: s.Forecast = True,
    max_output_age_s: s.MaxOutputAge = 1.0,
    rate: s.Rate = None,
    live: s.Live = False,
    seconds: s.Seconds = None,
    out: s.TracksFile = None,
    quiet: o.Quiet = False,
    as_json: o.AsJson = False,
    debug: o.Debug = False,
) -> None:
    """Track vehicles, pedestrians and cyclists in SOURCE.

    Example: paceline track render:7 -o tracks.jsonl

    Only the newest picture is worked on; the others are dropped and counted, with or without --live: a recording that is read as fast as
    possible loses the pictures that it would have lost live.
    """
    from paceline.streaming.configuration import Configuration
    from paceline.streaming.detect.pool import Pool
    from paceline.streaming.pipeline import Pipeline
    from paceline.streaming.policy import Fixed
    from paceline.streaming.profile import Runtimes
    from paceline.streaming.sources.open import open_source

    configuration = Configuration(
        name=config, detector=config, max_age_s=max_age_s, min_score=min_score, tracker=tracker, forecast=forecast
    )
    opened = open_source(source, rate_hz=rate, paced=live)
    with contextlib.closing(opened), TrackWriter(out, opened.size) as writer:
        with working("loading the detector ...", quiet=quiet or as_json):
            pool = Pool([loadable_of(config, detectors, threads)], size=opened.size)
            samples = trial_of(pool[config], opened.size)
        pipeline = Pipeline(
            [configuration],
            Fixed(config),
            Runtimes({config: samples}),
            size=opened.size,
            max_output_age_s=max_output_age_s,
        )
        with working("tracking ... (Ctrl-C stops)", quiet=quiet or as_json):
            reason = _run(opened, pipeline, pool, writer, seconds)
    if not pipeline.num_submitted:
        raise ExecutionError(f"{source} gave no picture: {reason}")
    drops = Counter(opened.drops) + Counter(pipeline.drops)
    _tell(pipeline, writer, {str(why): count for why, count in drops.items()}, reason, as_json)
    if out is not None:
        say(f"tracks: {out}", quiet=quiet or as_json)


def loadable_of(config: str, folder: Path | None, threads: int) -> Loadable:
    """One detector of a folder's table."""
    from paceline.streaming.detect.onnx import PACKAGED, ladder

    known = ladder(folder or PACKAGED, threads=threads)
    if config not in known:
        raise ConfigError(f"unknown configuration {config!r}; known: {', '.join(known)}")
    return known[config]


def trial_of(detector: Detector, size: tuple[int, int]) -> tuple[float, ...]:
    """Seconds that it takes here and now."""
    import numpy as np

    from paceline.streaming.frame import Frame
    from paceline.streaming.profile import measure

    black = Frame(0, 0, size, np.zeros((size[1], size[0], 3), np.uint8))
    return measure(detector, [black], name="", repeats=_TRIALS, most_s=_TRIAL_S).wall_s


def _run(
    source: Source, pipeline: Pipeline, pool: Mapping[str, Detector], writer: TrackWriter, seconds: float | None
) -> str:
    """Until the source ends; why it did."""
    from paceline.streaming.sources.source import Recording

    run = _as_fast_as_read if isinstance(source, Recording) else _live
    return run(source, pipeline, pool, writer, None if seconds is None else to_microseconds(seconds))


def _live(
    source: Source, pipeline: Pipeline, pool: Mapping[str, Detector], writer: TrackWriter, end_us: int | None
) -> str:
    from paceline.streaming.engine import Engine
    from paceline.streaming.live import Feed

    def sink(output: Output, frame: Frame) -> None:
        writer.output(output)
        writer.picture(frame, output)
        if end_us is not None and frame.capture_us >= end_us:
            engine.stop()

    engine = Engine({"video": Feed(source, pipeline, (sink,))}, pool)
    try:
        return engine.run()["video"].reason
    except KeyboardInterrupt:
        return "stopped"


def _as_fast_as_read(
    source: Source, pipeline: Pipeline, pool: Mapping[str, Detector], writer: TrackWriter, end_us: int | None
) -> str:
    from paceline.streaming.simulate import play

    def frames() -> Iterator[Frame]:
        for frame in source:
            if end_us is not None and frame.capture_us >= end_us:
                return
            yield frame
            writer.picture(frame, pipeline.shown(frame.capture_us))

    def detect(start: Start) -> tuple[float, Detections]:
        began = time.perf_counter()
        found = pool[start.configuration.detector](start.frame)
        return time.perf_counter() - began, found

    try:
        play(pipeline, frames(), detect, writer.output)
    except KeyboardInterrupt:
        return "stopped"
    return source.ended or "it was stopped after the seconds asked for"


def _tell(pipeline: Pipeline, writer: TrackWriter, drops: dict[str, int], reason: str, as_json: bool) -> None:
    low, high = writer.ages_s()
    if as_json:
        print(
            json.dumps(
                {
                    "num_frames": pipeline.num_submitted,
                    "num_outputs": pipeline.num_outputs,
                    "num_objects": len(writer.ids),
                    "drops": drops,
                    "age_p50_s": low,
                    "age_p95_s": high,
                    "reason": reason,
                }
            )
        )
        return
    dropped = ", ".join(f"{count:,} {why}" for why, count in drops.items()) or "none"
    show(
        [
            ("pictures", f"{pipeline.num_submitted:,}, of which {pipeline.num_outputs:,} were answered"),
            ("dropped", dropped),
            ("objects", f"{len(writer.ids):,}"),
            (
                "age",
                "no answer"
                if low is None
                else f"{1e3 * low:.0f} ms from capture to answer in the middle, {1e3 * (high or 0):.0f} ms in 95 of 100",
            ),
            ("ended", reason),
        ]
    )
