"""A fitted estimator in a folder: its adapter, and beside it what only the estimator knows."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray
from torch import nn

from paceline.errors import ConfigError, ModelError
from paceline.process.atomic import write_atomic
from paceline.transfer.adapted import AdaptedNet
from paceline.transfer.adapter import AdapterInfo, load_adapter, save_adapter
from paceline.transfer.backbone.backbone import Preprocessing
from paceline.transfer.backbone.load import Base, load_backbone
from paceline.transfer.labels import kind_of, names_of, restored
from paceline.transfer.prune.pruned import PrunedInfo, load_pruned, save_pruned
from paceline.transfer.record import EMBEDDED, TrainingRecord, describe, read_record, write_record

NAME: Final = "estimator.json"
PRUNED: Final = "pruned.json"


class _Saved(msgspec.Struct, frozen=True, kw_only=True):
    format_version: Literal[1] = 1
    label_kind: Literal["str", "int", "float", "bool"]
    parameters: dict[str, Any]


class Fitted(NamedTuple):
    """What an estimator has learned, and what it was asked to."""

    net: nn.Module
    base: Base | None  # None for a pruned network from a file, which needs none
    arch: str
    preprocessing: Preprocessing
    classes: NDArray[Any]
    record: TrainingRecord
    parameters: dict[str, Any]  # of the estimator, without the base


def save(folder: Path, fitted: Fitted, seed: int) -> None:
    """Writes the network first: what is beside it is of no use without it."""
    kind = kind_of(fitted.classes.tolist()[0])
    if kind is None or fitted.classes.dtype == object:
        raise ConfigError(
            f"labels such as {fitted.classes[0]!r} cannot be written to a file; fit with texts or numbers, of one kind"
        )
    names = names_of(fitted.classes)
    if isinstance(fitted.net, AdaptedNet) and fitted.base is not None:
        save_adapter(folder, fitted.net, describe(fitted.base, fitted.net, names, fitted.record.history, seed))
    else:
        save_pruned(folder, fitted.net, PrunedInfo(arch=fitted.arch, classes=names, preprocessing=fitted.preprocessing))
    write_record(folder, fitted.record)
    saved = _Saved(label_kind=kind, parameters=fitted.parameters)  # type: ignore[arg-type]  # one of its four names
    write_atomic(folder / NAME, msgspec.json.format(msgspec.json.encode(saved)))


def load(folder: Path, base: str | Path | Base | None) -> Fitted:
    """What ``save`` wrote, or, without the labels' kind and most parameters, ``paceline adapt``."""
    saved, record = _read(folder), read_record(folder) or TrainingRecord(base=EMBEDDED)
    parameters = {} if saved is None else saved.parameters
    net: nn.Module
    info: AdapterInfo | PrunedInfo
    if (folder / PRUNED).is_file():
        net, info = load_pruned(folder)
        loaded = None
    else:
        place = record.base if base is None else base
        loaded = place if isinstance(place, Base) else load_backbone(place)
        net, info = load_adapter(folder, loaded)
        parameters = parameters | {"gate": info.gate, "from_stage": info.from_stage, "seed": info.seed}
    classes = np.array(info.classes) if saved is None else restored(info.classes, saved.label_kind)
    return Fitted(net, loaded, info.arch, info.preprocessing, classes, record, parameters)


def _read(folder: Path) -> _Saved | None:
    path = folder / NAME
    try:
        return msgspec.json.decode(path.read_bytes(), type=_Saved)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.MsgspecError, ConfigError) as error:
        raise ModelError(f"{path} cannot be read ({error}); without it labels are texts: remove it") from error
