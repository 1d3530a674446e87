"""Builds the native CPU kernels beside the package; everything else stands in pyproject.toml.

The build is optional: where there is no x86-64 compiler the package installs without the library and runs on torch.
"""

from __future__ import annotations

import platform
import sys
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

SOURCES = Path("src/paceline/llm/native/csrc")
BASIC = ["-std=c++17", "-O3", "-ffp-contract=off", "-g0", "-fPIC", "-fvisibility=hidden", "-Wall", "-Wextra"]
# Only files that run after the check in cpu.cpp get these. GCC 12 warns inside its own AVX-512 headers.
VECTOR = ["-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl", "-mavx512bf16", "-mavx512vnni", "-mfma", "-mf16c"]
QUIET = ["-Wno-uninitialized", "-Wno-maybe-uninitialized"]


class BuildNative(build_ext):
    """Compiles cpu.cpp for any x86-64, the other files with AVX-512, and links a plain shared library."""

    def build_extension(self, ext: Extension) -> None:
        checked = [source for source in ext.sources if Path(source).name == "cpu.cpp"]
        vectored = sorted(set(ext.sources) - set(checked))
        objects = self._compile(ext, checked, BASIC) + self._compile(ext, vectored, BASIC + VECTOR + QUIET)
        target = Path(self.get_ext_fullpath(ext.name))
        target.parent.mkdir(parents=True, exist_ok=True)
        self.compiler.link_shared_object(
            objects, str(target), extra_postargs=["-pthread", "-Wl,-z,noexecstack"], target_lang="c++"
        )

    def get_ext_filename(self, fullname: str) -> str:
        return str(Path(*fullname.split(".")).with_suffix(".so"))

    def _compile(self, ext: Extension, sources: list[str], flags: list[str]) -> list[str]:
        return self.compiler.compile(sources, output_dir=self.build_temp, extra_postargs=flags, depends=ext.depends)


def extensions() -> list[Extension]:
    if not sys.platform.startswith("linux") or platform.machine() != "x86_64":
        return []
    sources = sorted(str(path) for path in SOURCES.glob("*.cpp"))
    headers = sorted(str(path) for path in SOURCES.glob("*.h"))
    return [Extension("paceline.llm.native.kernels", sources, depends=headers, optional=True)]


setup(ext_modules=extensions(), cmdclass={"build_ext": BuildNative})
