"""The native runner against transformers, and bit for bit against itself under every way of cutting the work."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from numpy.typing import NDArray

from paceline.errors import ResourceError
from paceline.llm import native
from paceline.llm.model.checkpoint import open_weights
from paceline.llm.model.families import read_config
from paceline.llm.model.quantize import Bits, dequantize, quantize
from paceline.llm.model.tensorfile import Tensor, wide
from paceline.llm.native.runner import NativeRunner
from paceline.llm.rows import RowBatch
from paceline.llm.torch_runner import TorchRunner
from tests.llm.batches import Appended, row_batch
from tests.llm.folders import FAMILIES, write_folder
from tests.llm.model.oracle import oracle_logits

pytestmark = pytest.mark.skipif(native.obstacle() is not None, reason=f"{native.obstacle()}")

Quantize = Literal["int8", "int4"] | None

MATRICES = ("q", "k", "v", "o", "gate", "up", "down")
TOKENS = np.random.default_rng(7).integers(0, 384, 100).tolist()
LLAMA3 = {"rope_type": "llama3", "factor": 4.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
VARIANTS: list[tuple[str, dict[str, Any]]] = [
    *((family, {}) for family in FAMILIES),
    ("llama", {"attention_bias": True}),
    ("llama", {"num_key_value_heads": 4, "tie_word_embeddings": True}),
    ("llama", {"hidden_size": 112, "num_attention_heads": 7, "num_key_value_heads": 1, "head_dim": 16}),
    ("llama", {"hidden_size": 88, "head_dim": 22, "intermediate_size": 100, "vocab_size": 397}),
    ("llama", {"head_dim": 96, "num_attention_heads": 2, "num_key_value_heads": 1}),
    ("mistral", {"sliding_window": None, "head_dim": 32}),
    ("mistral", {"sliding_window": 1}),
    ("qwen2", {"use_sliding_window": True, "sliding_window": 20, "max_window_layers": 0}),
    ("qwen3", {"attention_bias": True, "tie_word_embeddings": False}),
    ("llama", {"rope_scaling": LLAMA3 | {"original_max_position_embeddings": 64}, "rope_theta": 5e5}),
]
FORMATS: list[tuple[str, Quantize]] = [
    ("float32", None),
    ("bfloat16", None),
    ("float16", None),
    ("bfloat16", "int8"),
    ("bfloat16", "int4"),
    ("float32", "int4"),
]


def open_runner(folder: Path, *, num_blocks: int = 64, threads: int = 2, **options: Any) -> NativeRunner:
    config = read_config(folder)
    options = {"max_rows": 128} | options
    return NativeRunner(open_weights(folder, config), config, num_blocks=num_blocks, threads=threads, **options)


def run_chunks(
    runner: NativeRunner, tokens: Sequence[int], sizes: Sequence[int], blocks: Sequence[int]
) -> NDArray[np.float32]:
    """Logits of every token when they are fed in chunks of ``sizes``."""
    parts, done = [], 0
    for size in sizes:
        chunk = Appended(tokens[done : done + size], done, blocks)
        parts.append(runner.forward(row_batch([chunk])).copy())
        done += size
    return np.concatenate(parts)


def same_bits(left: NDArray[np.float32], right: NDArray[np.float32]) -> bool:
    return left.tobytes() == right.tobytes()


def relative_error(logits: NDArray[np.float32], expected: NDArray[np.float32]) -> float:
    return float(np.sqrt(np.mean((logits - expected) ** 2)) / np.std(expected))


@pytest.mark.parametrize(("family", "overrides"), VARIANTS)
def test_logits_equal_transformers(tmp_path: Path, family: str, overrides: dict[str, Any]) -> None:
    folder = write_folder(tmp_path, family, **overrides)
    expected = oracle_logits(folder, TOKENS)
    logits = open_runner(folder).forward(row_batch([Appended(TOKENS, 0, range(9, 16))]))
    assert np.abs(logits - expected).max() < 1e-4
    assert (logits.argmax(-1) == expected.argmax(-1)).all()


def exact_logits(folder: Path, bits: Bits | None, batch: RowBatch) -> NDArray[np.float32]:
    """What the stored (and quantised, if ``bits``) weights give in float32 throughout."""
    stored = read_config(folder)
    config = dataclasses.replace(stored, dtype="float32")
    weights = open_weights(folder, stored)
    if bits is not None:
        layers = tuple(
            dataclasses.replace(layer, **{name: rounded(getattr(layer, name), bits) for name in MATRICES})
            for layer in weights.layers
        )
        weights = dataclasses.replace(weights, layers=layers, head=rounded(weights.head or weights.embed, 8))
    return NativeRunner(weights, config, num_blocks=8, max_rows=128).forward(batch)


def rounded(tensor: Tensor, bits: Bits) -> Tensor:
    values = wide(tensor)
    return Tensor(dequantize(quantize(values, bits), values.shape[1]), "float32")


@pytest.mark.parametrize(
    ("dtype", "quantize", "tolerance"),
    [
        ("bfloat16", None, 0.015),
        ("float16", None, 0.01),
        ("bfloat16", "int8", 0.03),
        ("float16", "int8", 0.03),
        ("bfloat16", "int4", 0.03),
        ("float32", "int4", 0.03),
    ],
)
@pytest.mark.parametrize("family", ["qwen2", "qwen3"])
def test_rounded_arithmetic_stays_near_exact_arithmetic(
    tmp_path: Path, family: str, dtype: str, quantize: Quantize, tolerance: float
) -> None:
    folder = write_folder(tmp_path, family, dtype)
    batch = row_batch([Appended(TOKENS, 0, range(7))])
    bits: dict[Quantize, Bits | None] = {None: None, "int8": 8, "int4": 4}
    expected = exact_logits(folder, bits[quantize], batch)
    logits = open_runner(folder, quantize=quantize).forward(batch)
    assert relative_error(logits, expected) < tolerance


@pytest.mark.parametrize(("dtype", "quantize"), FORMATS)
@pytest.mark.parametrize("family", ["mistral", "qwen3"])
def test_no_bit_depends_on_how_the_work_is_cut(tmp_path: Path, family: str, dtype: str, quantize: Quantize) -> None:
    """Chunks, scattered blocks, company, order and threads: greedy output cannot depend on any of them."""
    folder = write_folder(tmp_path, family, dtype)
    runner = open_runner(folder, quantize=quantize)
    whole = runner.forward(row_batch([Appended(TOKENS, 0, range(7))])).copy()
    cut = run_chunks(runner, TOKENS, [1, 3, 20, 1, 7, 40, 16, 12], [63, 17, 40, 8, 30, 22, 51])
    assert same_bits(whole, cut)
    assert same_bits(whole, run_chunks(runner, TOKENS, [1] * 100, range(8, 15)))
    assert same_bits(whole, run_chunks(open_runner(folder, quantize=quantize, threads=1), TOKENS, [61, 39], range(7)))


@pytest.mark.parametrize(("dtype", "quantize"), FORMATS)
@pytest.mark.parametrize("family", ["mistral", "qwen3"])
def test_no_bit_depends_on_the_company(tmp_path: Path, family: str, dtype: str, quantize: Quantize) -> None:
    """Prefill, decode and verification rows of several sequences share a batch in several orders."""
    runner = open_runner(write_folder(tmp_path, family, dtype), quantize=quantize)
    rng = np.random.default_rng(3)
    cached, counts = [0, 5, 31, 70, 3, 64, 16], [40, 1, 1, 3, 3, 1, 2]
    tokens = [rng.integers(0, 384, a + b).tolist() for a, b in zip(cached, counts, strict=True)]
    tables = [list(range(i * 8, i * 8 + 8)) for i in range(len(cached))]
    alone = []
    for text, before, table in zip(tokens, cached, tables, strict=True):
        sizes = [before, len(text) - before] if before else [len(text)]
        alone.append(run_chunks(runner, text, sizes, table)[before:])
    for order in ([0, 1, 2, 3, 4, 5, 6], [3, 5, 0, 4, 2, 6, 1], [1, 2], [6]):
        seqs = [Appended(tokens[i][cached[i] :], cached[i], tables[i]) for i in order]
        together = runner.forward(row_batch(seqs))
        assert same_bits(together, np.concatenate([alone[i] for i in order]))


@pytest.mark.parametrize(("dtype", "quantize"), [("float32", None), ("bfloat16", None), ("bfloat16", "int8")])
@pytest.mark.parametrize("family", ["mistral", "qwen3"])
def test_tree_rows_equal_their_paths(tmp_path: Path, family: str, dtype: str, quantize: Quantize) -> None:
    """Every node of a verified tree gets the logits of a plain chain from the root to it."""
    runner = open_runner(write_folder(tmp_path, family, dtype), quantize=quantize)
    parents = [-1, 0, 0, 1, 2, 2, 5]
    nodes = [11, 22, 33, 44, 55, 66, 77]
    prompt = TOKENS[:37]
    runner.forward(row_batch([Appended(prompt, 0, [0, 1, 2, 3])]))
    tree = runner.forward(row_batch([Appended(nodes, 37, [0, 1, 2, 3], parents)])).copy()
    for row in range(len(nodes)):
        path = [row]
        while parents[path[0]] >= 0:
            path.insert(0, parents[path[0]])
        chain = [nodes[node] for node in path]
        alone = run_chunks(runner, prompt + chain, [37, len(chain)], [8, 9, 10, 11])
        # Storage order differs from the path's, and with it the order of the sums.
        assert relative_error(tree[row], alone[-1]) < (1e-5 if dtype == "float32" else 0.02)


def test_a_chain_given_as_a_tree_is_the_chain(tmp_path: Path) -> None:
    runner = open_runner(write_folder(tmp_path, "qwen3", "bfloat16"))
    prompt, chain = TOKENS[:29], TOKENS[29:93]
    runner.forward(row_batch([Appended(prompt, 0, range(6))]))
    tree = runner.forward(row_batch([Appended(chain, 29, range(6), range(-1, 63))])).copy()
    assert same_bits(tree, runner.forward(row_batch([Appended(chain, 29, range(6))])))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_move_makes_a_path_contiguous(tmp_path: Path, dtype: str) -> None:
    """After the accepted nodes are moved, decoding goes on as if they had been a chain; moves may overlap."""
    runner = open_runner(write_folder(tmp_path, "qwen3", dtype))
    prompt, nodes, parents = TOKENS[:14], [5, 6, 7, 8], [-1, 0, 0, 2]
    runner.forward(row_batch([Appended(prompt, 0, [3, 9])]))
    runner.forward(row_batch([Appended(nodes, 14, [3, 9], parents)]))
    slots = np.array([3 * 16 + p if p < 16 else 9 * 16 + p - 16 for p in range(20)], np.int32)
    runner.move(slots[[16, 17]], slots[[15, 16]])  # nodes 2 and 3 close up behind node 0
    after = runner.forward(row_batch([Appended([99], 17, [3, 9])])).copy()
    chain = run_chunks(runner, [*prompt, 5, 7, 8, 99], [18], [20, 21])
    assert relative_error(after[0], chain[-1]) < (1e-5 if dtype == "float32" else 0.02)


def test_moves_read_before_they_write(tmp_path: Path) -> None:
    runner = open_runner(write_folder(tmp_path, "qwen3", "bfloat16"))
    before = run_chunks(runner, TOKENS[:33], [32, 1], [0, 1, 2])
    block = np.arange(16, dtype=np.int32)
    runner.move(np.concatenate([block, block + 16]), np.concatenate([block + 16, block]))
    swapped = runner.forward(row_batch([Appended(TOKENS[32:33], 32, [1, 0, 2])]))
    assert same_bits(before[-1:], swapped)


@pytest.mark.parametrize(("dtype", "quantize"), FORMATS)
def test_nan_weights_give_nan_logits(tmp_path: Path, dtype: str, quantize: Quantize) -> None:
    folder = write_folder(tmp_path, "llama", dtype)
    config = read_config(folder)
    weights = open_weights(folder, config)
    down = weights.layers[0].down
    broken = down.data.copy()
    broken[3, 5] = 0x7FC0 if dtype == "bfloat16" else np.nan
    layers = (dataclasses.replace(weights.layers[0], down=down._replace(data=broken)), *weights.layers[1:])
    runner = NativeRunner(
        dataclasses.replace(weights, layers=layers), config, num_blocks=8, quantize=quantize, max_rows=64
    )
    assert np.isnan(runner.forward(row_batch([Appended(TOKENS[:20], 0, [0, 1])]))).all()


@pytest.mark.parametrize(("dtype", "quantize"), FORMATS)
def test_a_broken_token_spoils_its_own_sequence_only(tmp_path: Path, dtype: str, quantize: Quantize) -> None:
    """Rows before it and other sequences keep their bits; blocks it leaves full of NaN serve the next sequence."""
    folder = write_folder(tmp_path, "qwen3", dtype, tie_word_embeddings=False)
    config = read_config(folder)
    weights = open_weights(folder, config)
    embed = weights.embed.data.copy()
    embed[383] = 0x7FC0 if dtype == "bfloat16" else np.nan
    poisoned = dataclasses.replace(weights, embed=weights.embed._replace(data=embed))
    runner = NativeRunner(poisoned, config, num_blocks=8, quantize=quantize, max_rows=64)
    clean = [token % 383 for token in TOKENS[:40]]
    expected = runner.forward(row_batch([Appended(clean, 0, [4, 5, 6])])).copy()
    bad, good = Appended([*clean[:20], *[383] * 28], 0, [0, 1, 2]), Appended(clean[:9], 0, [3])
    logits = runner.forward(row_batch([bad, good])).copy()
    assert same_bits(logits[:20], expected[:20])
    assert np.isnan(logits[20:48]).all()
    assert same_bits(logits[48:], expected[:9])
    assert same_bits(run_chunks(runner, clean, [7, 1, 12, 20], [2, 0, 1]), expected)


def test_only_the_rows_asked_for_get_logits(tmp_path: Path) -> None:
    runner = open_runner(write_folder(tmp_path, "llama", "bfloat16"))
    everything = runner.forward(row_batch([Appended(TOKENS[:20], 0, range(2))])).copy()
    some = runner.forward(row_batch([Appended(TOKENS[:20], 0, range(2))], logit_rows=[4, 19]))
    assert same_bits(some, everything[[4, 19]])
    assert runner.forward(row_batch([Appended(TOKENS[:20], 0, range(2))], logit_rows=[])).shape == (0, 384)


@pytest.mark.parametrize(
    "spoil",
    [
        {"token_ids": [384, 1]},
        {"token_ids": [-1, 1]},
        {"positions": [0, 512 + 64]},
        {"num_cached": [40]},
        {"num_cached": [-1]},
        {"row_starts": [0, 3]},
        {"row_starts": [1, 2]},
        {"block_tables": [[64, 0]]},
        {"block_tables": [[-1, 0]]},
        {"logit_rows": [2]},
        {"ancestors": [1, 1]},
        {"ancestors": [1, 6]},
        {"token_ids": [1, 1, 1]},
    ],
)
def test_an_index_out_of_bounds_is_refused(tmp_path: Path, spoil: dict[str, list[Any]]) -> None:
    runner = open_runner(write_folder(tmp_path, "llama"))
    batch = row_batch([Appended([1, 2], 0, [0, 1])])
    arrays = {name: np.array(value, getattr(batch, name).dtype) for name, value in spoil.items()}
    with pytest.raises(AssertionError):
        runner.forward(dataclasses.replace(batch, **arrays))


def test_a_wrong_dtype_or_layout_is_refused(tmp_path: Path) -> None:
    runner = open_runner(write_folder(tmp_path, "llama"))
    batch = row_batch([Appended([1, 2], 0, [0, 1])])
    with pytest.raises(AssertionError):
        runner.forward(dataclasses.replace(batch, token_ids=batch.token_ids.astype(np.int64)))
    with pytest.raises(AssertionError):
        runner.forward(dataclasses.replace(batch, positions=np.zeros(4, np.int32)[::2]))
    with pytest.raises(AssertionError):
        runner.move(np.array([0], np.int32), np.array([64 * 16], np.int32))


def test_a_pool_beyond_memory_says_what_to_lower(tmp_path: Path) -> None:
    folder = write_folder(tmp_path, "llama")
    with pytest.raises(ResourceError, match="--num-blocks"):
        open_runner(folder, num_blocks=2**31 - 1)


def test_closing_twice_is_harmless_and_bytes_are_counted(tmp_path: Path) -> None:
    folder = write_folder(tmp_path, "qwen3", "bfloat16")
    config = read_config(folder)
    runner = open_runner(folder)
    assert runner.kv_bytes == config.kv_bytes_per_token(2) * 16 * 64
    assert runner.weights_bytes >= open_weights(folder, config).num_bytes * 0.95
    small = open_runner(folder, quantize="int4")
    assert small.weights_bytes < runner.weights_bytes
    runner.close()
    runner.close()
    with pytest.raises(AssertionError):
        runner.forward(row_batch([Appended([1], 0, [0])]))


def test_long_context_is_exact(tmp_path: Path) -> None:
    """Hundreds of blocks, with and without a window, against transformers."""
    tokens = np.random.default_rng(1).integers(0, 384, 500).tolist()
    folder = write_folder(tmp_path, "mistral", sliding_window=130)
    runner = open_runner(folder, max_rows=512)
    logits = run_chunks(runner, tokens, [333, 1, 166], range(math.ceil(500 / 16)))
    assert np.abs(logits - oracle_logits(folder, tokens)).max() < 2e-4


@pytest.mark.parametrize("family", ["llama", "qwen3"])
def test_hidden_states_are_what_the_head_reads(tmp_path: Path, family: str) -> None:
    folder = write_folder(tmp_path, family)
    weights = open_weights(folder, read_config(folder))
    runner = open_runner(folder)
    batch = row_batch([Appended(TOKENS[:30], 0, [1, 2]), Appended(TOKENS[30:37], 0, [5])], logit_rows=[3, 29, 36])
    plain = runner.forward(batch).copy()
    assert runner.hidden.shape == (0, 64)
    runner.wants_hidden = True
    assert same_bits(plain, runner.forward(batch))
    head = wide(weights.head or weights.embed)
    assert runner.hidden.shape == (3, 64)
    assert np.abs(runner.hidden @ head.T - plain).max() < 1e-4
    few, hidden = dataclasses.replace(batch, logit_rows=batch.logit_rows[1:2]), runner.hidden.copy()
    runner.forward(few)
    assert same_bits(runner.hidden, hidden[1:2])
    torch_runner = TorchRunner(weights, read_config(folder), num_blocks=8, device="cpu")
    torch_runner.wants_hidden = True
    torch_runner.forward(batch)
    assert np.abs(hidden - torch_runner.hidden).max() < 1e-4
    runner.wants_hidden = False
    runner.forward(batch)
    assert runner.hidden.shape == (0, 64)
