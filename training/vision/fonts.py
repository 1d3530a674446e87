"""The typefaces: which Debian packages bring them, what each file must be, and what differs on this machine.

The fonts are read, never packaged. `fonts.json` pins the version of every package and the digest of every face.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from paceline.errors import ConfigError, ResourceError

MANIFEST: Final = Path(__file__).parent / "fonts.json"


class Face(msgspec.Struct, frozen=True, kw_only=True):
    """One font file. ``role`` is "base" or the name of a target; ``style`` one of STYLES."""

    file: str  # absolute, or inside of matplotlib's folder of fonts
    sha256: str
    family: str
    name: str  # of the face within its family, as its file says
    style: str
    role: str


class Package(msgspec.Struct, frozen=True, kw_only=True):
    """One Debian package, or matplotlib, whose fonts come with its wheel."""

    name: str
    version: str
    license: str
    faces: tuple[Face, ...]


class Difference(NamedTuple):
    """What this machine lacks or has otherwise."""

    package: str
    text: str


def read_manifest(path: Path = MANIFEST) -> tuple[Package, ...]:
    return msgspec.json.decode(path.read_bytes(), type=tuple[Package, ...])


def faces(packages: Iterable[Package], role: str) -> list[Face]:
    """The faces with one role, in the manifest's order."""
    return [face for package in packages for face in package.faces if face.role == role]


def location(face: Face) -> Path:
    """Where the file should be on this machine."""
    return Path(face.file) if face.file.startswith("/") else matplotlib_fonts() / face.file


def matplotlib_fonts() -> Path:
    import matplotlib as mpl  # slow to import, needed by the few faces that it brings

    return Path(mpl.get_data_path()) / "fonts/ttf"


def installed_version(package: str) -> str | None:
    """Of a Debian package or of matplotlib; None where it is not installed."""
    if package == "matplotlib":
        import matplotlib as mpl

        return str(mpl.__version__)
    command = ["dpkg-query", "-W", "-f", "${db:Status-Status} ${Version}", package]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:  # no Debian
        return None
    status, _, version = done.stdout.partition(" ")
    return version if status == "installed" else None


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def differences(packages: Iterable[Package]) -> Iterator[Difference]:
    """What differs from the manifest. Another version is told apart from another picture: only digests decide the latter."""
    for package in packages:
        version = installed_version(package.name)
        if version is None:
            yield Difference(package.name, "is not installed")
            continue
        if version != package.version:
            yield Difference(package.name, f"has version {version}, pinned is {package.version}")
        for face in package.faces:
            path = location(face)
            if not path.is_file():
                yield Difference(package.name, f"{path} is missing")
            elif digest(path) != face.sha256:
                yield Difference(package.name, f"{path} is another file than the pinned one")


def install(names: Iterable[str]) -> None:
    """Installs Debian packages by apt-get. ConfigError unless we are root; ResourceError with apt's words if it fails."""
    missing = [name for name in names if name != "matplotlib" and installed_version(name) is None]
    if not missing:
        return
    command = f"apt-get install -y --no-install-recommends {' '.join(missing)}"
    if os.geteuid() != 0:
        raise ConfigError(f"only root can install fonts; run: {command}")
    done = subprocess.run(command.split(), capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise ResourceError(f"{command} failed; was apt-get update run? apt says: {done.stderr.strip()[-500:]}")


def require(packages: Iterable[Package], role: str) -> list[Path]:
    """The files of all faces with one role. ResourceError unless each is the pinned one."""
    found = [(location(face), face) for face in faces(packages, role)]
    wrong = [path for path, face in found if not path.is_file() or digest(path) != face.sha256]
    if wrong:
        raise ResourceError(
            f"{len(wrong)} of {len(found)} faces for {role} are missing or not the pinned ones, first {wrong[0]}; "
            "run python -m training.vision fonts"
        )
    return [path for path, _ in found]
