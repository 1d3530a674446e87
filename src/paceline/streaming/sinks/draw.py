"""Boxes on a picture, with what is known of each."""

from __future__ import annotations

import colorsys
from typing import TYPE_CHECKING, Final

import numpy as np

from paceline.clock import MICROSECONDS
from paceline.errors import ConfigError
from paceline.streaming.frame import CLASSES, Floats, Pixels, Tracks, Truth

if TYPE_CHECKING:
    from PIL.ImageDraw import ImageDraw
    from PIL.ImageFont import FreeTypeFont, ImageFont

    Font = FreeTypeFont | ImageFont
    Colour = tuple[int, int, int]

GOLDEN: Final = 0.618034  # steps of hue by which neighbouring identities look least alike
TOLD_AGE_US: Final = 100_000  # a box not seen for longer tells its age
LINES: Final = 360  # a line is one pixel wide for each so many rows of a picture
BLACK: Final = (0, 0, 0)
WHITE: Final = (255, 255, 255)


def colour_of(track: int) -> Colour:
    """The same for one identity in every picture."""
    red, green, blue = colorsys.hsv_to_rgb(track * GOLDEN % 1.0, 0.75, 1.0)
    return round(red * 255), round(green * 255), round(blue * 255)


def draw(
    pixels: Pixels, tracks: Tracks, *, configuration: str = "", age_us: int | None = None, truth: Truth | None = None
) -> Pixels:
    """A copy of ``pixels`` [H, W, 3] with boxes: identity, class, and age if it was not seen lately; on top the configuration and the age
    of the whole output. ``truth`` is drawn thin and white, without what is ignored.  # [H, W, 3]"""
    try:
        from PIL import Image, ImageDraw, ImageFont
    except ImportError:
        raise ConfigError('drawing needs Pillow; run `pip install "paceline[video]"`') from None
    image = Image.fromarray(pixels)
    pen = ImageDraw.Draw(image)
    line = max(1, image.height // LINES)
    font = ImageFont.load_default(max(10, image.height // 45))
    if truth is not None:
        for box in truth.boxes[~truth.ignored]:
            _outline(pen, box, WHITE, 1)
    for place in range(len(tracks)):
        colour = colour_of(int(tracks.ids[place]))
        _outline(pen, tracks.boxes[place], colour, line)
        left, top = tracks.boxes[place][:2].tolist()
        _text(pen, left, top, _label(tracks, place), font, colour, above=True)
    heading = " · ".join([text for text in (configuration, _age(age_us)) if text])
    if heading:
        _text(pen, 0, 0, heading, font, WHITE, above=False)
    return np.asarray(image)


def _label(tracks: Tracks, place: int) -> str:
    class_index, age_us = int(tracks.classes[place]), int(tracks.ages_us[place])
    name = CLASSES[class_index] if 0 <= class_index < len(CLASSES) else f"class {class_index}"
    age = f" {age_us / MICROSECONDS:.1f} s" if age_us >= TOLD_AGE_US else ""
    return f"{tracks.ids[place]} {name}{age}"


def _age(age_us: int | None) -> str:
    return "" if age_us is None else f"{age_us / 1000:.0f} ms old"


def _outline(pen: ImageDraw, box: Floats, colour: Colour, line: int) -> None:
    left, top, right, bottom = box.tolist()
    if left < right and top < bottom:  # Pillow refuses others
        pen.rectangle((left, top, right, bottom), outline=colour, width=line)


def _text(pen: ImageDraw, left: float, top: float, text: str, font: Font, colour: Colour, *, above: bool) -> None:
    """Black on a patch of ``colour``, within the picture."""
    _, _, width, height = pen.textbbox((0, 0), text, font=font)
    room = pen.im.size
    x = max(0.0, min(left, room[0] - width - 2))
    y = max(0.0, min(top - height - 2 if above else top, room[1] - height - 2))
    pen.rectangle((x, y, x + width + 2, y + height + 2), fill=colour)
    pen.text((x + 1, y), text, fill=BLACK, font=font)
