"""What the commands of ``paceline adapt`` open: base networks, adapters, pruned networks, folders of pictures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from paceline.cli.adapt_progress import Bars
from paceline.cli.console import say
from paceline.errors import ConfigError, ModelError

if TYPE_CHECKING:
    from torch import nn

    from paceline.transfer.adapted import AdaptedNet
    from paceline.transfer.adapter import AdapterInfo
    from paceline.transfer.backbone.backbone import Preprocessing
    from paceline.transfer.backbone.load import Base
    from paceline.transfer.parts import Parts
    from paceline.transfer.pictures.folder import Skipped
    from paceline.transfer.pictures.pictures import Pictures
    from paceline.transfer.record import TrainingRecord

CHECKPOINT: Final = "training.safetensors"  # in the folder of an adapter, until it is done
NUM_SHOWN: Final = 10  # pictures that cannot be read


class OpenedAdapter(NamedTuple):
    """An adapter on its base."""

    net: AdaptedNet
    info: AdapterInfo
    base: Base
    record: TrainingRecord | None

    @property
    def classes(self) -> tuple[str, ...]:
        return self.info.classes

    @property
    def preprocessing(self) -> Preprocessing:
        return self.base.preprocessing


class OpenedPruned(NamedTuple):
    """A network that was pruned."""

    net: nn.Module
    classes: tuple[str, ...]
    preprocessing: Preprocessing
    record: TrainingRecord | None


def open_base(base: str | None, arch: str | None = None) -> Base:
    from paceline.transfer.backbone.load import load_backbone

    return load_backbone(base if base is None else str(Path(base).expanduser()) if base != "embedded" else base, arch)


def open_adapter(folder: Path, base: str | None) -> OpenedAdapter:
    """ModelError if there is none, or its base is another or nowhere to be found."""
    from paceline.transfer.adapter import load_adapter, read_adapter
    from paceline.transfer.record import read_record

    _check_adapter(folder)
    info, _ = read_adapter(folder)
    record = read_record(folder)
    loaded = open_base(base) if base is not None else _recorded_base(folder, info, record)
    net, info = load_adapter(folder, loaded)
    return OpenedAdapter(net, info, loaded, record)


def _check_adapter(folder: Path) -> None:
    if (folder / "adapter.json").is_file():
        return
    if (folder / CHECKPOINT).is_file():
        raise ModelError(
            f"{folder} holds a training that was cut short; end it with 'paceline adapt train ... --resume'"
        )
    if (folder / "pruned.json").is_file():
        raise ModelError(f"{folder} holds a pruned network, which has no gates any more; give the adapter it came from")
    raise ModelError(f"there is no adapter in {folder}; 'paceline adapt train IMAGES --out {folder}' writes one")


def _recorded_base(folder: Path, info: AdapterInfo, record: TrainingRecord | None) -> Base:
    """The base where it was in training, or else the one in the package."""
    place = None if record is None else record.base
    try:
        loaded = open_base(place)
    except ModelError as error:
        raise ModelError(f"{error}; {folder} was made for it: --base FILE says where it is now") from error
    if loaded.sha256 != info.base_sha256:
        raise ModelError(
            f"{folder} was made for the base {info.base_name!r} ({info.arch}), which is not {place or 'the one in the package'}; "
            "say where it is with --base FILE"
        )
    return loaded


def open_alike(adapter: Path, others: Sequence[Path], base: str | None) -> list[OpenedAdapter]:
    """Adapters whose rankings can be compared with that of ``adapter``. ConfigError for those whose cannot."""
    from paceline.transfer.adapter import read_adapter

    first, _ = read_adapter(adapter)
    opened = [open_adapter(other, base) for other in others]
    for folder, other in zip(others, opened, strict=True):
        if other.info.base_sha256 != first.base_sha256 or other.classes != first.classes:
            raise ConfigError(
                f"--against {folder}: it is for another base or other classes; what differs should be --seed alone"
            )
    return opened


def open_network(folder: Path, base: str | None) -> OpenedAdapter | OpenedPruned:
    """Whichever the folder holds. ModelError if it is neither."""
    from paceline.transfer.record import read_record

    if not (folder / "pruned.json").is_file():
        return open_adapter(folder, base)
    from paceline.transfer.prune.pruned import load_pruned

    net, info = load_pruned(folder)
    return OpenedPruned(net, info.classes, info.preprocessing, read_record(folder))


def open_parts(opened: OpenedAdapter | OpenedPruned, images: Path, *, quiet: bool) -> Parts:
    """The pictures of a folder, in the parts that the training had them in."""
    from paceline.transfer.parts import known_parts

    with Bars(quiet=quiet) as bars:
        return known_parts(images, opened.classes, opened.preprocessing, opened.record, bars.decoded)


def chosen_part(parts: Parts, part: str, images: Path) -> Pictures:
    """The pictures that ``--part`` names; for "auto" those that nothing was learned from. ConfigError if there is none."""
    wanted = {"auto": ("test", "new"), "all": ("train", "val", "test", "new")}.get(part, (part,))
    from paceline.transfer.parts import joined

    found = [parts[name] for name in wanted if name in parts]
    if found:
        return joined(found)
    if part == "auto":
        raise ConfigError(
            f"all pictures in {images} were learned from, or chosen by; --part val or --part all measures them all the same"
        )
    raise ConfigError(f"--part {part}: {images} has none; it has {', '.join(parts.pictures)}")


def tell_skipped(skipped: Sequence[Skipped], *, quiet: bool) -> None:
    """Names files that were left out, save those that are hidden on purpose."""
    told = [each for each in skipped if each.reason != "hidden"]
    if not told:
        return
    say(f"left out {len(told):,} {'file' if len(told) == 1 else 'files'}:", quiet=quiet)
    for each in told[:NUM_SHOWN]:
        say(f"  {each.path}: {each.reason}", quiet=quiet)
    if len(told) > NUM_SHOWN:
        say(f"  and {len(told) - NUM_SHOWN:,} more; --json lists all", quiet=quiet)
