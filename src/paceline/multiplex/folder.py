"""Models in folders: ``model.json`` (a graph, or the name of an architecture) and ``weights.safetensors``.

Nothing in a folder can run by itself: a graph is data over a list of operators, checked like a traced model before it
is used, and a folder with pickled files in it is refused as a whole, since somebody would load them one day.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final, Literal, TypeAlias

import msgspec
import torch
from safetensors.torch import save
from torch import nn

from paceline.errors import ConfigError, ModelError
from paceline.multiplex.architectures import build
from paceline.multiplex.capture import Captured, NotCapturable, capture
from paceline.multiplex.capture.builder import check_rows
from paceline.multiplex.capture.evaluate import dtype_name, dtype_of
from paceline.multiplex.capture.normal import renormalised
from paceline.multiplex.op import Graph, Rows, Spec
from paceline.multiplex.shared import SharedFiles, read_weights
from paceline.process.atomic import write_atomic

MAX_JSON_BYTES: Final = 16 * 2**20
MAX_VALUE_BYTES: Final = 2**28  # of one value for one row
MAX_OPTION: Final = 2**16  # an architecture's sizes and counts
PICKLES: Final = frozenset((".bin", ".ckpt", ".joblib", ".npy", ".npz", ".pickle", ".pkl", ".pt", ".pt2", ".pth"))


class Limits(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the folder's owner asks for: an answer in ``slo_s`` seconds, and at most ``max_rows`` rows at once."""

    slo_s: Annotated[float, msgspec.Meta(gt=0)]
    max_rows: Annotated[int, msgspec.Meta(ge=1)]


class _OfGraph(msgspec.Struct, frozen=True, tag_field="kind", tag="graph", forbid_unknown_fields=True):
    graph: Graph
    limits: Limits
    version: Literal[1] = 1


class _OfArchitecture(msgspec.Struct, frozen=True, tag_field="kind", tag="architecture", forbid_unknown_fields=True):
    architecture: str
    options: dict[str, Any]
    inputs: tuple[Spec, ...]
    limits: Limits
    shared: str | None = None  # a file beside the folder, with weights that the folder does not hold
    version: Literal[1] = 1


_Description: TypeAlias = _OfGraph | _OfArchitecture
Capture: TypeAlias = Callable[[nn.Module, tuple[torch.Tensor, ...]], Captured]


@dataclass(frozen=True, slots=True, eq=False)
class Loaded:
    """A model that is ready to be registered."""

    graph: Graph
    weights: dict[str, torch.Tensor]
    limits: Limits


def save_model(folder: Path, captured: Captured, *, slo_s: float, max_rows: int) -> None:
    """Writes a captured model, over one that may be there."""
    _write(folder, _OfGraph(captured.graph, Limits(slo_s, max_rows)), captured.weights)


def save_architecture(
    folder: Path,
    architecture: str,
    options: Mapping[str, Any],
    model: nn.Module,
    example_inputs: tuple[torch.Tensor, ...],
    *,
    slo_s: float,
    max_rows: int,
    shared: tuple[str, Collection[str]] | None = None,
) -> None:
    """Writes the state of ``model``, which ``architecture`` makes with ``options``, over what may be there.

    ``shared`` names a file beside the folder, and the weights that are to be read from it.
    """
    inputs = tuple(Spec((Rows(), *each.shape[1:]), dtype_name(each.dtype)) for each in example_inputs)
    file, elsewhere = shared or (None, ())
    description = _OfArchitecture(architecture, dict(options), inputs, Limits(slo_s, max_rows), file)
    state = {name: tensor for name, tensor in model.state_dict().items() if name not in elsewhere}
    _write(folder, description, state)


def _write(folder: Path, description: _Description, weights: Mapping[str, torch.Tensor]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    held = {
        name: tensor.detach().cpu().contiguous().clone() for name, tensor in weights.items()
    }  # safetensors takes no views
    write_atomic(folder / "weights.safetensors", save(held))
    write_atomic(folder / "model.json", msgspec.json.format(msgspec.json.encode(description)))


def load_model(folder: Path, shared: SharedFiles, captured: Capture = capture) -> Loaded:
    """Reads a folder that may be hostile. Raises ModelError, which names the file and the reason.

    ``captured`` takes apart what an architecture made: a host that has seen one of its kind need not trace again.
    """
    pickled = sorted(path.name for path in folder.rglob("*") if path.suffix.lower() in PICKLES)
    if pickled:
        raise ModelError(f"{folder}: refused, since it holds {pickled[0]}, which may be a pickle: remove it")
    description = _description(folder / "model.json")
    weights = read_weights(folder / "weights.safetensors")
    try:
        if isinstance(description, _OfArchitecture):
            if description.shared is not None:
                weights = {**shared.load(folder, description.shared), **weights}
            found = captured(*_made(description, weights))
            return Loaded(found.graph, found.weights, description.limits)
        _check(description.graph, weights)
    except NotCapturable as error:
        raise ModelError(f"{folder / 'model.json'}: {error}") from error
    except ModelError:
        raise
    except Exception as error:  # a graph from elsewhere may break the rules in ways that torch alone notices
        raise ModelError(f"{folder / 'model.json'}: not a valid model ({type(error).__name__}: {error})") from error
    return Loaded(description.graph, weights, description.limits)


def _description(path: Path) -> _Description:
    try:
        with path.open("rb") as file:
            text = file.read(MAX_JSON_BYTES + 1)
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({error.strerror or error})") from None
    if len(text) > MAX_JSON_BYTES:
        raise ModelError(f"{path}: larger than {MAX_JSON_BYTES} bytes")
    try:
        described: _Description = msgspec.json.decode(text, type=_Description)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise ModelError(f"{path}: {error}") from None
    return described


def _check(graph: Graph, weights: Mapping[str, torch.Tensor]) -> None:
    """Raises ModelError or NotCapturable unless the graph is in normal form and fits its weights."""
    found = {name: Spec(tuple(tensor.shape), dtype_name(tensor.dtype)) for name, tensor in weights.items()}
    if found != graph.weights:
        odd = sorted(name for name in found.keys() | graph.weights.keys() if found.get(name) != graph.weights.get(name))
        raise ModelError(f"weights.safetensors does not fit model.json: {', '.join(odd[:5])}")
    if (graph.structure == "dict") != bool(graph.names) or len(graph.names) not in (0, len(graph.outputs)):
        raise ModelError("its results do not fit their names")
    for spec in graph.inputs:
        check_rows("an input", spec)
    for spec in graph.specs():
        if math.prod(spec.sizes(1)) * dtype_of(spec.dtype).itemsize > MAX_VALUE_BYTES:
            raise ModelError(f"a value of shape {list(spec.sizes(1))} is larger than {MAX_VALUE_BYTES} bytes a row")
    if renormalised(graph, weights) != graph:
        raise ModelError("the graph is not as this version writes it: save the model again")


def _made(description: _OfArchitecture, weights: dict[str, torch.Tensor]) -> tuple[nn.Module, tuple[torch.Tensor, ...]]:
    """The network that a description names, with the folder's weights, and inputs for it. Raises ModelError."""
    if _largest(description.options) > MAX_OPTION:
        raise ModelError(f"an option of the architecture is larger than {MAX_OPTION}")
    try:
        with torch.device("meta"):  # sizes cost nothing until the weights fit
            network = build(description.architecture, **description.options)
        network.load_state_dict(weights, assign=True)
    except (ConfigError, RuntimeError) as error:
        raise ModelError(f"architecture {description.architecture!r}: {error}") from error
    unsaved = [name for name, tensor in network.named_buffers() if tensor.is_meta]
    if unsaved:
        raise ModelError(f"architecture {description.architecture!r} does not save {unsaved[0]!r}")
    examples = tuple(torch.zeros(spec.sizes(1), dtype=dtype_of(spec.dtype)) for spec in description.inputs)
    return network, examples


def _largest(options: Any) -> float:
    if isinstance(options, (int, float)):
        return options
    parts = options.values() if isinstance(options, dict) else options if isinstance(options, list) else ()
    return max(map(_largest, parts), default=0)
