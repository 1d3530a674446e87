"""Sources and logs by name, as they are written on a command line."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Final
from urllib.parse import parse_qsl

from paceline.errors import ConfigError
from paceline.streaming.frame import Log, Size
from paceline.streaming.render.drive import Drive
from paceline.streaming.sources import argoverse, feed, motchallenge, waymo
from paceline.streaming.sources.camera import Camera
from paceline.streaming.sources.images import images, pictures_of
from paceline.streaming.sources.rendered import Rendered
from paceline.streaming.sources.source import Paced, Source
from paceline.streaming.sources.video import Video

RENDER: Final = "render:"
WEBCAM: Final = "webcam:"
DRIVE_OPTIONS: Final = ("seconds", "rate", "regimes", "light", "size")


def open_source(text: str, *, rate_hz: float | None = None, paced: bool = False) -> Source:
    """A source of pictures.

    ``drive.mp4``, ``folder/`` (of pictures, or a MOTChallenge sequence), ``segment.tfrecord`` (Waymo), ``val.json?pictures=ROOT#NAME``
    (a sequence of Argoverse-HD), ``render:7?seconds=20&light=night``, ``rtsp://…`` or another address, ``webcam:0``.
    ``rate_hz`` is that of pictures that have no time, and overrides the times of a video; ``paced`` replays a recording at the pace
    at which it was taken.
    """
    if rate_hz is not None and not 0 < rate_hz <= 1000:
        raise ConfigError(f"rate_hz must be in (0, 1000], got {rate_hz}")
    live = _camera(text, rate_hz)
    if live is not None:
        return live
    recording = _recording(text, rate_hz)
    return Paced(recording) if paced else recording


def open_logs(text: str) -> tuple[Log, ...]:
    """All logs with truth of a data set: a MOTChallenge sequence or a folder of such, Argoverse-HD's ``.json``, Waymo's ``.tfrecord`` or
    a folder of such, the ``.jsonl`` of Octopus's authors, ``render:SEED``."""
    if text.startswith(RENDER):
        return (_drive(text, None).log,)
    path = _existing(text)
    if path.is_dir():
        return _logs_of(path)
    readers: dict[str, Callable[[Path], tuple[Log, ...]]] = {
        ".json": argoverse.read,
        ".jsonl": lambda path: (waymo.read_json_lines(path),),
        waymo.SUFFIX: lambda path: (waymo.read(path),),
    }
    if path.suffix not in readers:
        raise ConfigError(
            f"{path} holds no truth that is known; known: {', '.join(readers)}, folders with {motchallenge.INFO}"
        )
    return readers[path.suffix](path)


def open_log(text: str) -> Log:
    """One log with truth. Where a file holds several, ``#NAME`` says which."""
    path, _, name = text.partition("#") if not text.startswith(RENDER) else (text, "", "")
    logs = {log.name: log for log in open_logs(path)}
    if name and name not in logs:
        raise ConfigError(f"{path} has no log {name!r}; known: {', '.join(logs)}")
    if not name and len(logs) != 1:
        raise ConfigError(f"{path} holds {len(logs)} logs; say which: {path}#NAME, one of {', '.join(logs)}")
    return logs[name] if name else next(iter(logs.values()))


def _camera(text: str, rate_hz: float | None) -> Source | None:
    if text.startswith(WEBCAM):
        number = text.removeprefix(WEBCAM)
        if not number.isdecimal():
            raise ConfigError(f"{text!r} names no camera; write webcam:0 for /dev/video0")
        return Camera(text, feed.webcam(int(number), rate_hz))
    if re.match(r"[a-z][a-z0-9+.-]*://", text):
        if rate_hz is not None:
            raise ConfigError(f"{text} keeps its own time; leave out rate_hz")
        return Camera(re.sub(r"//[^/@]*@", "//", text), feed.network(text))  # a password is not for logs
    return None


def _recording(text: str, rate_hz: float | None) -> Source:
    if text.startswith(RENDER):
        return Rendered(_drive(text, rate_hz))
    if re.search(r"\.json([?#]|$)", text):
        return _argoverse(text)
    path = _existing(text)
    if path.is_dir():
        if motchallenge.is_sequence(path):
            return motchallenge.open_pictures(path, rate_hz)
        return images(pictures_of(path), rate_hz=rate_hz)
    if path.suffix == waymo.SUFFIX:
        return waymo.WaymoPictures(path)
    return Video(str(path), rate_hz=rate_hz)


def _argoverse(text: str) -> Source:
    match = re.fullmatch(r"(.+\.json)\?pictures=(.+)#(.+)", text)
    if not match:
        raise ConfigError(f"{text!r} names no sequence; write annotations.json?pictures=FOLDER#SEQUENCE")
    return argoverse.open_pictures(_existing(match[1]), match[3], _existing(match[2]))


def _logs_of(folder: Path) -> tuple[Log, ...]:
    if motchallenge.is_sequence(folder):
        return (motchallenge.read(folder),)
    inside = sorted(folder.iterdir())
    logs = [motchallenge.read(path) for path in inside if motchallenge.is_sequence(path)]
    logs += [waymo.read(path) for path in inside if path.suffix == waymo.SUFFIX]
    if not logs:
        raise ConfigError(
            f"{folder} holds neither a MOTChallenge sequence ({motchallenge.INFO}) nor {waymo.SUFFIX} files"
        )
    return tuple(logs)


def _existing(text: str) -> Path:
    path = Path(text)
    if not path.exists():
        raise ConfigError(
            f"{text} does not exist; give a file, a folder, {RENDER}SEED, {WEBCAM}N or an address with ://"
        )
    return path


def _drive(text: str, rate_hz: float | None) -> Drive:
    seed, _, query = text.removeprefix(RENDER).partition("?")
    options = dict(parse_qsl(query, keep_blank_values=True))
    unknown = options.keys() - set(DRIVE_OPTIONS)
    if not seed.isdecimal() or unknown:
        raise ConfigError(f"{text!r} is no drive; write {RENDER}SEED?seconds=20, with {', '.join(DRIVE_OPTIONS)}")
    try:
        rate = rate_hz or float(options.get("rate", 10))
        seconds = float(options.get("seconds", 20))
        size = _size(options["size"]) if "size" in options else None
    except ValueError:
        raise ConfigError(f"{text!r}: seconds and rate are numbers, size is written 640x360") from None
    if not 0 < seconds <= 3600 or rate != int(rate):
        raise ConfigError(f"{text!r}: seconds must be in (0, 3600] and rate a whole number")
    regimes = [name for name in options.get("regimes", "").split(",") if name]
    light = options.get("light", "")
    if size is None:
        return Drive(seed=int(seed), duration_s=seconds, rate_hz=int(rate), regimes=regimes, light=light)
    return Drive(seed=int(seed), duration_s=seconds, rate_hz=int(rate), regimes=regimes, light=light, size=size)


def _size(text: str) -> Size:
    width, height = map(int, text.split("x"))
    if min(width, height) < 16:
        raise ValueError(text)
    return width, height
