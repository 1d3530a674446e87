"""Profiles kept between runs, one file per model and machine: a second start measures nothing.

They lie under ``$XDG_CACHE_HOME/paceline`` (``~/.cache/paceline``) and can be deleted at any time.
"""

from __future__ import annotations

import dataclasses
import hashlib
import logging
import os
import platform
from pathlib import Path
from typing import Final

import msgspec

from paceline import __version__
from paceline.decision.table import Table
from paceline.errors import ConfigError, ResourceError
from paceline.llm.config import EngineConfig
from paceline.llm.model.config import ModelConfig
from paceline.llm.step_model import ProfiledCell
from paceline.process.atomic import write_atomic
from paceline.process.cache_home import cache_home

_log = logging.getLogger(__name__)

_MAX_BYTES: Final = 1 << 20
_CPUINFO: Final = Path("/proc/cpuinfo")


def profile_path(config: EngineConfig, model: ModelConfig, runner: str) -> Path | None:
    """Where the profile of this model on this machine lies; None if there is no place for it.

    ``runner`` is the name of the runner in use. Whatever changes the time of a step changes the name.
    """
    parts = (
        __version__,
        runner,
        device_name(config, runner),
        config.threads or _cores(),
        config.quantize,
        dataclasses.astuple(model),
    )
    root = cache_home()
    digest = hashlib.sha256(msgspec.json.encode(parts)).hexdigest()
    return None if root is None else root / f"steps-{digest[:32]}.json"


def load_profile(path: Path | None) -> Table | None:
    """The profile that ``save_profile`` wrote; None if there is none or it cannot be used."""
    if path is None:
        return None
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_BYTES + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        _log.warning("the profile %s cannot be read: %s", path, error.strerror or error)
        return None
    try:
        if len(data) > _MAX_BYTES:
            raise ConfigError(f"it is larger than {_MAX_BYTES} bytes")
        table = Table.from_json(data)
        if len(table.axes) != len(ProfiledCell._fields) or not table:
            raise ConfigError("its cells are not those of engine steps")
    except ConfigError as error:
        _log.warning("the profile %s is ignored and will be measured anew: %s", path, error)
        return None
    return table


def save_profile(path: Path | None, table: Table) -> None:
    """Writes the profile; where that is not possible, says so in the log and goes on."""
    if path is None:
        return
    try:
        write_atomic(path, table.to_json())
    except ResourceError as error:
        _log.warning("step times are measured at every start: %s", error)


def device_name(config: EngineConfig, runner: str) -> str:
    """What executes the rows, as its maker calls it."""
    if runner == "torch":
        import torch

        from paceline.llm.torch_runner import choose_device

        device = choose_device(config.device)
        if device.type == "cuda":
            return torch.cuda.get_device_name(device)
    return _cpu_name()


def _cpu_name() -> str:
    """Maker, family, model and stepping: virtual machines call very different cores by one name."""
    names = ("vendor_id", "cpu family", "model", "model name", "stepping", "flags", "CPU part", "Features")
    try:
        first = _CPUINFO.read_text().split("\n\n", 1)[0]
    except OSError:
        return platform.machine()
    fields = (line.partition(":") for line in first.splitlines())
    return "; ".join(value.strip() for name, _, value in fields if name.strip() in names)


def _cores() -> int:
    return len(os.sched_getaffinity(0))
