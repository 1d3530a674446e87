"""Detectors in ONNX Runtime."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, final

import msgspec

from paceline.errors import ConfigError, ModelError
from paceline.streaming.detect.detector import pixels_of
from paceline.streaming.detect.layouts import Port, layout_of
from paceline.streaming.detect.pool import Loadable
from paceline.streaming.frame import Detections, Frame, Size

PACKAGED: Final = Path(__file__).parents[1] / "embedded"
TABLE: Final = "detectors.json"
_WORKING: Final = (
    256  # bytes for each pixel of the input while it runs: an estimate, of 64 channels at half the size and their like
)


@final
class OnnxDetector:
    """A model file that looks at pictures of ``size``. ModelError if it is none, or of no known layout.

    ``classes``: the model's -> ours, where they are neither ours nor COCO's.
    """

    def __init__(self, path: Path, size: Size, *, threads: int = 1, classes: Mapping[int, int] | None = None) -> None:
        if threads < 1 or min(size) < 32:
            raise ConfigError(f"threads must be >= 1 and size at least 32 x 32, got {threads} and {size}")
        session = _session(path, threads)
        inputs, outputs = (
            [Port(each.name, each.type, each.shape) for each in many]
            for many in (session.get_inputs(), session.get_outputs())
        )
        self._layout = layout_of(str(path), inputs, outputs, size, classes)
        self._session, self._input = session, inputs[0].name
        _check_size(path, inputs[0], size)

    def __call__(self, frame: Frame) -> Detections:
        prepared = self._layout.prepare(pixels_of(frame))
        return self._layout.read(self._session.run(None, {self._input: prepared}), frame.size)


def loadable(
    name: str, path: Path, size: Size, *, threads: int = 1, classes: Mapping[int, int] | None = None
) -> Loadable:
    """The same for a pool, with an estimate of the memory it takes."""
    try:
        num_bytes = 2 * path.stat().st_size + _WORKING * size[0] * size[1]  # weights may be stored as halves
    except OSError as error:
        raise ModelError(f"cannot read the model {path}: {error.strerror}") from error
    return Loadable(name, lambda: OnnxDetector(path, size, threads=threads, classes=classes), num_bytes)


class _Row(msgspec.Struct):
    name: str
    weights: str
    width: Annotated[int, msgspec.Meta(ge=32)]
    height: Annotated[int, msgspec.Meta(ge=32)]


class _Table(msgspec.Struct):
    configurations: list[_Row]


def ladder(folder: Path = PACKAGED, *, threads: int = 1) -> dict[str, Loadable]:
    """All detectors of a folder with a table, by name; without an argument those that are packaged."""
    path = folder / TABLE
    try:
        table = msgspec.json.decode(path.read_bytes(), type=_Table)
    except OSError as error:
        raise ModelError(f"cannot read the table of detectors {path}: {error.strerror}") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ModelError(f"{path} is no table of detectors: {error}") from error
    for row in table.configurations:
        if Path(row.weights).name != row.weights:
            raise ModelError(f"{path}: weights {row.weights!r} must be the name of a file beside it")
    return {
        row.name: loadable(row.name, folder / row.weights, (row.width, row.height), threads=threads)
        for row in table.configurations
    }


def _session(path: Path, threads: int) -> Any:
    try:
        import onnxruntime
    except ImportError:
        raise ConfigError('such models need ONNX Runtime; run `pip install "paceline[video]"`') from None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.add_session_config_entry(
        "session.intra_op.allow_spinning", "0"
    )  # a thread that waits leaves the core to others
    options.log_severity_level = 4
    if not path.is_file():
        raise ModelError(f"there is no model {path}")
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its errors have no common root
        raise ModelError(f"{path} is no model that ONNX Runtime can load: {error}") from error


def _check_size(path: Path, port: Port, size: Size) -> None:
    """Fixed sides of a model must be those asked for."""
    fixed = [side if isinstance(side, int) else wanted for side, wanted in zip(port.shape[2:], size[::-1], strict=True)]
    if fixed != list(size[::-1]):
        raise ModelError(f"{path} looks at pictures of {fixed[1]} x {fixed[0]}, not {size[0]} x {size[1]}")
