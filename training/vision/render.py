"""Clean glyphs out of fonts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from paceline.transfer.embedded.jitter import MASTER_EM, MASTER_SIZE, Grey


def render(font: Path, glyphs: Sequence[str]) -> Grey:
    """Ink 255 on 0, the middle of each glyph's box in the middle: uint8 [G, 96, 96]."""
    face = ImageFont.truetype(font, MASTER_EM, layout_engine=ImageFont.Layout.BASIC)
    return np.stack([_glyph(face, glyph) for glyph in glyphs])


def _glyph(face: ImageFont.FreeTypeFont, glyph: str) -> Grey:
    left, top, right, bottom = face.getbbox(glyph)
    picture = Image.new("L", (MASTER_SIZE, MASTER_SIZE))
    corner = ((MASTER_SIZE - left - right) / 2, (MASTER_SIZE - top - bottom) / 2)
    ImageDraw.Draw(picture).text(corner, glyph, fill=255, font=face)
    return np.asarray(picture)
