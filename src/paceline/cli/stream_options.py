"""Options of ``paceline track`` and ``paceline stream``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Final, Literal

import typer

VIDEO: Final = "Video"
DETECTORS: Final = "Detectors"
OUTPUT: Final = "Output"


def _option(panel: str, text: str, *names: str, unset: str | None = None, **more: Any) -> Any:
    env = "PACELINE_STREAM_" + names[0].removeprefix("--").split("/")[0].upper().replace("-", "_")
    shown: bool | str = True if unset is None else unset
    return typer.Option(*names, help=text, envvar=env, rich_help_panel=panel, show_default=shown, **more)


# fmt: off
Source = Annotated[str, typer.Argument(help="A video file, a folder of pictures, rtsp://..., webcam:0, a sequence of a known data set, or render:SEED.", show_default=False)]
Rate = Annotated[float | None, _option(VIDEO, "Pictures per second, where the source does not say or is wrong.", "--rate", metavar="HZ", unset="the source's own")]
Live = Annotated[bool, _option(VIDEO, "Replay a recording at the pace at which it was taken, instead of as fast as it can be read. Cameras always are live.", "--live")]
Seconds = Annotated[float | None, _option(VIDEO, "Stop after so many seconds of video.", "--seconds", unset="at its end", min=0.1)]

Config = Annotated[str, _option(DETECTORS, "The detector that runs; an unknown name lists those there are.", "--config", metavar="NAME")]
Folder = Annotated[Path | None, _option(DETECTORS, "A folder with ONNX files and a detectors.json that names them.", "--detectors", metavar="DIR", unset="the packaged ones")]
Threads = Annotated[int, _option(DETECTORS, "Threads of one detector.", "--threads", min=1)]
Tracker = Annotated[str, _option(DETECTORS, "sort, byte (takes doubtful boxes, too: give a low --min-score), or pylot (as a paper ran it).", "--tracker", metavar="NAME")]
MinScore = Annotated[float, _option(DETECTORS, "Boxes that the detector is less sure of are passed over.", "--min-score", min=0, max=1)]
MaxAge = Annotated[float, _option(DETECTORS, "Seconds that an object may be unseen before it is forgotten.", "--max-age-s", min=0)]
Forecast = Annotated[bool, _option(DETECTORS, "Move boxes to the moment at which they are shown.", "--forecast/--no-forecast")]
MaxOutputAge = Annotated[float, _option(DETECTORS, "Seconds after its capture beyond which an answer is not given any more.", "--max-output-age-s", min=0.01)]

TracksFile = Annotated[Path | None, _option(OUTPUT, "Where tracks go: .jsonl, .txt (MOTChallenge), or a video with boxes: .webm, .mkv, .mp4, .avi.", "--out", "-o", metavar="FILE", unset="nowhere")]
VideoFile = Annotated[Path, _option(OUTPUT, "The video to write: .webm, .mkv, .mp4, .avi.", "--out", "-o", metavar="FILE", unset="")]
ProfileFile = Annotated[Path | None, _option(OUTPUT, "Write all samples to this .json file.", "--out", "-o", metavar="FILE", unset="none")]
Outputs = Annotated[Path, typer.Argument(help="JSON lines, as 'paceline track -o' writes them.", show_default=False)]
Truth = Annotated[str, _option(VIDEO, "What was there: a MOTChallenge sequence, Argoverse-HD's .json#NAME, Waymo's .tfrecord, render:SEED.", "--truth", unset="")]
Rule = Annotated[Literal["octopus", "sap"], _option(VIDEO, "Which answer counts at each frame: that of the newest capture, first frames left out; or the last to come, first frames missed.", "--rule")]
ByClass = Annotated[bool, _option(VIDEO, "A box of the wrong class is wrong.", "--by-class")]
Repeats = Annotated[int, _option(DETECTORS, "Runs of each detector.", "--repeats", min=1)]
# fmt: on
