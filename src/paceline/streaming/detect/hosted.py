"""A detector that runs among other models on a shared device, whoever hosts them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, final

from paceline.errors import ModelError
from paceline.registry import Registry
from paceline.streaming.detect.detector import pixels_of
from paceline.streaming.detect.layouts import Array, Packaged
from paceline.streaming.frame import Detections, Frame, Size


class Host(Protocol):
    """Runs models by name. May be asked by several threads at once."""

    def infer(self, model: str, pixels: Array) -> Sequence[Array]:
        """Outputs of a model for one input, a row being one picture."""
        ...


HOSTS: Registry[Callable[[], Host]] = Registry("model host")


@final
class Hosted:
    """A model that takes pixels uint8 [1, 3, H, W] of ``size`` and gives boxes, scores and classes as the packaged detectors do."""

    def __init__(self, host: Host, model: str, size: Size) -> None:
        self._host, self._model, self._layout = host, model, Packaged(size)

    def __call__(self, frame: Frame) -> Detections:
        outputs = self._host.infer(self._model, self._layout.prepare(pixels_of(frame)))
        if len(outputs) != 3 or [output.ndim for output in outputs] != [3, 2, 2]:
            shapes = [list(output.shape) for output in outputs]
            raise ModelError(
                f"model {self._model!r} gave outputs of shape {shapes}; boxes [1, N, 4], scores [1, N] and classes [1, N] are needed"
            )
        return self._layout.read(outputs, frame.size)
