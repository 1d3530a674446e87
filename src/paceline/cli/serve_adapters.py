"""Adapters over one base as folders of models that the process of models takes: their convolutions are one file beside them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from paceline.errors import ConfigError, ModelError

if TYPE_CHECKING:
    from paceline.transfer.hosted import AdaptedForServing

SLO_S: Final = 1.0
MAX_ROWS: Final = 256  # pictures of one request
_SHARED: Final = "base.safetensors"


def host_adapters(adapters: str, base: str | None, target: Path) -> dict[str, Path]:
    """Writes a model folder into ``target`` for each adapter in ``adapters``; the folders by name.

    ModelError if there is no adapter, or one was made for another base; ConfigError for one whose gates share no convolutions.
    """
    from safetensors.torch import save_file

    from paceline.transfer.adapter import load_adapter
    from paceline.transfer.backbone.load import load_backbone
    from paceline.transfer.hosted import AdaptedForServing

    loaded = load_backbone(base)
    folders: dict[str, Path] = {}
    for source in _folders(Path(adapters).expanduser()):
        net, info = load_adapter(source, loaded)
        try:
            hosted = AdaptedForServing(net)
        except ConfigError as error:
            raise ConfigError(f"--adapters: {source}: {error}") from error
        shared = _of_base(hosted)
        if not folders:
            save_file({name: hosted.state_dict()[name] for name in shared}, target / _SHARED)
        options = {"arch": info.arch, "num_classes": len(info.classes), **_sizes(hosted)}
        folders[source.name] = _write(target / source.name, options, hosted, info.preprocessing.size, shared)
    return folders


def joined(models: dict[str, Path], adapters: dict[str, Path]) -> dict[str, Path]:
    """Both by name. ConfigError if a name is used twice."""
    if twice := sorted(models.keys() & adapters.keys()):
        raise ConfigError(f"--models and --adapters both hold {twice[0]!r}: rename one of the folders")
    return models | adapters


def _folders(root: Path) -> Iterator[Path]:
    if not root.is_dir():
        raise ModelError(f"--adapters: there is no folder {root}")
    found = [path for path in sorted(root.iterdir()) if (path / "adapter.json").is_file()]
    if not found:
        raise ModelError(
            f"--adapters: {root} holds no adapters; each is a folder in it, as 'paceline adapt train' makes it"
        )
    yield from found


def _of_base(hosted: AdaptedForServing) -> list[str]:
    return [name for name in hosted.state_dict() if name.startswith("backbone.")]


def _sizes(hosted: AdaptedForServing) -> dict[str, Any]:
    """What the maker of the network has to be told, beside its name."""
    stem = hosted.backbone.units[0].conv
    return {"num_inputs": stem.in_channels, "width": stem.out_channels}


def _write(folder: Path, options: dict[str, Any], hosted: AdaptedForServing, size: int, shared: list[str]) -> Path:
    import torch

    from paceline.multiplex.folder import save_architecture

    example = torch.zeros(1, options["num_inputs"], size, size)
    save_architecture(
        folder,
        "adapted_backbone",
        options,
        hosted,
        (example,),
        slo_s=SLO_S,
        max_rows=MAX_ROWS,
        shared=(_SHARED, shared),
    )
    return folder
