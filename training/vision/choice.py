"""Which faces serve what, and the writing of the manifest from the fonts of this machine.

A family serves once: what the network was pre-trained on never appears in a target, nor do families drawn after one of them.
"""

from __future__ import annotations

import re
import string
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

import msgspec
from fontTools.ttLib import TTFont

from training.vision.fonts import Face, Package, digest, installed_version, matplotlib_fonts

CHARACTERS: Final = string.ascii_uppercase + string.ascii_lowercase + string.digits
STYLES: Final = ("regular", "italic", "bold", "bold-italic")

LICENSES: Final = {  # of the fonts, as the packages' copyright files say
    "fonts-anonymous-pro": "OFL-1.1", "fonts-averia-sans-gwf": "OFL-1.1", "fonts-averia-serif-gwf": "OFL-1.1",
    "fonts-cabin": "OFL-1.1", "fonts-cantarell": "OFL-1.1", "fonts-cardo": "OFL-1.1", "fonts-comfortaa": "OFL-1.1",
    "fonts-comic-neue": "OFL-1.1", "fonts-courier-prime": "OFL-1.1", "fonts-crosextra-caladea": "Apache-2.0",
    "fonts-dejavu-core": "Bitstream-Vera", "fonts-dejavu-extra": "Bitstream-Vera", "fonts-dosis": "OFL-1.1",
    "fonts-ebgaramond": "OFL-1.1", "fonts-fanwood": "MIT", "fonts-firacode": "OFL-1.1", "fonts-gfs-artemisia": "OFL-1.1",
    "fonts-gfs-didot": "OFL-1.1", "fonts-goudybookletter": "public-domain", "fonts-hack": "MIT and Bitstream-Vera",
    "fonts-inter": "OFL-1.1", "fonts-jetbrains-mono": "Apache-2.0",
    "fonts-junicode": "OFL-1.1", "fonts-jura": "OFL-1.1", "fonts-karla": "OFL-1.1", "fonts-lato": "OFL-1.1",
    "fonts-league-mono": "OFL-1.1", "fonts-liberation2": "OFL-1.1", "fonts-linuxlibertine": "OFL-1.1",
    "fonts-lobstertwo": "OFL-1.1", "fonts-monoid": "MIT or OFL-1.1", "fonts-mononoki": "OFL-1.1",
    "fonts-national-park": "OFL-1.1", "fonts-open-sans": "Apache-2.0",
    "fonts-play": "OFL-1.1", "fonts-quattrocento": "OFL-1.1",
    "fonts-roboto-slab": "Apache-2.0", "fonts-roboto-unhinted": "Apache-2.0", "fonts-sil-andika": "OFL-1.1",
    "fonts-sil-charis": "OFL-1.1", "fonts-sil-gentium-basic": "OFL-1.1", "fonts-sora": "OFL-1.1",
    "fonts-texgyre": "GUST-Font-License", "fonts-tuffy": "public-domain", "fonts-vollkorn": "OFL-1.1",
    "fonts-yanone-kaffeesatz": "OFL-1.1", "matplotlib": "Bitstream-Vera and BaKoMa",
}  # fmt: skip

TYPEFACES: Final = (  # their upright faces of normal weight
    "Andika", "Cabin", "Cantarell", "Karla", "Open Sans", "Play", "Sora", "Tuffy",
    "Anonymous Pro", "JetBrains Mono",
    "Caladea", "Cardo", "Charis SIL", "EB Garamond", "Fanwood", "GFS Artemisia", "Gentium Basic", "Linux Libertine O",
    "Quattrocento", "Vollkorn",
)  # fmt: skip
_REGULAR: Final = {"EB Garamond": "12 Regular"}  # which face of a family that has no plain "Regular"
WEIGHTS: Final = ("Lato", "League Mono")
WEIGHT_NAMES: Final = {
    "Lato": ("Hairline", "Thin", "Light", "Regular", "Medium", "Semibold", "Bold", "Heavy", "Black"),
    "League Mono": tuple(
        f"{width}{weight}"
        for width in ("Condensed ", "Narrow ", "", "Wide ", "Extended ")
        for weight in ("Light", "Medium", "Bold")
    ),
}
_LEFT_OUT: Final = (  # relatives of targets, and alphabets that are none
    "Fanwood Text", "Gentium Book", "Linux Biolinum", "Linux Libertine", "DejaVu Math", "Monoisome", "cmex10", "cmsy10",
)  # fmt: skip
_BASE_WEIGHTS: Final = (range(300, 501), range(700, 1000))  # between and below them a style's name is a matter of taste


def pin() -> tuple[Package, ...]:
    """The manifest of the fonts as they are on this machine."""
    versions = {name: installed_version(name) for name in sorted(LICENSES)}
    packages = (
        Package(name=name, version=version, license=LICENSES[name], faces=_once(_faces(name)))
        for name, version in versions.items()
        if version is not None
    )
    return tuple(package for package in packages if package.faces)


def _once(found: Iterable[Face]) -> tuple[Face, ...]:
    """Sorted by file; of a target's face that comes in two formats only the first."""
    kept: dict[tuple[str, ...], Face] = {}
    for face in sorted(found, key=lambda face: face.file):
        kept.setdefault((face.file,) if face.role == "base" else (face.family, face.name), face)
    return tuple(kept.values())


def _files(package: str) -> Iterator[Path]:
    if package == "matplotlib":
        yield from matplotlib_fonts().glob("cm*10.ttf")  # the rest of its fonts are in Debian's packages too
        return
    listed = subprocess.run(["dpkg", "-L", package], capture_output=True, text=True, check=True).stdout
    for line in listed.splitlines():
        if line.lower().endswith((".otf", ".ttf")) and Path(line).is_file() and not Path(line).is_symlink():
            yield Path(line)


def _faces(package: str) -> Iterator[Face]:
    for path in _files(package):
        font = TTFont(path, lazy=True)
        names, cmap = font["name"], font.getBestCmap() or {}
        if "fvar" in font or not all(ord(character) in cmap for character in CHARACTERS):
            continue
        family = names.getDebugName(16) or names.getDebugName(1)
        name = names.getDebugName(17) or names.getDebugName(2)
        style = _style(f"{name} {path.stem}", font["OS/2"].usWeightClass)
        role = _role(family, name, style)
        if role is not None and not (package == "fonts-gfs-artemisia" and role == "base"):  # one of its names is wrong
            file = path.name if package == "matplotlib" else str(path)
            yield Face(file=file, sha256=digest(path), family=family, name=name, style=style or "", role=role)


def _style(names: str, weight: int) -> str | None:
    """None where the weight is neither plainly regular nor plainly bold."""
    bold = re.search(r"bold|black|heavy|cmb10", names, re.IGNORECASE) is not None
    if re.search(r"thin|hairline|extra ?light|ultra ?light|medium|semi|outline|retina", names, re.IGNORECASE):
        return None
    if weight not in _BASE_WEIGHTS[bold] and weight in range(501, 700) and not bold:
        return None
    italic = re.search(r"italic|oblique|inclined|cmti10|cmmi10", names, re.IGNORECASE) is not None
    return STYLES[2 * bold + italic]


def _role(family: str, name: str, style: str | None) -> str | None:
    if family in WEIGHTS:
        return "weights" if name in WEIGHT_NAMES[family] else None
    if family in TYPEFACES:
        return "typefaces" if name == _REGULAR.get(family, "Regular") else None
    if family.startswith((*TYPEFACES, *_LEFT_OUT)):
        return None
    return "base" if style is not None else None


def write(path: Path, packages: tuple[Package, ...]) -> None:
    """One face a line, so that a change of one shows as one."""
    lines = []
    for package in packages:
        head = msgspec.json.encode(
            {"name": package.name, "version": package.version, "license": package.license}
        ).decode()
        rows = ",\n".join(f"  {msgspec.json.encode(face).decode()}" for face in package.faces)
        lines.append(f'{head[:-1]},"faces":[\n{rows}]}}')
    path.write_text("[\n" + ",\n".join(lines) + "\n]\n")
