"""What the linters cannot see: imports at run time, declared names, and code that must not be there."""

from __future__ import annotations

import ast
import importlib
import json
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "src"
FILES = sorted((SOURCE / "paceline").rglob("*.py"))
MAX_FILE_LINES = 500


def module_name(path: Path) -> str:
    parts = path.relative_to(SOURCE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in FILES}


def contract(name: str) -> dict[str, Any]:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    contracts: list[dict[str, Any]] = settings["tool"]["importlinter"]["contracts"]
    return next(contract for contract in contracts if contract["name"] == name)


def run_python(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={"PYTHONPATH": str(SOURCE), "PATH": ""},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_pure_module_imports_without_a_device() -> None:
    pure = contract("Deciding needs no device")
    roots = tuple(pure["source_modules"])
    names = ["paceline", *(name for name in MODULES if name.startswith(tuple(f"{root}." for root in roots)))]
    blocked = [*pure["forbidden_modules"]]
    run_python(
        "import importlib, sys\n"
        f"for name in {blocked!r}: sys.modules[name] = None\n"
        f"for name in {sorted({*names, *roots})!r}: importlib.import_module(name)\n"
    )


def test_importing_the_package_imports_nothing_heavy() -> None:
    loaded = json.loads(run_python("import json, sys, paceline; print(json.dumps(sorted(sys.modules)))"))
    heavy = {"torch", "numpy", "transformers", "starlette", "uvicorn", "typer", "rich", "msgspec", "asyncio"}
    assert heavy.isdisjoint(loaded)


@pytest.mark.parametrize("name", [name for name, path in MODULES.items() if "__all__" in path.read_text()])
def test_public_names_are_declared(name: str) -> None:
    module = importlib.import_module(name)
    declared = module.__all__
    assert len(declared) == len(set(declared))
    missing = [public for public in declared if not hasattr(module, public)]
    assert missing == []
    if MODULES[name].name == "__init__.py":
        present = {
            public
            for public, value in vars(module).items()
            if not public.startswith("_")
            and public not in ("annotations", "TYPE_CHECKING")
            and not isinstance(value, ModuleType)
        }
        assert present <= set(declared)


def test_files_are_short_and_named_after_what_they_hold() -> None:
    assert [str(path) for path in FILES if len(path.read_text().splitlines()) > MAX_FILE_LINES] == []
    assert [str(path) for path in FILES if path.stem in ("utils", "util", "helpers", "common", "misc")] == []


# -- code that must not be there: each of these has been a hole in a server of this kind ------------------------------

MODULES_THAT_EXECUTE = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal", "yaml"}
CALLS_THAT_EXECUTE = {"eval", "exec", "compile", "__import__"}
# The one place where code is written: its text is made of numbered names alone, what it calls and reads is bound as objects.
WRITES_CODE = {"paceline.multiplex.lower.writer": ["compile"]}
# The one place that opens pickles, since most pre-trained CNNs are published as such: with torch's reader of tensors alone.
READS_PICKLED_TENSORS = {"paceline.transfer.backbone.load": ["torch.load"]}
ATTRIBUTES_THAT_EXECUTE = {("torch", "load"), ("os", "system"), ("os", "popen")}
OPTIONS_THAT_EXECUTE = {"allow_pickle", "trust_remote_code", "weights_only", "shell"}


def violations(source: str) -> Iterator[str]:
    """Imports, calls and options by which data could become code."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import(names=names):
                yield from (alias.name for alias in names if alias.name.split(".")[0] in MODULES_THAT_EXECUTE)
            case ast.ImportFrom(module=str(module), names=names):
                if module.split(".")[0] in MODULES_THAT_EXECUTE:
                    yield module
                yield from (f"{module}.{n.name}" for n in names if (module, n.name) in ATTRIBUTES_THAT_EXECUTE)
            case ast.Call(func=ast.Name(id=name)) if name in CALLS_THAT_EXECUTE:
                yield name
            case ast.Attribute(value=ast.Name(id=owner), attr=name) if (owner, name) in ATTRIBUTES_THAT_EXECUTE:
                yield f"{owner}.{name}"
            case ast.keyword(arg=str(name), value=ast.Constant(value=value)) if name in OPTIONS_THAT_EXECUTE:
                if value is not (name == "weights_only") and value is not None:
                    yield f"{name}={value}"


@pytest.mark.parametrize("name", MODULES)
def test_data_never_becomes_code(name: str) -> None:
    allowed = WRITES_CODE | READS_PICKLED_TENSORS
    assert list(violations(MODULES[name].read_text())) == allowed.get(name, [])


@pytest.mark.parametrize("name", READS_PICKLED_TENSORS)
def test_pickled_tensors_are_read_by_the_reader_of_tensors_alone(name: str) -> None:
    calls = [
        node
        for node in ast.walk(ast.parse(MODULES[name].read_text()))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "torch.load"
    ]
    assert calls
    for call in calls:
        assert "weights_only=True" in [ast.unparse(keyword) for keyword in call.keywords]


@pytest.mark.parametrize(
    "planted",
    [
        "import pickle",
        "from pickle import loads",
        "import numpy, joblib.memory",
        "eval('1')",
        "x = compile('1', '', 'eval')",
        "import torch\ntorch.load('f')",
        "from torch import load",
        "import os\nos.system('ls')",
        "np.load('f', allow_pickle=True)",
        "AutoModel.from_pretrained('x', trust_remote_code=True)",
        "torch.hub.load('f', weights_only=False)",
        "run('ls', shell=True)",
        "def inner():\n    import yaml",
    ],
)
def test_the_gate_catches(planted: str) -> None:
    assert list(violations(planted))


@pytest.mark.parametrize(
    "harmless",
    [
        "model.eval()",
        "import re\nre.compile('x')",
        "safetensors.load('f')",
        "torch.compile(f)",
        "np.load('f', allow_pickle=False)",
        "load('f', weights_only=True, trust_remote_code=False)",
    ],
)
def test_the_gate_lets_pass(harmless: str) -> None:
    assert list(violations(harmless)) == []
