from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from paceline.errors import ConfigError, ResourceError
from training.vision import fonts
from training.vision.choice import LICENSES, STYLES, TYPEFACES, WEIGHTS, write
from training.vision.fonts import Face, Package, differences, digest, faces, install, read_manifest, require


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Package:
    """One package with one file, installed in version 1."""
    file = tmp_path / "a.ttf"
    file.write_bytes(b"font")
    monkeypatch.setattr(fonts, "installed_version", {"fonts-a": "1"}.get)
    face = Face(file=str(file), sha256=digest(file), family="A", name="Regular", style="regular", role="base")
    return Package(name="fonts-a", version="1", license="OFL-1.1", faces=(face,))


def test_the_pinned_file_is_found(package: Package) -> None:
    assert list(differences([package])) == []
    assert require([package], "base") == [Path(package.faces[0].file)]
    assert require([package], "weights") == []


def test_what_differs_is_said(package: Package) -> None:
    file = Path(package.faces[0].file)
    file.write_bytes(b"other")
    assert [each.text for each in differences([package])] == [f"{file} is another file than the pinned one"]
    file.unlink()
    assert [each.text for each in differences([package])] == [f"{file} is missing"]
    with pytest.raises(ResourceError, match=r"1 of 1 faces for base .* python -m training.vision fonts"):
        require([package], "base")


def test_another_version_and_a_missing_package_are_said(package: Package) -> None:
    newer = Package(name="fonts-a", version="2", license="OFL-1.1", faces=package.faces)
    absent = Package(name="fonts-b", version="1", license="OFL-1.1", faces=package.faces)
    assert [tuple(each) for each in differences([newer, absent])] == [
        ("fonts-a", "has version 1, pinned is 2"),
        ("fonts-b", "is not installed"),
    ]


def test_only_root_installs(package: Package, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    install([package.name])  # it is there: nothing to do
    with pytest.raises(ConfigError, match="apt-get install -y --no-install-recommends fonts-b"):
        install([package.name, "fonts-b"])


def test_apts_words_are_passed_on(package: Package, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    failed = subprocess.CompletedProcess([], 100, "", "E: Unable to locate package fonts-b")
    monkeypatch.setattr(subprocess, "run", lambda *args, **kwargs: failed)
    with pytest.raises(ResourceError, match="Unable to locate package fonts-b"):
        install(["fonts-b"])


def test_the_manifest_is_written_as_it_is_read(package: Package, tmp_path: Path) -> None:
    write(tmp_path / "fonts.json", (package, package))
    assert read_manifest(tmp_path / "fonts.json") == (package, package)


def test_no_family_serves_twice() -> None:
    packages = read_manifest()
    families = {role: {face.family for face in faces(packages, role)} for role in ("base", "typefaces", "weights")}
    assert families["typefaces"] == set(TYPEFACES)
    assert families["weights"] == set(WEIGHTS)
    assert not families["base"] & (families["typefaces"] | families["weights"])
    assert len(faces(packages, "typefaces")) == 20
    assert {face.style for face in faces(packages, "base")} == set(STYLES)
    assert {package.name: package.license for package in packages} == LICENSES
