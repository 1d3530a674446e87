"""``paceline doctor``: what this machine has, what is missing, and the command that brings it."""

from __future__ import annotations

import json
import os
import platform
from pathlib import Path
from typing import Any

import typer

from paceline import __version__
from paceline.cli import options as o
from paceline.cli.console import console

# Module, package and the extra that brings it.
_PACKAGES = (
    ("msgspec", "msgspec", ""), ("numpy", "numpy", ""), ("rich", "rich", ""), ("typer", "typer", ""),
    ("tokenizers", "tokenizers", "llm"), ("jinja2", "jinja2", "llm"),
    ("llguidance", "llguidance", "llm"), ("huggingface_hub", "huggingface-hub", "llm"), ("torch", "torch", "llm"),
    ("starlette", "starlette", "serve"), ("uvicorn", "uvicorn", "serve"), ("h11", "h11", "serve"),
    ("prometheus_client", "prometheus-client", "serve"), ("openai", "openai", "serve"),
    ("duckdb", "duckdb", "sql"), ("httpx2", "httpx2", "sql"), ("numba", "numba", "sql"), ("pyarrow", "pyarrow", "sql"),
    ("sqlglot", "sqlglot", "sql"), ("pandas", "pandas", "spark"), ("pyspark", "pyspark", "spark"),
    ("safetensors", "safetensors", "multiplex"),
    ("PIL", "pillow", "transfer"), ("sklearn", "scikit-learn", "transfer"),
    ("torch_pruning", "torch-pruning", "prune"),
    ("onnx", "onnx", "onnx"), ("onnxruntime", "onnxruntime", "onnx"), ("onnxscript", "onnxscript", "onnx"),
    ("av", "av", "video"), ("scipy", "scipy", "video"),
)  # fmt: skip
_FOR = {  # extras of single commands: they may be missing
    "sql": "paceline sql", "spark": "paceline sql --engine spark", "multiplex": "paceline serve --models",
    "transfer": "paceline adapt", "prune": "paceline adapt prune", "onnx": "paceline adapt export", "video": "paceline track",
}  # fmt: skip
_SHARED = ("torch", "safetensors")  # every part that computes brings them
_CPU_FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8")
_CPUINFO = Path("/proc/cpuinfo")
_NVIDIA = Path("/proc/driver/nvidia/version")
_AVAILABLE = "available"


def doctor(as_json: o.AsJson = False, debug: o.Debug = False) -> None:
    """Print versions, CPU, memory, kernels and packages, and how to get what is missing.

    Ends with 1 if a package that the server needs is missing.
    """
    findings = examine()
    if as_json:
        print(json.dumps(findings))
    else:
        _print(findings)
    raise typer.Exit(1 if findings["fixes"] else 0)


def examine() -> dict[str, Any]:
    """Everything the report says, as plain values."""
    from importlib.util import find_spec

    kernels = _kernels()
    spared = {"torch"} if kernels == _AVAILABLE else set()  # what computes already takes its place
    packages = {
        name: {"version": _version(name), "extra": extra, "needed": name not in spared and extra not in _FOR}
        for module, name, extra in _PACKAGES
    }
    missing = {extra for module, name, extra in _PACKAGES if name not in spared and find_spec(module) is None}
    return {
        "paceline": __version__,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "cpu": _cpu(),
        "memory": _memory(),
        "gpu": _NVIDIA.read_text().splitlines()[0] if _NVIDIA.exists() else None,
        "native_kernels": kernels,
        "demo_model": _demo_model(),
        "packages": packages,
        "fixes": [_install(extra) for extra in sorted(missing - set(_FOR))],
        "offers": {_FOR[extra]: _install(extra) for extra in sorted(missing & set(_FOR))},
    }


def extra_of(module: str, preferred: str | None = None) -> str:
    """The extra that brings a module of another package; ``all`` where there is none.

    ``preferred`` is what the command at work needs. It brings what several parts share, which is listed once, under another extra.

    >>> extra_of("duckdb"), extra_of("no_such_module"), extra_of("torch", "transfer"), extra_of("onnx", "transfer")
    ('sql', 'all', 'transfer', 'onnx')
    """
    extra = next((extra for name, _, extra in _PACKAGES if name == module and extra), "all")
    return preferred if preferred is not None and module in _SHARED else extra


def is_complete(extra: str) -> bool:
    """Whether all packages of an extra are there. None is imported."""
    from importlib.util import find_spec

    return all(find_spec(module) is not None for module, _, of in _PACKAGES if of == extra)


def _install(extra: str) -> str:
    return f"pip install 'paceline{f'[{extra}]' if extra else ''}'"


def _version(package: str) -> str | None:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _cpu() -> dict[str, Any]:
    lines = _CPUINFO.read_text().splitlines() if _CPUINFO.exists() else []
    fields = {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in reversed(lines))}
    flags = set(fields.get("flags", "").split())
    return {
        "model": fields.get("model name", platform.processor() or "unknown"),
        "cores": len(os.sched_getaffinity(0)),
        "has": [flag for flag in _CPU_FLAGS if flag in flags],
        "lacks": [flag for flag in _CPU_FLAGS if flag not in flags],
    }


def _memory() -> dict[str, int]:
    from paceline.llm.memory import available_bytes

    return {
        "available_bytes": available_bytes(),
        "total_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
    }


def _kernels() -> str:
    try:
        from paceline.llm.native import obstacle
    except ModuleNotFoundError as error:
        return f"unknown: the package {error.name} is missing"
    return obstacle() or _AVAILABLE


def _demo_model() -> str:
    from paceline.llm.embedded import embedded_model

    weights = Path(embedded_model()) / "model.safetensors"
    return f"{weights.stat().st_size / 1e6:.0f} MB" if weights.exists() else "missing: install paceline again"


def _print(findings: dict[str, Any]) -> None:
    screen = console()
    cpu, memory = findings["cpu"], findings["memory"]
    kernels = findings["native_kernels"]
    rows = (
        ("paceline", f"{findings['paceline']}, Python {findings['python']}, {findings['system']}"),
        ("CPU", f"{cpu['model']}, {cpu['cores']} cores"),
        ("CPU flags", f"{' '.join(cpu['has']) or 'none that matter'}   (without: {' '.join(cpu['lacks']) or 'none'})"),
        ("memory", f"{memory['available_bytes'] / 2**30:.1f} GiB free of {memory['total_bytes'] / 2**30:.1f} GiB"),
        ("GPU", findings["gpu"] or "no NVIDIA driver"),
        ("native kernels", kernels if kernels == _AVAILABLE else f"not used: {kernels} (torch computes instead)"),
        ("demo model", findings["demo_model"]),
    )
    for name, text in rows:
        screen.print(f"[bold]{name:17}[/]", end="")
        screen.print(text, markup=False, soft_wrap=True)
    for extra in dict.fromkeys(extra for _, _, extra in _PACKAGES):
        entries = [(name, entry) for name, entry in findings["packages"].items() if entry["extra"] == extra]
        text = ", ".join(f"{name} {entry['version'] or _absent(entry)}" for name, entry in entries)
        screen.print(f"[bold]{f'extra {extra}' if extra else 'core':17}[/]", end="")
        screen.print(text, markup=False, soft_wrap=True)
    for fix in findings["fixes"]:
        screen.print(f"[bold yellow]{'to fix':17}[/]", end="")
        screen.print(fix, markup=False, soft_wrap=True)
    for command, offer in findings["offers"].items():
        screen.print(f"[bold]{'to add':17}[/]", end="")
        screen.print(f"{offer}   for: {command}", markup=False, soft_wrap=True)
    if not findings["fixes"]:
        screen.print("[green]Nothing is missing.[/] Try: paceline demo")


def _absent(entry: dict[str, Any]) -> str:
    if entry["needed"]:
        return "MISSING"
    return f"not installed ({'optional' if entry['extra'] in _FOR else 'not needed: the native kernels compute'})"
