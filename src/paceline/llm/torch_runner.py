"""Executes rows with torch: on a GPU, and on CPUs that the native runner does not know."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from paceline.errors import ConfigError, ResourceError
from paceline.llm.config import Quantize
from paceline.llm.model.attention import Attend, PagedAttention
from paceline.llm.model.checkpoint import DecoderWeights
from paceline.llm.model.config import DType, ModelConfig
from paceline.llm.model.decoder import Decoder
from paceline.llm.model.kv import KVPool
from paceline.llm.model.linear import Placement
from paceline.llm.model.quantize import Bits
from paceline.llm.rows import BLOCK_SIZE, RowBatch

if TYPE_CHECKING:
    from paceline.llm.cuda.graphs import DecodeGraphs

_DTYPES: dict[DType, torch.dtype] = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}
_BITS: dict[Quantize | None, Bits | None] = {None: None, "int8": 8, "int4": 4}


class Attention(Protocol):
    """How rows attend on a device; one call makes what all layers of a forward pass share."""

    def begin(self, batch: RowBatch) -> Attend: ...


class TorchRunner:
    """A ``Runner`` over ``Decoder`` and ``KVPool``; computes in the type that ``config.dtype`` names."""

    def __init__(
        self,
        weights: DecoderWeights,
        config: ModelConfig,
        *,
        num_blocks: int,
        quantize: Quantize | None = None,
        device: str = "auto",
        threads: int | None = None,
        max_rows: int = 512,
    ) -> None:
        self.config = config
        self.num_blocks = num_blocks
        self.wants_hidden = False
        self.hidden = self._no_hidden = np.empty((0, config.hidden_size), np.float32)
        self._device = choose_device(device)
        self._max_rows = max_rows
        if threads is not None:
            torch.set_num_threads(threads)
        max_length = min(config.max_model_len, num_blocks * BLOCK_SIZE)  # no sequence outgrows the pool
        placement = Placement(self._device, _DTYPES[config.dtype], _BITS[quantize])
        try:
            with torch.inference_mode():
                self._decoder = Decoder(weights, config, placement, max_length)
                # one block more than the scheduler knows of: rows that only pad a graph write there
                self._pool = KVPool(config, num_blocks + 1, placement.dtype, self._device)
        except (torch.OutOfMemoryError, MemoryError) as error:
            raise ResourceError(f"the model and {num_blocks} KV blocks do not fit; lower --kv-memory") from error
        self._attention: Attention = PagedAttention(config, self._pool, self._device)
        self._graphs: DecodeGraphs | None = None
        if self._device.type == "cuda" and importlib.util.find_spec("triton"):
            self._use_kernels(max_length)
        self.weights_bytes = self._decoder.num_bytes
        self.kv_bytes = self._pool.num_bytes

    @torch.inference_mode()
    def forward(self, batch: RowBatch) -> NDArray[np.float32]:
        """Store the rows' keys and values; logits of ``batch.logit_rows`` [L, V]."""
        assert batch.num_rows <= self._max_rows, f"{batch.num_rows} rows, prepared for {self._max_rows}"
        if self._graphs is not None and self._graphs.serves(batch):
            return self._hand_out(*self._graphs.run(batch))
        state = self._decoder.hidden(
            self._tensor(batch.token_ids), self._tensor(batch.positions), self._attention.begin(batch)
        )
        hidden = self._decoder.finish(state.index_select(0, self._tensor(batch.logit_rows)))
        return self._hand_out(hidden, self._decoder.logits(hidden))

    @torch.inference_mode()
    def move(self, sources: NDArray[np.int32], targets: NDArray[np.int32]) -> None:
        """Copy stored keys and values between slots (block x 16 + offset), in every layer."""
        self._pool.move(self._tensor(sources), self._tensor(targets))

    def close(self) -> None:
        """Give weights and pool back."""
        del self._decoder, self._attention, self._graphs, self._pool

    def _hand_out(self, hidden: torch.Tensor, logits: torch.Tensor) -> NDArray[np.float32]:
        self.hidden = _to_numpy(hidden.float()) if self.wants_hidden else self._no_hidden
        return _to_numpy(logits)

    def _use_kernels(self, max_length: int) -> None:
        from paceline.llm.cuda.attention import TritonAttention
        from paceline.llm.cuda.graphs import DecodeGraphs

        attention = TritonAttention(self.config, self._pool, self._device)
        self._attention = attention
        self._graphs = DecodeGraphs(self._decoder, attention, max_length, spare_block=self.num_blocks)

    def _tensor(self, array: NDArray[np.int32]) -> torch.Tensor:
        return torch.from_numpy(np.asarray(array, np.int64)).to(self._device)


def _to_numpy(tensor: torch.Tensor) -> NDArray[np.float32]:
    values: NDArray[np.float32] = tensor.cpu().numpy()
    return values


def choose_device(name: str) -> torch.device:
    """``"auto"`` is the GPU where there is one. Raises ``ConfigError`` for a GPU that is not there."""
    present = torch.cuda.is_available()
    if name == "cuda" and not present:
        raise ConfigError("device cuda was asked for, but torch sees no GPU; use device cpu")
    return torch.device("cuda" if name == "cuda" or (name == "auto" and present) else "cpu")
