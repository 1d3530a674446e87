"""Rendered pictures on disk: a few of each drive, as JPEG beside their boxes, in one file a drive; made once, read by all trainings."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from PIL import Image

from paceline.streaming.frame import Size, Truth
from paceline.streaming.render.drive import Drive

SIZE: Final[Size] = (960, 576)
QUALITY: Final = 92
PER_DRIVE: Final = 8
DURATION_S: Final = 20.0
TRAIN_SEEDS: Final = 1_000_000  # those of tests lie below
DARK: Final = 0.22  # of the drives are made dusk or night: as many as there are would be too few to learn from


class Example(NamedTuple):
    """One picture, still compressed, and its truth in pixels of `SIZE`."""

    jpeg: bytes
    truth: Truth

    def image(self, *, half: bool = False) -> Image.Image:
        """In RGB; a half-size picture costs a quarter."""
        image = Image.open(io.BytesIO(self.jpeg))
        if half:
            image.draft("RGB", (SIZE[0] // 2, SIZE[1] // 2))
        return image.convert("RGB")


def make(folder: Path, num_drives: int) -> Iterator[Path]:
    """Files that are there already are left as they are."""
    folder.mkdir(parents=True, exist_ok=True)
    for place in range(num_drives):
        path = folder / f"{place:05}.npz"
        if not path.exists():
            beside = path.with_suffix(".writing.npz")
            np.savez(beside, allow_pickle=False, **_rendered(TRAIN_SEEDS + place))
            os.replace(beside, path)
        yield path


def _rendered(seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    light = str(rng.choice(["dusk", "night"])) if rng.random() < DARK else ""
    drive = Drive(seed=seed, duration_s=DURATION_S, size=SIZE, light=light)
    indices = np.sort(rng.choice(len(drive.log.truths), PER_DRIVE, replace=False))
    truths = [drive.log.truths[index] for index in indices]
    jpegs = []
    for index in indices.tolist():
        file = io.BytesIO()
        pixels = drive.frame(index).pixels
        assert pixels is not None
        Image.fromarray(pixels).save(file, "JPEG", quality=QUALITY)
        jpegs.append(np.frombuffer(file.getvalue(), np.uint8))
    return {
        "jpegs": np.concatenate(jpegs),
        "ends": np.cumsum([len(jpeg) for jpeg in jpegs]),
        "counts": np.array([len(truth) for truth in truths]),
        "boxes": np.concatenate([truth.boxes for truth in truths]).astype(np.float32),
        "classes": np.concatenate([truth.classes for truth in truths]),
        "visible": np.concatenate([truth.visible for truth in truths]),
        "ignored": np.concatenate([truth.ignored for truth in truths]),
    }


def read(folder: Path) -> list[Example]:
    """All that is there."""
    result: list[Example] = []
    for path in sorted(folder.glob("[0-9]*[0-9].npz")):
        with np.load(path, allow_pickle=False) as file:
            result += _examples({name: file[name] for name in file.files})
    return result


def _examples(file: dict[str, np.ndarray]) -> Iterator[Example]:
    borders = np.concatenate([[0], np.cumsum(file["counts"])])
    starts = np.concatenate([[0], file["ends"][:-1]])
    for place, (start, end) in enumerate(zip(starts, file["ends"], strict=True)):
        rows = slice(borders[place], borders[place + 1])
        truth = Truth(
            file["boxes"][rows].astype(float), np.arange(borders[place + 1] - borders[place]),
            file["classes"][rows], file["visible"][rows], file["ignored"][rows],
        )  # fmt: skip
        yield Example(file["jpegs"][start:end].tobytes(), truth)
