"""One picture, from a file that may be odd or hostile, as pixels of the size that a network wants.

All pictures come out as 8 bits a channel, upright by their EXIF tag, over white where they are transparent, the first frame
where there are more. 16 bits and floats are scaled into 8, never clipped.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from paceline.errors import PacelineError

if TYPE_CHECKING:
    from paceline.transfer.backbone.backbone import Preprocessing  # needs torch, and decoding does not

# Named, so that no file is handed to a decoder that starts programs, as Pillow's EPS does, or that is hardly ever used.
FORMATS: Final = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "AVIF")
MAX_PIXELS: Final = 89_478_485  # as Pillow's own line, a quarter GiB of RGB: what passes here makes it warn of nothing
UNNAMED: Final = "the picture"
ORIENTATION: Final = 0x0112  # EXIF's tag
UPRIGHT: Final = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class UnreadablePicture(PacelineError):
    """A file is no picture, or none that can be read; ``reason`` says why, without the file's name."""

    exit_code = 2

    def __init__(self, source: object, reason: str) -> None:
        super().__init__(f"{source}: {reason}")
        self.reason = reason


def decode(source: Path | BinaryIO, preprocessing: Preprocessing) -> NDArray[np.uint8]:
    """The middle square of a picture, scaled to ``preprocessing.resize``: uint8 [C, R, R]. A file must be able to seek.

    Raises UnreadablePicture, and nothing else, whatever the file holds. Its header is checked before pixels are allocated.
    """
    if not isinstance(source, Path):
        return _decode(source, UNNAMED, preprocessing)
    try:
        if not source.is_file():  # opening a pipe would wait for ever
            raise UnreadablePicture(source, "not a regular file" if source.exists() else "no such file")
        with source.open("rb") as file:
            return _decode(file, source, preprocessing)
    except OSError as error:
        raise UnreadablePicture(source, f"cannot be read ({error.strerror or error})") from None


def _decode(file: BinaryIO, source: object, preprocessing: Preprocessing) -> NDArray[np.uint8]:
    try:
        with Image.open(file, formats=FORMATS) as image:
            _check(image)
            # JPEG can be decoded at 1/2, 1/4 or 1/8 for a fraction of the time; twice the size wanted loses nothing visible.
            image.draft("L" if preprocessing.channels == 1 else None, (2 * preprocessing.resize,) * 2)
            image.load()
            return fitted(image, preprocessing)
    except UnreadablePicture as refused:
        reason = refused.reason
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        reason = f"more than {MAX_PIXELS:,} pixels"
    except UnidentifiedImageError:
        file.seek(0)
        reason = f"not a picture of a known format ({', '.join(FORMATS)})" if file.read(1) else "an empty file"
    except MemoryError:
        reason = "needs more memory than there is"
    except Exception as error:  # a hostile file can break a decoder in any way
        reason = f"damaged ({str(error) or type(error).__name__})"
    raise UnreadablePicture(source, reason)


def _check(image: Image.Image) -> None:
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise UnreadablePicture(UNNAMED, f"{width} x {height} are more than {MAX_PIXELS:,} pixels")
    if width < 1 or height < 1:
        raise UnreadablePicture(UNNAMED, f"{width} x {height} are no pixels")


def fitted(image: Image.Image, preprocessing: Preprocessing) -> NDArray[np.uint8]:
    """The same for a picture in memory; UnreadablePicture if it holds NaN or LAB colours.

    It is cut and scaled first, since turning and blending the result is cheaper.
    """
    side = min(image.size)
    left, top = (image.width - side) / 2, (image.height - side) / 2
    size = (preprocessing.resize, preprocessing.resize)
    square = _plain(image).resize(size, Image.Resampling.BILINEAR, box=(left, top, left + side, top + side))
    if square.mode == "RGBA":
        square = Image.alpha_composite(Image.new("RGBA", size, "white"), square)
    square = square.convert("L" if preprocessing.channels == 1 else "RGB")
    turn = UPRIGHT.get(_orientation(image))
    pixels = np.asarray(square if turn is None else square.transpose(turn))
    return np.ascontiguousarray(pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1))


def _orientation(image: Image.Image) -> int:
    """EXIF's number for how to turn a loaded picture; Pillow has turned a TIFF by then, and taken the tag off."""
    try:
        value = image.getexif().get(ORIENTATION, 1)
    except Exception:  # the pixels are good even if what is written beside them is not
        return 1
    return value if isinstance(value, int) else 1


def _plain(image: Image.Image) -> Image.Image:
    """In one of the modes that scale well: L, RGB or RGBA, of 8 bits."""
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        return _shallow(image)
    if image.mode == "LAB":  # Pillow turns all others into RGB
        raise UnreadablePicture(UNNAMED, "its colours are LAB: save it as RGB")
    wanted = "RGBA" if image.has_transparency_data else "L" if image.mode in ("1", "L") else "RGB"
    return image if image.mode == wanted else image.convert(wanted)


def _shallow(image: Image.Image) -> Image.Image:
    """Grey of more than 8 bits, scaled into 8: from the range that its kind has, or else from the values it holds."""
    values = np.array(image, np.float32)
    low, high = float(values.min()), float(values.max())
    if not np.isfinite((low, high)).all():
        raise UnreadablePicture(UNNAMED, "it holds values that are not finite")
    tops = (1.0, 255.0, 65535.0) if image.mode == "F" else (65535.0,)
    usual = next((top for top in tops if low >= 0 and high <= top), None)
    bottom, top = (low, high) if usual is None else (0.0, usual)
    scale = 255 / ((top - bottom) or 1)
    values *= scale
    values -= bottom * scale
    return Image.fromarray(np.rint(values, out=values).clip(0, 255).astype(np.uint8))
