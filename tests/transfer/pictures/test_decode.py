from __future__ import annotations

import contextlib
import io
import os
import struct
import tracemalloc
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from paceline.transfer.pictures import decode as module
from paceline.transfer.pictures.decode import UnreadablePicture, decode, fitted
from tests.transfer.pictures.drawn import COLOUR, GREY, draw, noise


def stored(image: Image.Image, fmt: str, **options: Any) -> io.BytesIO:
    file = io.BytesIO()
    image.save(file, fmt, **options)
    file.seek(0)
    return file


def flat(mode: str, value: Any, fmt: str = "PNG", **options: Any) -> io.BytesIO:
    return stored(Image.new(mode, (20, 20), value), fmt, **options)


def reason(source: Path | io.BytesIO) -> str:
    with pytest.raises(UnreadablePicture) as raised:
        decode(source, GREY)
    return raised.value.reason


# -- what is read -----------------------------------------------------------------------------------------------------


def test_pixels_of_the_right_size_stay_as_they_are(tmp_path: Path) -> None:
    image = noise(1)
    image.save(tmp_path / "a.png")
    assert (decode(tmp_path / "a.png", GREY) == np.asarray(image)).all()
    colours = decode(tmp_path / "a.png", COLOUR)
    assert colours.shape == (3, 16, 16)
    assert colours.flags.c_contiguous
    assert colours.dtype == np.uint8
    assert (colours == np.asarray(image)).all()


RED_IS_GREY = 76  # ITU-R 601, as Pillow rounds it


@pytest.mark.parametrize(
    ("source", "colours"),
    [
        (flat("1", 1), (255, 255, 255)),
        (flat("L", 7), (7, 7, 7)),
        (flat("RGB", (255, 0, 0)), (255, 0, 0)),
        (flat("RGB", (255, 0, 0), "BMP"), (255, 0, 0)),
        (flat("RGB", (255, 0, 0), "GIF"), (255, 0, 0)),
        (flat("RGB", (255, 0, 0), "PPM"), (255, 0, 0)),
        (flat("RGB", (255, 0, 0), "TIFF"), (255, 0, 0)),
        (flat("RGB", (255, 0, 0), "WEBP", lossless=True), (255, 0, 0)),
        (stored(Image.new("RGB", (20, 20), (255, 0, 0)).quantize(4), "PNG"), (255, 0, 0)),
        (flat("CMYK", (0, 255, 255, 0), "TIFF"), (255, 0, 0)),
        (flat("CMYK", (0, 255, 255, 0), "JPEG", quality=100), (254, 0, 0)),
        (flat("YCbCr", (76, 85, 255), "TIFF"), (254, 0, 0)),
        (flat("RGBA", (255, 0, 0, 0)), (255, 255, 255)),
        (flat("RGBA", (255, 0, 0, 255)), (255, 0, 0)),
        (flat("RGBA", (255, 0, 0, 51)), (255, 204, 204)),
        (flat("LA", (0, 51)), (204, 204, 204)),
        (flat("L", 9, transparency=9), (255, 255, 255)),
        (flat("RGB", (1, 2, 3), transparency=(1, 2, 3)), (255, 255, 255)),
        (flat("P", 0, "PNG", transparency=0), (255, 255, 255)),
        (flat("P", 0, "PNG", transparency=b"\0"), (255, 255, 255)),
        (flat("P", 0, "GIF", transparency=0), (255, 255, 255)),
    ],
)
def test_colours_of_every_kind(source: io.BytesIO, colours: tuple[int, int, int]) -> None:
    found = decode(source, COLOUR)
    assert found.shape == (3, 16, 16)
    assert (np.abs(found.astype(int) - np.array(colours)[:, None, None]) <= 1).all()
    source.seek(0)
    grey = Image.new("RGB", (1, 1), colours).convert("L").getpixel((0, 0))
    assert (np.abs(decode(source, GREY).astype(int) - grey) <= 2).all()


def test_colour_becomes_grey_by_how_bright_it_looks() -> None:
    assert (decode(flat("RGB", (255, 0, 0)), GREY) == RED_IS_GREY).all()


def ramp(dtype: str, low: float, high: float) -> Image.Image:
    return Image.fromarray(np.linspace(low, high, 256).reshape(16, 16).astype(dtype))


@pytest.mark.parametrize(
    "source",
    [
        stored(ramp("uint16", 0, 65535), "PNG"),
        stored(ramp("uint16", 0, 65535), "TIFF"),
        stored(ramp("int32", 0, 65535), "TIFF"),
        stored(ramp("int32", -70_000, 200_000), "TIFF"),
        stored(ramp("float32", 0, 1), "TIFF"),
        stored(ramp("float32", 0, 255), "TIFF"),
        stored(ramp("float32", 0, 65535), "TIFF"),
        stored(ramp("float32", -3e38, 3e38), "TIFF"),
    ],
)
def test_more_than_8_bits_are_scaled(source: io.BytesIO) -> None:
    found = decode(source, GREY)
    assert (np.abs(found.reshape(-1).astype(int) - np.arange(256)) <= 1).all()


def test_a_dark_picture_of_16_bits_stays_dark() -> None:
    assert (decode(stored(ramp("uint16", 0, 1024), "PNG"), GREY) <= 4).all()


def test_16_bits_as_big_endian_tiff_and_as_pgm() -> None:
    pgm = io.BytesIO(b"P5 20 20 65535\n" + struct.pack(">H", 32896) * 400)
    assert (decode(pgm, GREY) == 128).all()
    big_endian = Image.frombytes("I;16B", (20, 20), struct.pack(">H", 32896) * 400)
    assert (fitted(big_endian, GREY) == 128).all()


def test_a_constant_beyond_16_bits_is_no_division_by_zero() -> None:
    assert (decode(stored(Image.new("I", (20, 20), 70_000), "TIFF"), GREY) == 0).all()


@pytest.mark.parametrize("fmt", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_turns_the_picture_upright(fmt: str, orientation: int) -> None:
    upright = Image.new("L", (32, 16), 255)  # not square: the middle must be the same whichever way it lies
    upright.paste(0, (8, 0, 16, 8))
    backwards = {6: Image.Transpose.ROTATE_90, 8: Image.Transpose.ROTATE_270}  # all other turns undo themselves
    turn = backwards.get(orientation, module.UPRIGHT.get(orientation))
    lying = upright if turn is None else upright.transpose(turn)
    exif = Image.Exif()
    exif[module.ORIENTATION] = orientation
    options: dict[str, Any] = {"quality": 100} if fmt == "JPEG" else {"lossless": True} if fmt == "WEBP" else {}
    found = decode(stored(lying, fmt, exif=exif, **options), GREY)
    assert (found[0] < 128).nonzero()[0].size == 64
    assert (found[0, :8, :8] < 128).all()


@pytest.mark.parametrize(
    "exif", [b"Exif\0\0rubbish", b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x63\0\0\0\0\0\0"]
)
def test_odd_exif_does_not_matter(exif: bytes) -> None:
    assert (decode(flat("L", 50, "JPEG", exif=exif), GREY) == 50).all()


def test_the_middle_square_is_cut_out() -> None:
    wide = Image.new("RGB", (48, 16), "red")
    wide.paste("blue", (16, 0, 32, 16))
    for image in (wide, wide.transpose(Image.Transpose.ROTATE_90)):
        assert (decode(stored(image, "PNG"), COLOUR) == np.array([0, 0, 255])[:, None, None]).all()


@pytest.mark.parametrize("size", [(1, 1), (1, 60_000), (60_000, 1), (3, 5)])
def test_odd_sizes(size: tuple[int, int]) -> None:
    found = decode(stored(Image.new("L", size, 9), "PNG"), COLOUR)
    assert found.shape == (3, 16, 16)
    assert (found == 9).all()


@pytest.mark.parametrize("preprocessing", [GREY, COLOUR], ids=["grey", "colour"])
def test_a_large_jpeg_is_decoded_smaller(preprocessing: Any) -> None:
    ramp = np.tile(np.linspace(0, 255, 1600).astype(np.uint8), (1200, 1))
    image = Image.fromarray(ramp).convert("RGB")
    found = decode(stored(image, "JPEG", quality=95), preprocessing)
    assert np.abs(found.astype(int) - fitted(image, preprocessing)).max() <= 3


@pytest.mark.parametrize("fmt", ["GIF", "PNG", "WEBP", "TIFF", "MPO"])
def test_the_first_frame_counts(fmt: str) -> None:
    frames = [Image.new("RGB", (20, 20), colour) for colour in ("white", "black", "red")]
    assert (decode(stored(frames[0], fmt, save_all=True, append_images=frames[1:]), GREY) >= 254).all()


# -- what is refused --------------------------------------------------------------------------------------------------


def png_header(width: int, height: int) -> bytes:
    body = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + body + struct.pack(">I", zlib.crc32(body))


def png(width: int, height: int, data: bytes = b"") -> io.BytesIO:
    body = b"IDAT" + zlib.compress(data)
    idat = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
    return io.BytesIO(png_header(width, height) + idat + b"\0\0\0\0IEND\xaeB`\x82")


@pytest.mark.parametrize("size", [(60_000, 60_000), (10_000, 10_000), (2**31 - 1, 1)])
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")  # Pillow only warns, we refuse
def test_bombs_are_refused_by_their_header(size: tuple[int, int]) -> None:
    bomb = png(*size)
    decode(flat("L", 0), GREY)  # imports the plugin
    tracemalloc.start()
    assert "more than 89,478,485 pixels" in reason(bomb)
    assert tracemalloc.get_traced_memory()[1] < 2**20
    tracemalloc.stop()


def test_our_line_holds_without_pillows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    assert reason(png(60_000, 60_000)) == "60000 x 60000 are more than 89,478,485 pixels"


def test_a_bomb_where_warnings_are_errors() -> None:
    assert reason(png(10_000, 10_000)) == "more than 89,478,485 pixels"


@pytest.mark.parametrize("fmt", ["JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF", "PPM"])
def test_truncated_files(fmt: str) -> None:
    whole = stored(noise(3, side=64), fmt).getvalue()
    for share in (0.5, 0.9):
        with pytest.raises(UnreadablePicture):
            decode(io.BytesIO(whole[: int(len(whole) * share)]), GREY)
    assert reason(io.BytesIO(whole[: len(whole) // 2])).startswith(("damaged", "not a picture"))


def test_no_cut_of_a_file_raises_anything_else() -> None:
    for fmt in ("JPEG", "PNG", "GIF", "WEBP", "TIFF", "BMP"):
        whole = stored(noise(3), fmt).getvalue()
        rng = np.random.default_rng(0)
        for _ in range(40):
            bent = bytearray(whole[: rng.integers(1, len(whole) + 1)])
            bent[rng.integers(len(bent))] = rng.integers(256)
            with contextlib.suppress(UnreadablePicture):
                assert decode(io.BytesIO(bytes(bent)), GREY).shape == (1, 16, 16)


@pytest.mark.parametrize(
    "data", [b"hello", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", b"<svg/>", b"\x89PNG\r\n\x1a\n"]
)
def test_what_is_no_picture(data: bytes) -> None:
    assert reason(io.BytesIO(data)).startswith(("not a picture of a known format (JPEG, PNG", "damaged"))


def test_no_decoder_that_starts_programs() -> None:
    assert reason(stored(Image.new("RGB", (9, 9)), "EPS")).startswith("not a picture of a known format")


def test_empty_files_and_pictures() -> None:
    assert reason(io.BytesIO(b"")) == "an empty file"
    for source in (png(0, 5), png(5, 0), io.BytesIO(b"P5 0 5 255\n")):
        with pytest.raises(UnreadablePicture):
            decode(source, GREY)


def test_values_that_are_no_numbers_and_colours_that_are_unknown() -> None:
    assert "not finite" in reason(stored(Image.fromarray(np.full((4, 4), np.nan, np.float32)), "TIFF"))
    assert "LAB" in reason(flat("LAB", (1, 2, 3), "TIFF"))


def test_files_that_cannot_be_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    assert reason(tmp_path / "pipe.png") == "not a regular file"
    assert reason(tmp_path) == "not a regular file"
    assert reason(tmp_path / "missing.png") == "no such file"
    assert reason(tmp_path / ("n" * 300)).startswith(
        ("cannot be read", "no such file")
    )  # as the version of Python has it
    closed = draw(tmp_path / "closed.png")

    def refuse(self: Path, mode: str) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    assert reason(closed) == "cannot be read (Permission denied)"
    with pytest.raises(UnreadablePicture, match=r"closed\.png: cannot be read"):
        decode(closed, GREY)


def test_too_little_memory_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(image: Image.Image, preprocessing: object) -> None:
        raise MemoryError

    monkeypatch.setattr(module, "fitted", fail)
    assert reason(flat("L", 0)) == "needs more memory than there is"
