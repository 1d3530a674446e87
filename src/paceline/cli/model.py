"""Which model a command means, and the engine's configuration for it."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from paceline.errors import ConfigError, ModelError
from paceline.llm.config import EngineConfig
from paceline.llm.embedded import embedded_model
from paceline.llm.model.hub import resolve

DEMO_NAME = "paceline-demo"
EMBEDDED = "embedded"  # the draft model in the package
_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "kib": 2**10, "mib": 2**20, "gib": 2**30}


class ChosenModel(NamedTuple):
    """A folder on disk and the name that clients use."""

    folder: Path
    name: str


def choose_model(model: str | None, name: str | None = None) -> ChosenModel:
    """The folder of ``model``, downloaded if it is a hub id; the packaged one for None. ModelError."""
    if model is None:
        return ChosenModel(resolve(embedded_model()), name or DEMO_NAME)
    path = Path(model).expanduser()
    if not path.is_dir() and model.startswith(("/", "./", "../", "~")):
        raise ModelError(f"there is no folder {model}{_nearest(path)}")
    return ChosenModel(resolve(model), name or (path.resolve().name if path.is_dir() else model))


def _nearest(path: Path) -> str:
    siblings = [entry.name for entry in path.parent.glob("*") if entry.is_dir()] if path.parent.is_dir() else []
    near = difflib.get_close_matches(path.name, siblings, n=1)
    return f"; did you mean {path.parent / near[0]}?" if near else ""


def model_folders(folder: str) -> dict[str, Path]:
    """The folders in ``folder``, by their names: each is a model. ModelError if there is none."""
    path = Path(folder).expanduser()
    if not path.is_dir():
        raise ModelError(f"--models: there is no folder {folder}{_nearest(path)}")
    found = {entry.name: entry for entry in sorted(path.iterdir()) if entry.is_dir() and not entry.name.startswith(".")}
    if not found:
        raise ModelError(f"--models: {folder} holds no folders; each model is a folder in it")
    return found


def choose_draft(draft: str | None, chosen: ChosenModel) -> str | None:
    """The folder of the draft model. Without a name there is none, save that the packaged model has its own."""
    if draft is None:
        return embedded_model("draft") if chosen.folder == Path(embedded_model()) else None
    try:
        return embedded_model("draft") if draft == EMBEDDED else str(choose_model(draft).folder)
    except ModelError as error:
        raise ModelError(f"--draft: {error}") from None


def engine_config(chosen: ChosenModel, kv_memory: str | None, *, draft: str | None, **options: Any) -> EngineConfig:
    """The configuration of an engine for ``chosen``. ConfigError or ModelError."""
    size = None if kv_memory is None else parse_size(kv_memory, "--kv-memory")
    config = EngineConfig(model=str(chosen.folder), name=chosen.name, kv_memory=size, draft=draft, **options)
    if config.speculation == "off":  # nothing is downloaded that is not used
        return config
    return msgspec.structs.replace(config, draft=choose_draft(draft, chosen))


def parse_size(text: str, option: str) -> int:
    """Bytes written as a number with an optional unit.

    >>> parse_size("2GiB", "--kv-memory"), parse_size("500M", "--kv-memory")
    (2147483648, 500000000)
    """
    number = text.rstrip("BbGgKkMmIi ")
    unit = text[len(number) :].strip().lower()
    try:
        size = float(number) * _UNITS[unit if unit.endswith("ib") else unit.removesuffix("b")]
    except (KeyError, ValueError):
        raise ConfigError(f"{option} must be a size such as 512MiB or 2GiB, got {text!r}") from None
    if not 1 <= size < 2**60:
        raise ConfigError(f"{option} must be at least one byte, got {text!r}")
    return int(size)
