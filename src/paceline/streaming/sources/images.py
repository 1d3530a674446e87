"""A folder of pictures, in natural order."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from io import BytesIO
from pathlib import Path
from typing import Final, TypeAlias, final

import numpy as np

from paceline.clock import MICROSECONDS
from paceline.errors import ConfigError
from paceline.streaming.frame import Frame, Pixels, Size
from paceline.streaming.sources.source import Recording

SUFFIXES: Final = (".bmp", ".jpeg", ".jpg", ".png", ".ppm", ".webp")
RATE_HZ: Final = 10.0

Encoded: TypeAlias = Callable[[], bytes]  # reads one picture as a file holds it


def natural(name: str) -> tuple[tuple[int, int, str], ...]:
    """Orders names with numbers as people do.

    >>> sorted(["10.png", "9.png", "a2.png"], key=natural)
    ['9.png', '10.png', 'a2.png']
    """
    parts = re.findall(r"(\d+)|(\D+)", name)
    return tuple((0, int(digits), "") if digits else (1, 0, text) for digits, text in parts)


def pictures_of(folder: Path) -> list[Path]:
    """Its pictures in natural order."""
    found = [path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES]
    if not found:
        raise ConfigError(f"{folder} holds no picture; pictures end in {', '.join(SUFFIXES)}")
    return sorted(found, key=lambda path: natural(path.name))


def images(paths: Sequence[Path], *, rate_hz: float | None = None) -> Images:
    """Pictures in files, taken evenly spaced."""
    spacing = MICROSECONDS / (rate_hz or RATE_HZ)
    return Images([(path.read_bytes, round(index * spacing)) for index, path in enumerate(paths)])


@final
class Images(Recording):
    """Still pictures one after the other, each with its time. The first that can be read sets the size; lost ones keep their numbers."""

    def __init__(self, pictures: Sequence[tuple[Encoded, int]]) -> None:
        self._pictures = pictures
        super().__init__(self._first_size())

    def _first_size(self) -> Size:
        for encoded, _ in self._pictures:
            pixels, _ = decode(encoded)
            if pixels is not None:
                return pixels.shape[1], pixels.shape[0]
        raise ConfigError(f"none of {len(self._pictures)} pictures can be read; give pictures that open in a viewer")

    def _read(self) -> Iterator[Frame]:
        for index, (encoded, time_us) in enumerate(self._pictures):
            pixels, reason = decode(encoded, self.size)
            if pixels is None:
                self.drops[reason] += 1
                continue
            if reason:
                self.repairs[reason] += 1
            yield Frame(index, time_us, self.size, pixels)

    def _release(self) -> None:
        self._pictures = ()


def decode(encoded: Encoded, size: Size | None = None) -> tuple[Pixels | None, str]:
    """Pixels, rescaled to ``size`` if they have another, and what had to be done or why there are none."""
    try:
        from PIL import Image
    except ImportError:
        raise ConfigError('pictures need Pillow; run `pip install "paceline[video]"`') from None
    try:
        with Image.open(BytesIO(encoded())) as picture:
            whole = picture.convert("RGB")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:  # what Pillow raises on nonsense
        return None, f"cannot be read: {type(error).__name__}"
    if size in (None, whole.size):
        return np.asarray(whole), ""
    assert size is not None
    return np.asarray(whole.resize(size, Image.Resampling.BILINEAR)), "rescaled to the first picture's size"
