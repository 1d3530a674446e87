"""The device: what executes rows. The port, and which implementation serves a configuration."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from paceline.errors import ConfigError
from paceline.llm import native
from paceline.llm.config import EngineConfig
from paceline.llm.model.config import DType, ModelConfig
from paceline.llm.rows import RowBatch

if TYPE_CHECKING:
    from paceline.llm.model.checkpoint import DecoderWeights


class Runner(Protocol):
    """Executes rows over a pool of key-value blocks."""

    config: ModelConfig
    num_blocks: int
    weights_bytes: int
    kv_bytes: int
    wants_hidden: bool
    """Whether ``hidden`` is filled; False at first, may be set between two calls."""
    hidden: NDArray[np.float32]
    """[L, H] what the output head read for each logit row of the last call, a new array each time; else empty [0, H]."""

    def forward(self, batch: RowBatch) -> NDArray[np.float32]:
        """Stores the rows' keys and values; returns logits of ``batch.logit_rows`` [L, V], valid until the next call."""
        ...

    def move(self, sources: NDArray[np.int32], targets: NDArray[np.int32]) -> None:
        """Copies keys and values of storage slots (block x 16 + offset), all layers: ``sources[i]`` to ``targets[i]``."""
        ...

    def close(self) -> None:
        """Gives the memory back."""
        ...


def kv_itemsize(dtype: DType) -> int:
    """Bytes of one stored key or value element."""
    return 4 if dtype == "float32" else 2


def choose(config: EngineConfig) -> str:
    """``"native"`` or ``"torch"``; ConfigError if the named one cannot run here."""
    if config.runner == "torch" or config.device == "cuda":
        return "torch"
    obstacle = native.obstacle()
    if obstacle is None:
        return "native"
    if config.runner == "native":
        raise ConfigError(f"runner native is not available: {obstacle}; use runner auto or torch")
    return "torch"


def open_runner(
    config: EngineConfig, model: ModelConfig, weights: DecoderWeights, *, num_blocks: int
) -> tuple[str, Runner]:
    """Packs the weights for the chosen runner; its name and itself."""
    name = choose(config)
    if name == "native":
        from paceline.llm.native.runner import NativeRunner

        return name, NativeRunner(
            weights,
            model,
            num_blocks=num_blocks,
            quantize=config.quantize,
            threads=config.threads,
            max_rows=config.max_batched_tokens,
        )
    from paceline.llm.torch_runner import TorchRunner

    return name, TorchRunner(
        weights,
        model,
        num_blocks=num_blocks,
        quantize=config.quantize,
        device=config.device,
        threads=config.threads,
        max_rows=config.max_batched_tokens,
    )
