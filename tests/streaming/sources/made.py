"""Files of every kind, made small."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from paceline.streaming.frame import Pixels, Size
from paceline.streaming.sources.tfrecord import crc32c, masked

SMALL = (64, 48)


def picture(index: int, size: Size = SMALL) -> Pixels:
    """Grey that grows with ``index``, and a white patch that moves."""
    pixels = np.full((size[1], size[0], 3), index * 11 % 200, np.uint8)
    pixels[10:20, index % 40 : index % 40 + 10] = 255
    return pixels


def video(
    path: Path,
    *,
    size: Size = SMALL,
    ticks: Iterable[int] = range(0, 2000, 100),
    key_every: int = 5,
    options: Mapping[str, str] | None = None,
    form: str | None = None,
) -> Path:
    """A video with pictures at these milliseconds."""
    import av

    with av.open(str(path), "w", format=form, options=dict(options or {})) as container:
        stream: Any = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height = size
        stream.pix_fmt = "yuv420p"
        stream.gop_size = key_every
        stream.codec_context.time_base = Fraction(1, 1000)
        for index, tick in enumerate(ticks):
            frame = av.VideoFrame.from_ndarray(picture(index, size), format="rgb24")
            frame.pts, frame.time_base = tick, Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def scribble(path: Path, *, at: float, share: float, seed: int = 1) -> Path:
    """Random bytes over a part of a file."""
    data = bytearray(path.read_bytes())
    start, length = round(len(data) * at), round(len(data) * share)
    data[start : start + length] = np.random.default_rng(seed).integers(0, 256, length, np.uint8).tobytes()
    path.write_bytes(data)
    return path


def cut(path: Path, share: float) -> Path:
    """Only the first part of a file."""
    data = path.read_bytes()
    path.write_bytes(data[: round(len(data) * share)])
    return path


def sequence(folder: Path, lines: Sequence[str], *, num_frames: int = 3, size: Size = SMALL) -> Path:
    """A MOTChallenge sequence with truth."""
    (folder / "gt").mkdir(parents=True)
    (folder / "seqinfo.ini").write_text(
        f"[Sequence]\nname=MADE\nimDir=img1\nframeRate=20\nseqLength={num_frames}\nimWidth={size[0]}\nimHeight={size[1]}\n"
    )
    (folder / "gt" / "gt.txt").write_text("\n".join(lines))
    return folder


def png(path: Path, index: int = 0, size: Size = SMALL) -> Path:
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture(index, size)).save(path)
    return path


def annotations(path: Path, **changes: object) -> Path:
    """Argoverse-HD with two sequences of two pictures each."""
    names = [
        {"id": 10 + i, "sid": i // 2, "fid": i % 2, "name": f"{i}.png", "width": 64, "height": 48} for i in range(4)
    ]
    content: dict[str, object] = {
        "images": names[::-1],
        "annotations": [
            {"id": 0, "image_id": 10, "category_id": 2, "bbox": [5, 6, 10, 20], "track": 3, "area": 200, "iscrowd": 0},
            {"id": 1, "image_id": 10, "category_id": 6, "bbox": [5, 6, 10, 20], "track": 4},
            {"id": 2, "image_id": 11, "category_id": 0, "bbox": [1, 2, 3, 4], "track": 5, "ignore": True},
        ],
        "categories": [{"id": 0, "name": "person"}, {"id": 2, "name": "car"}, {"id": 6, "name": "traffic_light"}],
        "sequences": ["first", "second"],
        "seq_dirs": ["val/first", "val/second"],
        **changes,
    }
    path.write_text(json.dumps(content))
    return path


# ── protocol buffers and records ─────────────────────────────────────────────────────────────


def varint(value: int) -> bytes:
    result = bytearray()
    while value > 0x7F:
        result.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*result, value])


def field(number: int, value: int | float | str | bytes, *, single: bool = False) -> bytes:
    """One field of a message; a ``float`` is a double unless ``single``."""
    if isinstance(value, float):
        return varint(number << 3 | (5 if single else 1)) + struct.pack("<f" if single else "<d", value)
    if isinstance(value, int):
        return varint(number << 3) + varint(value & (1 << 64) - 1)
    data = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(data)) + data


def waymo_label(centre: tuple[float, float], size: tuple[float, float], kind: int, name: str) -> bytes:
    """``size`` is width, height of the picture's box, which the data set calls length and width."""
    box = field(1, centre[0]) + field(2, centre[1]) + field(5, size[0]) + field(4, size[1])
    return field(1, box) + field(3, kind) + field(4, name)


def waymo_frame(time_us: int, labels: Iterable[bytes], *, jpeg: bytes = b"", speed: float = 5.0) -> bytes:
    """A frame with a front camera and another one."""
    stats = field(2, "Day") + field(3, "location_sf") + field(4, "Sunny")
    calibration = field(1, 1) + field(4, SMALL[0]) + field(5, SMALL[1])
    context = field(1, "drive-1") + field(2, calibration) + field(4, stats)
    velocity = field(1, speed * 0.6, single=True) + field(2, speed * 0.8, single=True)
    front = field(1, 1) + field(2, jpeg) + field(4, velocity)
    others = field(8, field(1, 2) + field(2, waymo_label((9.0, 9.0), (4.0, 4.0), 1, "elsewhere")))
    front_labels = field(8, field(1, 1) + b"".join(field(2, label) for label in labels))
    return field(1, context) + field(2, time_us) + field(4, field(1, 3)) + field(4, front) + others + front_labels


def tfrecord(path: Path, payloads: Iterable[bytes]) -> Path:
    with path.open("wb") as file:
        for payload in payloads:
            length = struct.pack("<Q", len(payload))
            file.write(length + struct.pack("<I", masked(crc32c(length))))
            file.write(payload + struct.pack("<I", masked(crc32c(payload))))
    return path
