"""A runner on CPU cores: weights packed for vector units, paged attention, one call a step."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from paceline.errors import ResourceError
from paceline.llm.memory import available_bytes
from paceline.llm.model.rope import rope_tables
from paceline.llm.model.tensorfile import wide
from paceline.llm.native import library
from paceline.llm.rows import BLOCK_SIZE, MAX_TREE_ROWS, RowBatch

if TYPE_CHECKING:
    from paceline.llm.model.checkpoint import DecoderWeights, LayerWeights
    from paceline.llm.model.config import DType, ModelConfig
    from paceline.llm.model.tensorfile import Tensor

_INTEGER_BITS = {None: 0, "int8": 8, "int4": 4}
_LAYER_VECTORS = ("input_norm", "post_norm", "q_bias", "k_bias", "v_bias", "o_bias", "q_norm", "k_norm")
_LAYER_MATRICES = ("q", "k", "v", "o", "gate", "up", "down")


class NativeRunner:
    """Executes rows with the kernels of this package.

    Each row's result depends on its own sequence alone: logits are bit-identical whatever the batch, the chunks of a
    prompt, cached prefixes or the number of threads. ``close`` gives the memory back. ResourceError if the weights
    and the pool do not fit into memory.
    """

    def __init__(
        self,
        weights: DecoderWeights,
        config: ModelConfig,
        *,
        num_blocks: int,
        quantize: Literal["int8", "int4"] | None = None,
        threads: int | None = None,
        max_rows: int,
    ) -> None:
        self.config = config
        self.num_blocks = num_blocks
        self.wants_hidden = False
        self.hidden = self._no_hidden = np.empty((0, config.hidden_size), np.float32)
        self._max_rows = max_rows
        self._max_positions = -(-config.max_model_len // BLOCK_SIZE) * BLOCK_SIZE + MAX_TREE_ROWS
        itemsize = 4 if config.dtype == "float32" else 2
        self.kv_bytes = num_blocks * BLOCK_SIZE * config.kv_bytes_per_token(itemsize)
        self._logits = np.empty((0, config.vocab_size), np.float32)
        self._library = library.load()
        self._model = ctypes.c_void_p()
        self._check_memory(weights.num_bytes * _INTEGER_BITS[quantize] // (8 * itemsize) or weights.num_bytes)
        spec = self._spec(quantize, threads or _num_cores())
        self._call(self._library.paceline_create(ctypes.byref(spec), ctypes.byref(self._model)))
        try:
            self._load(weights)
        except BaseException:
            self.close()
            raise
        self.weights_bytes = int(self._library.paceline_weight_bytes(self._model))

    def forward(self, batch: RowBatch) -> NDArray[np.float32]:
        """Stores the rows' keys and values; logits of ``batch.logit_rows`` [L, V], valid until the next call."""
        _check(batch)
        num_logits = len(batch.logit_rows)
        if num_logits > len(self._logits):
            self._logits = np.empty((num_logits, self.config.vocab_size), np.float32)
        passed = library.Batch(
            batch.num_rows, batch.num_seqs, batch.block_tables.shape[1], num_logits,
            batch.token_ids.ctypes.data, batch.positions.ctypes.data, batch.row_starts.ctypes.data,
            batch.num_cached.ctypes.data, batch.block_tables.ctypes.data, batch.ancestors.ctypes.data,
            batch.logit_rows.ctypes.data,
        )  # fmt: skip
        self.hidden = self._no_hidden
        if self.wants_hidden:
            self.hidden = np.empty((num_logits, self.config.hidden_size), np.float32)
        outputs = self._logits.ctypes.data, self.hidden.ctypes.data if self.wants_hidden else None
        self._call(self._library.paceline_forward(self._handle(), ctypes.byref(passed), *outputs))
        return self._logits[:num_logits]

    def move(self, sources: NDArray[np.int32], targets: NDArray[np.int32]) -> None:
        """Copies keys and values of storage slots, all layers; all sources are read before a target is written."""
        assert sources.shape == targets.shape == (len(sources),)
        for slots in (sources, targets):
            assert slots.dtype == np.int32
            assert slots.flags.c_contiguous
        pointers = sources.ctypes.data, targets.ctypes.data
        self._call(self._library.paceline_move(self._handle(), *pointers, len(sources)))

    def close(self) -> None:
        """Ends the threads and gives the memory back; safe to call twice."""
        if self._model:
            self._library.paceline_destroy(self._model)
            self._model = ctypes.c_void_p()
            self._logits = np.empty((0, self.config.vocab_size), np.float32)

    def _handle(self) -> ctypes.c_void_p:
        assert self._model, "the runner is closed"
        return self._model

    def _spec(self, quantize: Literal["int8", "int4"] | None, threads: int) -> library.Spec:
        config = self.config
        return library.Spec(
            vocab=config.vocab_size,
            hidden=config.hidden_size,
            layers=config.num_layers,
            heads=config.num_heads,
            kv_heads=config.num_kv_heads,
            head_dim=config.head_dim,
            feed_forward=config.intermediate_size,
            window=config.sliding_window or 0,
            dtype=library.DTYPES.index(config.dtype),
            quantize=_INTEGER_BITS[quantize],
            num_blocks=self.num_blocks,
            max_rows=self._max_rows,
            max_positions=self._max_positions,
            threads=threads,
            epsilon=config.norm_eps,
        )

    def _load(self, weights: DecoderWeights) -> None:
        dtype = self.config.dtype
        for index, layer in enumerate(weights.layers):
            arrays = _layer_arrays(layer, dtype)
            pointers = {name: array.ctypes.data for name, array in arrays.items()}
            self._call(self._library.paceline_load_layer(self._model, index, ctypes.byref(library.Layer(**pointers))))
            weights.drop_pages()
        cos, sin = (np.ascontiguousarray(table) for table in rope_tables(self.config, self._max_positions))
        ends = {
            "embed": _matrix(weights.embed, dtype),
            "final_norm": wide(weights.final_norm),
            "cos": cos,
            "sin": sin,
        }
        if weights.head is not None:
            ends["head"] = _matrix(weights.head, dtype)
        pointers = {name: array.ctypes.data for name, array in ends.items()}
        self._call(self._library.paceline_load_ends(self._model, ctypes.byref(library.Ends(**pointers))))
        weights.drop_pages()

    def _check_memory(self, packed_bytes: int) -> None:
        need, have = packed_bytes + self.kv_bytes, available_bytes()
        if need > have:
            raise ResourceError(
                f"the model needs {_mib(packed_bytes)} and its KV pool {_mib(self.kv_bytes)}, {_mib(have)} are free; "
                "lower --num-blocks or --kv-memory, or use --quantize int8 or int4"
            )

    def _call(self, code: int) -> None:
        if code == library.NO_MEMORY:
            raise ResourceError(
                f"an allocation failed: the KV pool takes {_mib(self.kv_bytes)}, {_mib(available_bytes())} are free; "
                "lower --num-blocks, --kv-memory or --max-batched-tokens"
            )
        assert code != library.BAD_BATCH, "an index of the batch is out of bounds"
        if code == library.NO_THREADS:
            raise ResourceError("threads could not be started; lower --threads or raise the process limit (ulimit -u)")


def _num_cores() -> int:
    """Cores this process may use; siblings of one core share its vector units and count once."""
    topology = "/sys/devices/system/cpu/cpu{}/topology/thread_siblings_list"
    siblings = set()
    for index in os.sched_getaffinity(0):
        try:
            siblings.add(Path(topology.format(index)).read_text())
        except OSError:
            siblings.add(str(index))
    return len(siblings)


def _check(batch: RowBatch) -> None:
    """Shapes and dtypes; the kernels check every index."""
    rows, seqs = batch.num_rows, batch.num_seqs
    for array, shape in (
        (batch.token_ids, (rows,)),
        (batch.positions, (rows,)),
        (batch.row_starts, (seqs + 1,)),
        (batch.num_cached, (seqs,)),
        (batch.block_tables, (seqs, batch.block_tables.shape[-1])),
        (batch.logit_rows, (len(batch.logit_rows),)),
    ):
        assert array.dtype == np.int32
        assert array.shape == shape
        assert array.flags.c_contiguous
    assert batch.ancestors.dtype == np.uint64
    assert batch.ancestors.shape == (rows,)
    assert batch.ancestors.flags.c_contiguous


def _layer_arrays(layer: LayerWeights, dtype: DType) -> dict[str, NDArray[Any]]:
    vectors = {name: getattr(layer, name) for name in _LAYER_VECTORS}
    arrays: dict[str, NDArray[Any]] = {name: wide(value) for name, value in vectors.items() if value is not None}
    arrays |= {name: _matrix(getattr(layer, name), dtype) for name in _LAYER_MATRICES}
    return arrays


def _matrix(tensor: Tensor, dtype: DType) -> NDArray[Any]:
    """The values in the model's dtype: the map itself unless the file mixes dtypes."""
    if tensor.dtype == dtype:
        return np.ascontiguousarray(tensor.data)
    values = wide(tensor)
    if dtype != "bfloat16":
        return values.astype(dtype)
    bits = values.view(np.uint32)
    return ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype(np.uint16)


def _mib(num_bytes: int) -> str:
    return f"{num_bytes / 2**20:.0f} MiB"
