"""What the figures were measured on."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path
from typing import Any

VECTOR_FLAGS = (
    "avx2",
    "fma",
    "avx512f",
    "avx512_vnni",
    "avx512_bf16",
    "avx512_fp16",
    "amx_tile",
    "amx_bf16",
    "amx_int8",
    "asimd",
    "sve",
    "bf16",
    "i8mm",
)


def describe(distributions: Iterable[str] = ()) -> dict[str, Any]:
    """Processor, memory, system, library versions and commit, as plain JSON values."""
    cpu = _cpu()
    return {
        "cpu": cpu["model name"] or platform.processor() or platform.machine(),
        "num_cores": len(os.sched_getaffinity(0)),
        "cpu_flags": [flag for flag in VECTOR_FLAGS if flag in cpu["flags"].split()],
        "cache_kib": cpu["cache size"].removesuffix(" KB"),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "os": _os_name(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "libraries": {name: version for name in distributions if (version := _version(name))},
        "commit": commit(),
        "load_average": round(os.getloadavg()[0], 2),
    }


def _cpu() -> dict[str, str]:
    found = {"model name": "", "flags": "", "cache size": ""}
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    for line in lines:
        name, _, value = line.partition(":")
        key = {"Features": "flags"}.get(name.strip(), name.strip())
        if key in found and not found[key]:
            found[key] = value.strip()
    return found


def _os_name() -> str:
    try:
        return platform.freedesktop_os_release()["PRETTY_NAME"]
    except (OSError, KeyError):
        return platform.system()


def _version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def commit() -> str | None:
    """The commit of the working tree, with ``-dirty`` when files differ; None outside a repository."""
    try:
        done = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=12"],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()
