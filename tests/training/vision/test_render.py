from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from training.vision.fonts import matplotlib_fonts
from training.vision.render import render

pytest.importorskip("matplotlib")


def test_glyphs_are_whole_and_in_the_middle() -> None:
    glyphs = render(matplotlib_fonts() / "DejaVuSans.ttf", "Wgi")
    assert glyphs.shape == (3, 96, 96)
    assert glyphs.max() == 255
    for glyph in glyphs:
        rows, columns = np.nonzero(glyph)
        assert min(rows.min(), columns.min()) > 0
        assert abs(rows.min() + rows.max() - 95) <= 3
        assert abs(columns.min() + columns.max() - 95) <= 3


def test_the_same_font_gives_the_same_glyphs() -> None:
    file: Path = matplotlib_fonts() / "DejaVuSerif.ttf"
    assert np.array_equal(render(file, "Qa"), render(file, "Qa"))
    assert not np.array_equal(render(file, "Qa"), render(matplotlib_fonts() / "DejaVuSans.ttf", "Qa"))
