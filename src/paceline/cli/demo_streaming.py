"""The part of ``paceline demo`` that tracks: the same detector with boxes as they were seen, and moved to the moment they are shown."""

from __future__ import annotations

import tempfile
import time
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Final

from paceline.cli.console import working
from paceline.cli.doctor import is_complete
from paceline.errors import ExecutionError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rich.console import Console

    from paceline.streaming.frame import Detections, Frame, Log
    from paceline.streaming.simulate import Simulated

_SEED: Final = 8
_SECONDS: Final = 6.0
_DETECTOR: Final = "d3"
_RUNTIME_S: Final = 0.16  # what it takes to be spent on a picture: a device that is busy with other things, too
_SHOWN: Final = 4  # frames before the end, the one that is kept as a picture


def show_tracking(screen: Console) -> None:
    """Detects objects in a rendered drive, once, and shows them with and without forecast."""
    if not is_complete("video") or find_spec("onnxruntime") is None or find_spec("PIL") is None:
        screen.print("\n[bold]Live video[/]: left out; it needs pip install 'paceline\\[video]'")
        return
    from paceline.streaming.render import Drive

    drive = Drive(seed=_SEED, duration_s=_SECONDS)
    with working("painting a drive and looking at it ...", quiet=not screen.is_terminal):
        frames, found, took_s = _seen(drive.frames())
    screen.print(
        f"\n[bold]Live video[/]: a rendered drive of {_SECONDS:g} s, 10 pictures a second, the packaged detector {_DETECTOR} "
        f"({1e3 * took_s:.0f} ms a picture here), given {1e3 * _RUNTIME_S:.0f} ms"
    )
    made = {forecast: _tracked(drive.log, found, forecast) for forecast in (False, True)}
    scores = {forecast: _s_mota(drive.log, run) for forecast, run in made.items()}
    screen.print(f"  boxes as they were seen         S-MOTA {100 * scores[False]:5.1f}")
    screen.print(f"  boxes moved to when they show   S-MOTA {100 * scores[True]:5.1f}")
    if scores[True] <= scores[False]:
        raise ExecutionError(f"forecasts gained nothing: {scores[True]:.3f} after {scores[False]:.3f}")
    path = Path(tempfile.mkdtemp(prefix="paceline-demo-")) / "drive.png"
    _paint(frames[-_SHOWN], made[True], path)
    screen.print(f"  what is on the screen: {path}", soft_wrap=True)


def _seen(frames: Iterable[Frame]) -> tuple[list[Frame], list[Detections], float]:
    """Pictures, what the detector finds in each, and its seconds."""
    from paceline.streaming.detect.onnx import ladder

    detector, kept, found = ladder()[_DETECTOR].load(), [], []
    took_s = 0.0
    for frame in frames:
        began = time.perf_counter()
        found.append(detector(frame))
        took_s += time.perf_counter() - began
        kept.append(frame)
    return kept, found, took_s / len(kept)


def _tracked(log: Log, found: list[Detections], forecast: bool) -> Simulated:
    from paceline.streaming.configuration import Configuration
    from paceline.streaming.pipeline import Pipeline
    from paceline.streaming.policy import Fixed
    from paceline.streaming.profile import Runtimes
    from paceline.streaming.simulate import simulate

    configuration = Configuration(name=_DETECTOR, detector=_DETECTOR, max_age_s=0.3, forecast=forecast)
    pipeline = Pipeline([configuration], Fixed(_DETECTOR), Runtimes({_DETECTOR: [_RUNTIME_S]}), size=log.size)
    return simulate(pipeline, log, lambda start: (_RUNTIME_S, found[start.frame.index]))


def _s_mota(log: Log, run: Simulated) -> float:
    from paceline.streaming.score.report import evaluate

    return evaluate(run.outputs, log, shown=run.shown).streaming.mota


def _paint(frame: Frame, run: Simulated, path: Path) -> None:
    from PIL import Image

    from paceline.streaming.sinks.draw import draw

    tracks = run.shown[frame.index]
    assert tracks is not None
    assert frame.pixels is not None
    Image.fromarray(draw(frame.pixels, tracks, configuration=_DETECTOR)).save(path)
