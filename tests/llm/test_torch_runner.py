"""The torch runner against transformers, and against itself under every way of cutting the work."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from paceline.errors import ConfigError
from paceline.llm.model.checkpoint import open_weights
from paceline.llm.model.families import read_config
from paceline.llm.model.linear import Placement
from paceline.llm.model.quantize import Bits, dequantize
from paceline.llm.model.quantize import quantize as quantize_weights
from paceline.llm.torch_runner import TorchRunner
from tests.llm.batches import Appended, row_batch
from tests.llm.folders import FAMILIES, encode, random_weights, tiny_config, write_folder, write_safetensors
from tests.llm.model.oracle import oracle_logits

TOKENS = np.random.default_rng(7).integers(0, 384, 100).tolist()
LLAMA3 = {"rope_type": "llama3", "factor": 4.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
ROPES: list[dict[str, Any]] = [
    {"rope_scaling": {"type": "linear", "factor": 4.0}},
    {"rope_parameters": {"rope_type": "linear", "factor": 2.0, "rope_theta": 5e5}},
    {"rope_parameters": {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 1e4}},
    {"rope_scaling": LLAMA3 | {"original_max_position_embeddings": 64}, "rope_theta": 5e5},
    {"rope_parameters": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64, "rope_theta": 1e4}},
    {"rope_scaling": {"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 128, "beta_fast": 16}},
    {"rope_parameters": {"rope_type": "yarn", "factor": 4.0, "mscale": 0.7, "mscale_all_dim": 0.4, "rope_theta": 1e4,
                         "original_max_position_embeddings": 64, "truncate": False}},
]  # fmt: skip
VARIANTS: list[tuple[str, dict[str, Any]]] = [
    *((family, {}) for family in FAMILIES),
    ("llama", {"attention_bias": True}),
    ("llama", {"num_key_value_heads": 4, "tie_word_embeddings": True}),
    ("mistral", {"sliding_window": None, "head_dim": 32}),
    ("qwen2", {"use_sliding_window": True, "sliding_window": 20, "max_window_layers": 0}),
    ("qwen3", {"attention_bias": True, "tie_word_embeddings": False}),
    *(("llama", rope) for rope in ROPES),
]


def open_runner(folder: Path, *, num_blocks: int = 64, **options: Any) -> TorchRunner:
    config = read_config(folder)
    return TorchRunner(open_weights(folder, config), config, num_blocks=num_blocks, device="cpu", **options)


def run_chunks(runner: TorchRunner, tokens: list[int], sizes: list[int], blocks: list[int]) -> NDArray[np.float32]:
    """Logits of every token when they are fed in chunks of ``sizes``."""
    parts, done = [], 0
    for size in sizes:
        chunk = Appended(tokens[done : done + size], done, blocks)
        parts.append(runner.forward(row_batch([chunk])).copy())
        done += size
    return np.concatenate(parts)


@pytest.mark.parametrize(("family", "overrides"), VARIANTS)
def test_logits_equal_transformers(tmp_path: Path, family: str, overrides: dict[str, Any]) -> None:
    folder = write_folder(tmp_path, family, **overrides)
    expected = oracle_logits(folder, TOKENS)
    logits = open_runner(folder).forward(row_batch([Appended(TOKENS, 0, range(9, 16))]))
    assert np.abs(logits - expected).max() < 1e-4
    assert (logits.argmax(-1) == expected.argmax(-1)).all()


@pytest.mark.parametrize("family", FAMILIES)
def test_chunks_and_scattered_blocks_change_nothing(tmp_path: Path, family: str) -> None:
    runner = open_runner(write_folder(tmp_path, family))
    whole = runner.forward(row_batch([Appended(TOKENS, 0, range(7))])).copy()
    cut = run_chunks(runner, TOKENS, [1, 3, 20, 1, 7, 40, 16, 12], [63, 17, 40, 8, 30, 22, 51])
    assert np.abs(whole - cut).max() < 1e-4
    assert (whole.argmax(-1) == cut.argmax(-1)).all()


@pytest.mark.parametrize("family", ["mistral", "qwen3"])
def test_batch_and_order_change_nothing(tmp_path: Path, family: str) -> None:
    """Prefill, decode and verification rows of several sequences share a batch in two orders."""
    runner = open_runner(write_folder(tmp_path, family))
    rng = np.random.default_rng(3)
    cached = [0, 5, 31, 70, 3, 64]
    counts = [40, 1, 1, 3, 3, 1]
    tokens = [rng.integers(0, 384, a + b).tolist() for a, b in zip(cached, counts, strict=True)]
    tables = [list(range(i * 8, i * 8 + 8)) for i in range(len(cached))]
    alone = []
    for text, before, table in zip(tokens, cached, tables, strict=True):
        sizes = [before, len(text) - before] if before else [len(text)]
        alone.append(run_chunks(runner, text, sizes, table)[before:])
    for order in ([0, 1, 2, 3, 4, 5], [3, 5, 0, 4, 2, 1]):
        seqs = [Appended(tokens[i][cached[i] :], cached[i], tables[i]) for i in order]
        together = runner.forward(row_batch(seqs))
        expected = np.concatenate([alone[i] for i in order])
        assert np.abs(together - expected).max() < 1e-4
        assert (together.argmax(-1) == expected.argmax(-1)).all()


@pytest.mark.parametrize("family", ["mistral", "qwen3"])
def test_tree_rows_equal_their_paths(tmp_path: Path, family: str) -> None:
    """Every node of a verified tree gets the logits of a plain chain from the root to it."""
    runner = open_runner(write_folder(tmp_path, family))
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
        assert np.abs(tree[row] - alone[-1]).max() < 1e-4


def test_move_makes_a_path_contiguous(tmp_path: Path) -> None:
    """After the accepted nodes are moved, decoding continues as if the path had been a chain; moves may overlap."""
    runner = open_runner(write_folder(tmp_path, "qwen3"))
    prompt, nodes, parents = TOKENS[:14], [5, 6, 7, 8], [-1, 0, 0, 2]
    runner.forward(row_batch([Appended(prompt, 0, [3, 9])]))
    runner.forward(row_batch([Appended(nodes, 14, [3, 9], parents)]))
    slots = np.array([3 * 16 + p if p < 16 else 9 * 16 + p - 16 for p in range(20)], np.int32)
    runner.move(slots[[16, 17]], slots[[15, 16]])  # nodes 2 and 3 close up behind node 0
    after = runner.forward(row_batch([Appended([99], 17, [3, 9])])).copy()
    chain = run_chunks(runner, [*prompt, 5, 7, 8, 99], [18], [20, 21])
    assert np.abs(after[0] - chain[-1]).max() < 1e-4


def test_a_broken_sequence_breaks_only_itself(tmp_path: Path) -> None:
    """A token whose embedding is NaN: its own logits are NaN, and blocks it used serve others afterwards."""
    folder = write_folder(tmp_path, "llama")
    config = tiny_config("llama")
    tensors = random_weights(config)
    tensors["model.embed_tokens.weight"][383] = np.nan
    write_safetensors(folder / "model.safetensors", {name: encode(a, "float32") for name, a in tensors.items()})
    runner = open_runner(folder, num_blocks=8)
    good, bad = Appended(TOKENS[:20], 0, [1, 2]), Appended([383] * 20, 0, [3, 4])
    expected = runner.forward(row_batch([good])).copy()
    both = runner.forward(row_batch([bad, good]))
    assert np.isnan(both[:20]).all()
    assert np.abs(both[20:] - expected).max() < 1e-4
    reused = Appended(TOKENS[:20], 0, [3, 4])
    assert np.abs(runner.forward(row_batch([reused])) - expected).max() < 1e-4
    assert np.isfinite(runner.forward(row_batch([Appended([5], 20, [1, 2]), Appended([6], 4, [3])]))).all()


@pytest.mark.parametrize("family", ["llama", "qwen2"])
def test_packed_bfloat16_equals_plain(tmp_path: Path, family: str) -> None:
    """The packed weights of a bfloat16 model agree with the same weights computed in float32, within rounding."""
    import dataclasses

    folder = write_folder(tmp_path, family, "bfloat16", attention_bias=family == "llama")
    config = read_config(folder)
    exact = TorchRunner(
        open_weights(folder, config), dataclasses.replace(config, dtype="float32"), num_blocks=16, device="cpu"
    )
    fast = open_runner(folder)
    batch = row_batch([Appended(TOKENS[:50], 0, range(4)), Appended(TOKENS[50:53], 0, [4])])
    expected, logits = exact.forward(batch), fast.forward(batch)
    assert fast.weights_bytes < exact.weights_bytes
    assert np.abs(logits - expected).max() < 0.35
    assert np.sqrt(np.mean((logits - expected) ** 2)) < 0.06


@pytest.mark.parametrize(("quantize", "error"), [("int8", 0.03), ("int4", 0.5)])
def test_quantised_weights_stay_near(tmp_path: Path, quantize: str, error: float) -> None:
    folder = write_folder(tmp_path, "qwen2", hidden_size=80, num_attention_heads=5, num_key_value_heads=1)
    batch = row_batch([Appended(TOKENS, 0, range(7))])
    plain, small = open_runner(folder), open_runner(folder, quantize=quantize)
    expected, logits = plain.forward(batch), small.forward(batch)
    assert np.sqrt(np.mean((logits - expected) ** 2) / np.mean(expected**2)) < error
    assert small.weights_bytes < 0.6 * plain.weights_bytes


def test_quantised_weights_are_what_the_format_says(tmp_path: Path) -> None:
    """A linear of levels and scales equals one of the dequantised matrix."""
    folder = write_folder(tmp_path, "llama", "bfloat16")
    weights = open_weights(folder, read_config(folder))
    x = torch.randn(3, 64, generator=torch.Generator().manual_seed(0))
    for bits in get_args(Bits):
        placement = Placement(torch.device("cpu"), torch.float32, bits)
        matrix = placement.load(weights.layers[0].q)
        expected = x @ torch.from_numpy(dequantize(quantize_weights(matrix.numpy(), bits), 64)).T
        assert torch.allclose(placement.linear((weights.layers[0].q,))(x), expected, atol=1e-5)


def test_float16_loads_and_agrees(tmp_path: Path) -> None:
    folder = write_folder(tmp_path, "qwen3", "float16")
    logits = open_runner(folder).forward(row_batch([Appended(TOKENS[:30], 0, range(2))]))
    expected = oracle_logits(folder, TOKENS[:30])
    assert np.abs(logits - expected).max() < 0.05


def test_only_the_rows_asked_for_get_logits(tmp_path: Path) -> None:
    runner = open_runner(write_folder(tmp_path, "llama"))
    everything = runner.forward(row_batch([Appended(TOKENS[:20], 0, range(2))])).copy()
    some = runner.forward(row_batch([Appended(TOKENS[:20], 0, range(2))], logit_rows=[4, 19]))
    assert some.shape == (2, 384)
    assert np.abs(some - everything[[4, 19]]).max() < 1e-5


def test_a_gpu_that_is_not_there_is_a_config_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    folder = write_folder(tmp_path, "llama")
    config = read_config(folder)
    with pytest.raises(ConfigError, match="no GPU"):
        TorchRunner(open_weights(folder, config), config, num_blocks=4, device="cuda")


def test_loading_warns_of_nothing(tmp_path: Path) -> None:
    """Read-only maps must not reach torch, which warns of them."""
    folder = write_folder(tmp_path, "qwen2", "bfloat16", shards=2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        runner = open_runner(folder)
    assert runner.kv_bytes == read_config(folder).kv_bytes_per_token(2) * 16 * 65
    runner.close()


@pytest.mark.parametrize("family", ["llama", "qwen3"])
def test_hidden_states_are_what_the_head_reads(tmp_path: Path, family: str) -> None:
    folder = write_folder(tmp_path, family)
    runner = open_runner(folder)
    batch = row_batch([Appended(TOKENS[:20], 0, range(2))], logit_rows=[4, 19])
    plain = runner.forward(batch).copy()
    assert runner.hidden.shape == (0, 64)
    runner.wants_hidden = True
    logits = runner.forward(batch)
    assert (plain == logits).all()
    weights = open_weights(folder, read_config(folder))
    assert np.abs(runner.hidden @ (weights.head or weights.embed).data.T - logits).max() < 1e-4
