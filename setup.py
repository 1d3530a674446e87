"""Builds the native CPU kernels beside the package; everything else stands in pyproject.toml.

The build is optional: where there is no x86-64 compiler the package installs without the library and runs on torch.
"""

from __future__ import annotations

import platform
import sys
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

LLM = Path("src/paceline/llm/native/csrc")
MULTIPLEX = Path("src/paceline/multiplex/native/csrc")
BASIC = ["-std=c++17", "-O3", "-ffp-contract=off", "-g0", "-fPIC", "-fvisibility=hidden", "-Wall", "-Wextra"]
# Only files that run after the check in cpu.cpp get these. GCC 12 warns inside its own AVX-512 headers.
VECTOR = ["-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl", "-mavx512bf16", "-mavx512vnni", "-mfma", "-mf16c"]
QUIET = ["-Wno-uninitialized", "-Wno-maybe-uninitialized"]
# Chains exist once per instruction set, and cpu.cpp picks. "basic" comes first: of what both have from the standard
# library the linker keeps the first, and every processor must be able to run it.
LEVELS = {
    "basic.cpp": [],
    "avx2.cpp": ["-mavx2", "-mfma"],
    "avx512.cpp": ["-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl", "-mfma", *QUIET],
}
CHAIN = ["-ffp-contract=fast", "-Wno-psabi"]


class BuildNative(build_ext):
    """Compiles cpu.cpp for any x86-64, the other files with what they need, and links a plain shared library."""

    def build_extension(self, ext: Extension) -> None:
        checked = [source for source in ext.sources if Path(source).name == "cpu.cpp"]
        objects = self._compile(ext, checked, BASIC)
        if Path(checked[0]).parent == MULTIPLEX:
            for name, flags in LEVELS.items():
                objects += self._compile(ext, [str(MULTIPLEX / name)], BASIC + CHAIN + flags)
        else:
            objects += self._compile(ext, sorted(set(ext.sources) - set(checked)), BASIC + VECTOR + QUIET)
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
    return [_extension("paceline.llm.native.kernels", LLM), _extension("paceline.multiplex.native.kernels", MULTIPLEX)]


def _extension(name: str, folder: Path) -> Extension:
    sources, headers = [sorted(str(path) for path in folder.glob(pattern)) for pattern in ("*.cpp", "*.h")]
    return Extension(name, sources, depends=headers, optional=True)


setup(ext_modules=extensions(), cmdclass={"build_ext": BuildNative})
