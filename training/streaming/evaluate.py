"""How well and how fast the packaged detectors are: precision on drives no training saw, seconds on this machine."""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnxruntime
from PIL import Image

from paceline.streaming.frame import Detections, Frame, Size, Truth
from paceline.streaming.render.drive import Drive
from training.streaming.ladder import LADDER, Rung
from training.streaming.precision import average_precision, recall_by_size

TEST_SEEDS: Final = 500_000
PER_DRIVE: Final = 8
WARM: Final = 3


class Runner:
    """One configuration in ONNX Runtime."""

    def __init__(self, folder: Path, rung: Rung, threads: int) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session = onnxruntime.InferenceSession(
            str(folder / f"{rung.weights}.onnx"), options, providers=["CPUExecutionProvider"]
        )
        self._size = rung.size

    def __call__(self, frame: Frame) -> Detections:
        return self.detect(self.prepare(frame), frame.size)

    def prepare(self, frame: Frame) -> np.ndarray:
        assert frame.pixels is not None
        small = Image.fromarray(frame.pixels).resize(self._size, Image.Resampling.BILINEAR)
        return np.ascontiguousarray(np.asarray(small).transpose(2, 0, 1)[None])

    def detect(self, pixels: np.ndarray, size: Size) -> Detections:
        boxes, scores, classes = self._session.run(None, {"pixels": pixels})
        return Detections(boxes[0].astype(float) * np.tile(size, 2), scores[0].astype(float), classes[0])


def test_frames(num_drives: int) -> Iterator[tuple[Frame, Truth]]:
    """Of fresh drives, in their usual mixture."""
    for place in range(num_drives):
        drive = Drive(seed=TEST_SEEDS + place)
        for index in np.linspace(2, len(drive.log.truths) - 3, PER_DRIVE).astype(int).tolist():
            yield drive.frame(index), drive.log.truths[index]


def evaluate(folder: Path, num_drives: int) -> dict[str, dict[str, Any]]:
    """By rung: precision and recall. Pictures are rendered once and shown to all."""
    runners = {rung.name: Runner(folder, rung, 1) for rung in LADDER}
    found: dict[str, list[Detections]] = {rung.name: [] for rung in LADDER}
    truths: list[Truth] = []
    width = 0
    for frame, truth in test_frames(num_drives):
        width = frame.size[0]
        truths.append(truth)
        for name, runner in runners.items():
            found[name].append(runner(frame))
    return {name: _scores(boxes, truths, width) for name, boxes in found.items()}


def _scores(found: Sequence[Detections], truths: Sequence[Truth], width: int) -> dict[str, Any]:
    recalls = recall_by_size(found, truths, width)
    scores = average_precision(found, truths) | {f"recall_{name}": value for name, value in recalls.items()}
    return {name: round(value, 4) for name, value in scores.items()}


def measure(folder: Path, threads: Sequence[int], repeats: int, most_s: float) -> dict[str, Any]:
    """Seconds of one frame, `prepare` included: by the clock, and of the processor (which busy neighbours change less)."""
    frame = Drive(seed=TEST_SEEDS).frame(50)
    samples = [_timed(folder, rung, count, frame, repeats, most_s) for count in threads for rung in LADDER]
    return {
        "about": "seconds of one 1280 x 720 frame, resizing included; processor_s of 1 thread is what a free core takes",
        "processor": _processor(),
        "onnxruntime": version("onnxruntime"),
        "load_average": round(os.getloadavg()[0], 2),
        "profiles": samples,
    }


def _timed(folder: Path, rung: Rung, threads: int, frame: Frame, repeats: int, most_s: float) -> dict[str, Any]:
    runner = Runner(folder, rung, threads)
    for _ in range(WARM):
        runner(frame)
    wall: list[float] = []
    processor: list[float] = []
    end = time.monotonic() + most_s
    while len(wall) < repeats and (time.monotonic() < end or len(wall) < 5):
        started, used = time.perf_counter(), time.process_time()
        runner(frame)
        wall.append(time.perf_counter() - started)
        processor.append(time.process_time() - used)
    return {
        "configuration": rung.name,
        "threads": threads,
        "wall_s": [round(value, 5) for value in wall],
        "processor_s": [round(value, 5) for value in processor],
    }


def _processor() -> str:
    names = [
        line.split(":", 1)[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line
    ]
    return f"{names[0] if names else platform.machine()}, {os.cpu_count()} cores"


def table(measured: dict[str, dict[str, Any]], profile: dict[str, Any] | None) -> str:
    """Markdown."""
    rows = [
        "| | picture | AP | AP50 | vehicle | pedestrian | cyclist | recall small | medium | large | ms of one core | ms by the clock, 1 thread | 2 threads |"
    ]
    rows.append("|---" * 13 + "|")
    for rung in LADDER:
        scores = measured.get(rung.name, {})
        keys = (
            "ap",
            "ap50",
            "ap50_vehicle",
            "ap50_pedestrian",
            "ap50_cyclist",
            "recall_small",
            "recall_medium",
            "recall_large",
        )
        cells = [f"{scores[key]:.3f}" if key in scores else "" for key in keys]
        columns = ((1, "processor_s"), (1, "wall_s"), (2, "wall_s"))
        times = [_spread(profile, rung.name, threads, column) for threads, column in columns]
        rows.append(f"| {rung.name} | {rung.size[0]}x{rung.size[1]} | " + " | ".join([*cells, *times]) + " |")
    return "\n".join(rows)


def _spread(profile: dict[str, Any] | None, name: str, threads: int, column: str) -> str:
    for sample in (profile or {}).get("profiles", ()):
        if sample["configuration"] == name and sample["threads"] == threads:
            return " / ".join(f"{1e3 * np.percentile(sample[column], share):.1f}" for share in (50, 95))
    return ""


def read_profile(folder: Path) -> dict[str, Any] | None:
    path = folder / "profile.json"
    return dict(json.loads(path.read_text())) if path.exists() else None
