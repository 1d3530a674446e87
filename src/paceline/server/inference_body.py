"""Bodies of the Open Inference Protocol: JSON alone, or JSON with the tensors' bytes behind it.

https://kserve.github.io/website/docs/concepts/architecture/data-plane/v2-protocol and its binary tensor data extension.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

import msgspec

from paceline.clock import to_seconds
from paceline.errors import InvalidRequest
from paceline.multiplex.messages import Array, Data, TenantInfo, TensorInfo
from paceline.server.body import explained
from paceline.server.limits import Limits
from paceline.server.tensors import datatype_of, from_bytes, from_json, to_json, wrong

VERSION = "1"  # the only one that a model has
_MAX_SHOWN = 32  # characters of what a client sent
_MAX_ROWS = 2**31
_ENDLESS = 2**53
_DEFAULT_PRIORITY = 2


class _InputParameters(msgspec.Struct):
    binary_data_size: int | None = None
    shared_memory_region: object = None


class _Input(msgspec.Struct):
    name: str
    shape: list[int]
    datatype: str
    data: msgspec.Raw = msgspec.Raw()
    parameters: _InputParameters | None = None


class _OutputParameters(msgspec.Struct):
    binary_data: bool | None = None
    classification: int = 0
    shared_memory_region: object = None


class _Output(msgspec.Struct):
    name: str
    parameters: _OutputParameters | None = None


class _Parameters(msgspec.Struct):
    """What a request may say beside its tensors; others are ignored, as the protocol expects."""

    binary_data_output: bool = False
    priority: int = 0  # 1: before the others; 0: not said, the same as 2
    timeout: int = 0  # microseconds; 0: the model's own limit
    sequence_id: int | str = 0


class _Body(msgspec.Struct):
    inputs: list[_Input]
    id: str = ""
    outputs: list[_Output] | None = None
    parameters: _Parameters | None = None


@final
@dataclass(frozen=True, slots=True)
class Inference:
    """A request that fits its model."""

    id: str
    inputs: tuple[Array, ...]  # in the model's order
    outputs: tuple[tuple[int, bool], ...]  # places among the model's outputs, and whether their bytes are sent
    timeout_s: float | None
    priority: int  # larger is more urgent

    @property
    def num_rows(self) -> int:
        return self.inputs[0].shape[0] if self.inputs else 0


def json_length(header: str | None, num_bytes: int) -> int:
    """Where the JSON of a body ends, as its client says. InvalidRequest."""
    if header is None:
        return num_bytes
    if not (header.isascii() and header.isdecimal() and len(header) < 20 and int(header) <= num_bytes):
        message = f"Inference-Header-Content-Length must be a number up to the body's {num_bytes:,} bytes"
        raise InvalidRequest(message, code="invalid_length")
    return int(header)


def read_inference(body: memoryview, num_json: int, model: TenantInfo, limits: Limits) -> Inference:
    """A body whose first ``num_json`` bytes are JSON, as a request to ``model``. InvalidRequest says what does not fit."""
    with explained():
        asked = msgspec.json.decode(body[:num_json], type=_Body)
    if len(asked.id) > limits.max_id_chars:
        raise InvalidRequest(f"id may hold {limits.max_id_chars} characters", param="id")
    parameters = asked.parameters or _Parameters()
    if parameters.sequence_id:
        raise _unsupported("sequences of requests", "parameters")
    if not (0 <= parameters.timeout < _ENDLESS and 0 <= parameters.priority < _ENDLESS):
        raise InvalidRequest("timeout (microseconds) and priority must be in [0, 2**53)", param="parameters")
    infos = _infos(asked.inputs, model.inputs)
    arrays = _arrays(asked.inputs, infos, body[num_json:])
    return Inference(
        id=asked.id,
        inputs=tuple(arrays[info.name] for info in model.inputs),
        outputs=tuple(_chosen(asked.outputs or [], model.outputs, parameters.binary_data_output)),
        timeout_s=to_seconds(parameters.timeout) or None,
        priority=_DEFAULT_PRIORITY - (parameters.priority or _DEFAULT_PRIORITY),
    )


def _infos(asked: Sequence[_Input], known: Sequence[TensorInfo]) -> list[TensorInfo]:
    """What the model says of each input that came: every one must, once."""
    by_name = {info.name: info for info in known}
    names = [each.name for each in asked[: len(known) + 1]]
    if sorted(names) != sorted(by_name):
        expected = ", ".join(map(repr, by_name))
        came = ", ".join(repr(name[:_MAX_SHOWN]) for name in names)
        raise InvalidRequest(f"the model takes the inputs {expected}, got {came or 'none'}", param="inputs")
    return [by_name[name] for name in names]


def _arrays(asked: Sequence[_Input], infos: Sequence[TensorInfo], rest: memoryview) -> dict[str, Array]:
    """Every input by its name. Bytes behind the JSON follow the order of the request."""
    arrays: dict[str, Array] = {}
    for each, info in zip(asked, infos, strict=True):
        shape = _shape(each, info)
        kind = datatype_of(info.dtype)
        parameters = each.parameters or _InputParameters()
        if parameters.shared_memory_region is not None:
            raise _unsupported("shared memory", "inputs")
        if (size := parameters.binary_data_size) is None:
            arrays[each.name] = from_json(each.data, kind, shape, each.name)
            continue
        if each.data or not 0 <= size <= len(rest):
            raise wrong(each.name, f"it takes data or binary_data_size, up to the {len(rest):,} bytes that are left")
        arrays[each.name] = from_bytes(rest[:size], kind, shape, each.name)
        rest = rest[size:]
    if len(rest):
        raise InvalidRequest(f"the body holds {len(rest):,} bytes more than its tensors", code="invalid_length")
    if len({array.shape[0] for array in arrays.values()}) > 1:
        raise InvalidRequest("all inputs must have the same number of rows (shape[0])", param="inputs")
    return arrays


def _shape(asked: _Input, info: TensorInfo) -> tuple[int, ...]:
    datatype = datatype_of(info.dtype).name
    if asked.datatype != datatype:
        raise wrong(info.name, f"datatype is {asked.datatype[:_MAX_SHOWN]!r}, the model takes {datatype}")
    shape = tuple(asked.shape)
    fits = len(shape) == len(info.shape) and all(
        0 < size < _MAX_ROWS if known < 0 else size == known for size, known in zip(shape, info.shape, strict=True)
    )
    if not fits:
        message = f"shape is {str(asked.shape)[:_MAX_SHOWN]}, the model takes {list(info.shape)} with at least one row"
        raise wrong(info.name, message)
    return shape


def _chosen(asked: Sequence[_Output], known: Sequence[TensorInfo], as_bytes: bool) -> Iterator[tuple[int, bool]]:
    """Places of the outputs that are wanted, all if none is named."""
    if not asked:
        yield from ((place, as_bytes) for place in range(len(known)))
    left = {info.name: place for place, info in enumerate(known)}
    for each in asked:
        if each.name not in left:
            names = ", ".join(repr(info.name) for info in known)
            message = f"the model gives the outputs {names}; each can be asked for once, got {each.name[:_MAX_SHOWN]!r}"
            raise InvalidRequest(message, param="outputs")
        parameters = each.parameters or _OutputParameters()
        if parameters.classification or parameters.shared_memory_region is not None:
            raise _unsupported("classification and shared memory", "outputs")
        yield left.pop(each.name), as_bytes if parameters.binary_data is None else parameters.binary_data


def _unsupported(what: str, param: str) -> InvalidRequest:
    return InvalidRequest(f"this server does not support {what}", param=param, code="unsupported_parameter")


def write_answer(request: Inference, model: TenantInfo, outputs: Sequence[Array]) -> tuple[list[Data], int | None]:
    """The parts of the body, and where its JSON ends if bytes follow."""
    head: dict[str, Any] = {"model_name": model.name, "model_version": VERSION}
    if request.id:
        head["id"] = request.id
    text: list[Data] = [_open(head), b',"outputs":[']
    behind: list[Data] = []
    for number, (place, as_bytes) in enumerate(request.outputs):
        array = outputs[place]
        about = {"name": model.outputs[place].name, "datatype": datatype_of(array.dtype).name, "shape": array.shape}
        text += (b"," if number else b"", _open(about))
        if as_bytes:
            text.append(b',"parameters":{"binary_data_size":%d}}' % array.num_bytes)
            behind += array.pieces
        else:
            text += (b',"data":', *to_json(array), b"}")
    text.append(b"]}")
    binary = any(as_bytes for _, as_bytes in request.outputs)
    return [b"".join(text), *behind], sum(map(len, text)) if binary else None


def _open(value: Mapping[str, Any]) -> bytes:
    """A JSON object that goes on."""
    return msgspec.json.encode(value)[:-1]
