"""What is kept beside an adapter about the training that it came from."""

from __future__ import annotations

import os
from collections.abc import Mapping
from hashlib import blake2b
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

import msgspec

from paceline.errors import ModelError
from paceline.process.atomic import write_atomic
from paceline.transfer.fit.history import History

if TYPE_CHECKING:
    from paceline.transfer.adapted import AdaptedNet
    from paceline.transfer.adapter import AdapterInfo
    from paceline.transfer.backbone.load import Base
    from paceline.transfer.pictures.pictures import Pictures

RECORD_NAME: Final = "training.json"
EMBEDDED: Final = "embedded"
PART_NAMES: Final = ("train", "val", "test")
VERSIONS: Final = ("numpy", "paceline", "pillow", "torch")  # by which answers might differ
PartName: TypeAlias = Literal["train", "val", "test", "new"]


class TrainingRecord(msgspec.Struct, frozen=True, kw_only=True):
    """How an adapter came to be: which picture was in which part, by what its file holds, so that moved pictures are known again."""

    format_version: Literal[1] = 1
    base: str  # the file of the network, or "embedded"
    images: str | None = None  # the folder; None for pictures from memory
    parts: dict[str, dict[str, str]] = {}  # part: {path in the folder: digest}
    history: History = History()

    def part_of(self) -> dict[str, PartName]:
        """Parts by digest. What was learned from counts as that, wherever a copy lay."""
        return {digest: name for name in ("test", "val", "train") for digest in self.parts.get(name, {}).values()}


def record_of(parts: Mapping[str, Pictures], folder: Path | None, base: str, history: History) -> TrainingRecord:
    """What to keep about a training. Pictures that are no files are not listed."""
    if folder is None:
        return TrainingRecord(base=base, history=history)
    listed = {
        name: {_name_in(folder, path): digest_of(path) for path in parts[name].paths}
        for name in PART_NAMES
        if name in parts
    }
    return TrainingRecord(base=base, images=str(folder.resolve()), parts=listed, history=history)


def _name_in(folder: Path, path: Path) -> str:
    inside = path.relative_to(folder) if path.is_relative_to(folder) else path
    return os.fsencode(inside).decode(errors="replace")  # a name may hold any bytes, and JSON may not


def digest_of(path: Path) -> str:
    """Equal for files that hold the same bytes."""
    return blake2b(path.read_bytes(), digest_size=16).hexdigest()


def write_record(folder: Path, record: TrainingRecord) -> None:
    """Puts the record beside an adapter. ResourceError if that fails."""
    write_atomic(folder / RECORD_NAME, msgspec.json.format(msgspec.json.encode(record), indent=1))


def read_record(folder: Path) -> TrainingRecord | None:
    """The record beside an adapter; None if it has none. ModelError if it cannot be read."""
    path = folder / RECORD_NAME
    try:
        return msgspec.json.decode(path.read_bytes(), type=TrainingRecord)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.MsgspecError) as error:
        raise ModelError(f"{path} cannot be read ({error}); without it all pictures count as new: remove it") from error


def describe(
    base: Base,
    net: AdaptedNet,
    classes: tuple[str, ...],
    history: History,
    seed: int,
    metrics: dict[str, float] | None = None,
) -> AdapterInfo:
    """What is written about an adapter. ``metrics`` come beside what the history says."""
    from paceline.transfer.adapter import AdapterInfo

    best = history.best
    return AdapterInfo(
        arch=base.backbone.arch,
        base_name=base.name,
        base_sha256=base.sha256,
        gate=net.gate,
        from_stage=net.from_stage,
        preprocessing=base.preprocessing,
        classes=classes,
        metrics={"val_top1": best.val_top1, "val_loss": best.val_loss, **(metrics or {})},
        seed=seed,
        versions={name: version(name) for name in VERSIONS},
    )


def place_of(base: str | Path | Base | None) -> str:
    """Where a base is found again, as a file says it; its name where that is all there is."""
    if base is None or base == EMBEDDED:
        return EMBEDDED
    return base.name if isinstance(base, tuple) else str(Path(base).expanduser().absolute())
