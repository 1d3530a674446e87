"""Pre-trained networks from files of torchvision, timm and Hugging Face."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar

import msgspec
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from paceline.errors import ConfigError, ModelError
from paceline.transfer.backbone.backbone import BACKBONES, Backbone, Preprocessing
from paceline.transfer.backbone.layout import COUNTER, blank, canonical, unwrapped

MAX_JSON_BYTES: Final = 2**20
_PICKLED: Final = (".pth", ".pt", ".bin")
_T = TypeVar("_T")

_GREY: Final = Preprocessing(size=64, resize=64, mean=(0.5,), std=(0.5,))  # of a network of one input, unless told


class Base(NamedTuple):
    """A frozen network, and what says which one it is."""

    backbone: Backbone
    name: str
    sha256: str  # of its numbers, whatever file they came in
    preprocessing: Preprocessing


class _Described(msgspec.Struct, frozen=True):
    """What may be told about a network; other fields are somebody else's."""

    arch: str | None = None
    preprocessing: Preprocessing | None = None


def load_backbone(path: str | Path | None = None, arch: str | None = None) -> Base:
    """A pre-trained network, frozen, in fp32: from ``path``, or (None or "embedded") the one that comes with this package.

    Files are .safetensors, or .pth, .pt and .bin as long as they hold tensors alone. Which network it is shows in its tensors,
    so ``arch`` is needed only to insist on one. A head in the file is left out. Beside it, NAME.json may give ``arch`` and
    ``preprocessing``; without it, pictures are prepared as for ImageNet.

    ModelError, naming the file, if it is missing, damaged, unsafe or of a network that is not known; ConfigError for
    an unknown ``arch``.
    """
    file = _embedded() if path is None or path == "embedded" else Path(path)
    try:
        return _loaded(file, arch)
    except ModelError as error:
        raise ModelError(f"{file}: {error}") from error.__cause__


def fingerprint(backbone: Backbone) -> str:
    """SHA-256 over the network's tensors by name, shape and fp32 numbers: the same for any file of it."""
    digest = hashlib.sha256()
    for name, tensor in sorted(backbone.state_dict().items()):
        if not name.endswith(COUNTER):
            digest.update(f"{name}\0{list(tensor.shape)}\0".encode())
            digest.update(tensor.float().cpu().contiguous().numpy().astype("<f4", copy=False).data)
    return digest.hexdigest()


def _embedded() -> Path:
    from paceline.transfer.embedded import embedded_base  # the file need not be there for networks of one's own

    return Path(embedded_base())


def _loaded(file: Path, arch: str | None) -> Base:
    state, told = _read(file)
    beside = _beside(file)
    state = canonical(state)
    claimed = beside.arch or told.arch
    if arch is None and claimed is not None and claimed not in BACKBONES:
        raise ModelError(f"it is said to be {claimed!r}, which is not known; known: {', '.join(BACKBONES)}")
    backbone = blank(state, arch or claimed)
    expected = backbone.state_dict()
    counters = {name: torch.zeros((), dtype=torch.long) for name in expected if name.endswith(COUNTER)}
    numbers = {name: _number(name, state[name]) for name in expected if name not in counters}
    backbone.load_state_dict(counters | numbers, assign=True)
    preprocessing = beside.preprocessing or told.preprocessing or _usual(backbone)
    num_inputs = backbone.units[0].conv.in_channels
    if preprocessing.channels != num_inputs:
        raise ModelError(f"the network has {num_inputs} inputs, but its pictures {preprocessing.channels} channels")
    return Base(backbone.eval(), file.stem, fingerprint(backbone), preprocessing)


def _usual(backbone: Backbone) -> Preprocessing:
    return _GREY if backbone.units[0].conv.in_channels == 1 else Preprocessing()


def _number(name: str, tensor: Tensor) -> Tensor:
    """One tensor in fp32. ModelError unless a network can compute with it."""
    if not tensor.is_floating_point():
        raise ModelError(f"{name!r} is {tensor.dtype}, where floating-point numbers were expected")
    if tensor.untyped_storage().nbytes() < tensor.numel() * tensor.itemsize:
        raise ModelError(f"{name!r} is larger than what the file holds of it")
    # A copy of its own: a mapped file may change beneath it, and where it lies in a file is seen in the last bits of answers.
    made = tensor.detach().to(torch.float32, copy=True).contiguous()
    if not bool(made.isfinite().all()):
        raise ModelError(f"{name!r} holds NaN or infinity")
    if name.endswith("running_var") and bool((made < 0).any()):
        raise ModelError(f"{name!r} holds a negative variance")
    return made


def _read(file: Path) -> tuple[Any, _Described]:
    """All tensors of a file, and what it tells about itself."""
    if file.suffix not in (".safetensors", *_PICKLED):
        raise ModelError(f"the name must end with .safetensors, {', '.join(_PICKLED)}")
    try:
        if file.suffix != ".safetensors":
            # Tensors and plain containers alone: the reader has no way to call anything else.
            return unwrapped(torch.load(file, map_location="cpu", weights_only=True)), _Described()
        with safe_open(file, "pt") as tensors:
            state = {name: tensors.get_tensor(name) for name in tensors.keys()}  # noqa: SIM118 - it is no mapping
            return unwrapped(state), _told(tensors.metadata() or {})
    except ModelError:
        raise
    except OSError as error:
        raise ModelError(f"cannot be read ({error.strerror or error})") from error
    except SafetensorError as error:
        raise ModelError(f"not a valid safetensors file ({error})") from error
    except Exception as error:  # a damaged or hostile archive may fail anywhere in the reader
        raise ModelError(f"not a file of tensors alone ({_reason(error)})") from error


def _reason(error: Exception) -> str:
    """torch's own text is long, and tells how to load the file all the same: the line that names the fault must do."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    named = next((line for line in lines if "nsupported" in line or "GLOBAL" in line), *lines[:1] or [""])
    return f"{type(error).__name__}: {named[:200]}"


def _told(metadata: dict[str, str]) -> _Described:
    """Metadata hold text alone, so a structure in them is JSON."""
    preprocessing = metadata.get("preprocessing")
    decoded = None if preprocessing is None else _decoded(preprocessing.encode(), Preprocessing)
    return _Described(metadata.get("arch"), decoded)


def _beside(file: Path) -> _Described:
    """What NAME.json says, if there is one."""
    path = file.with_suffix(".json")
    try:
        with path.open("rb") as described:
            text = described.read(MAX_JSON_BYTES + 1)
    except FileNotFoundError:
        return _Described()
    except OSError as error:
        raise ModelError(f"{path.name} beside it cannot be read ({error.strerror or error})") from error
    if len(text) > MAX_JSON_BYTES:
        raise ModelError(f"{path.name} beside it is larger than {MAX_JSON_BYTES} bytes")
    try:
        return _decoded(text, _Described)
    except ModelError as error:
        raise ModelError(f"{path.name} beside it: {error}") from error


def _decoded(text: bytes, kind: type[_T]) -> _T:
    try:
        return msgspec.json.decode(text, type=kind)
    except (msgspec.MsgspecError, ConfigError, RecursionError, UnicodeDecodeError) as error:
        raise ModelError(str(error)) from error
