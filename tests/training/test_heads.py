"""The draft heads' training: what it learns from, and that its file is one the engine reads."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("tokenizers")
pytest.importorskip("safetensors")

from paceline.llm.config import EngineConfig  # noqa: E402
from paceline.llm.draft.heads import FILE, make  # noqa: E402
from paceline.llm.draft.proposer import Context, Setup  # noqa: E402
from paceline.llm.draft.tree import defect  # noqa: E402
from paceline.llm.model.families import read_config  # noqa: E402
from training.language import corpus, evaluate, train_heads  # noqa: E402
from training.language.export import export  # noqa: E402
from training.language.harvest import Target, Text  # noqa: E402
from training.language.heads import DEPTH, Positions, positions, write_heads  # noqa: E402
from training.language.model import ModelConfig, Qwen3  # noqa: E402
from training.language.tokenizer import load_tokenizer  # noqa: E402
from training.language.train import TrainConfig  # noqa: E402

EMBEDDED = Path(__file__).parents[2] / "src/paceline/llm/embedded/target"
TINY = ModelConfig(
    hidden_size=64, num_hidden_layers=1, intermediate_size=64, num_attention_heads=1, num_key_value_heads=1
)
CODE = (np.arange(3000) % 70 + 30).astype(np.uint16)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "target"
    model = Qwen3(TINY)
    model.initialise(0)
    export(folder, model, load_tokenizer(EMBEDDED))
    return folder


def test_what_the_target_writes_it_also_reads(folder: Path) -> None:
    target = Target(folder, threads=1)
    prompts = CODE[:120].reshape(4, 30).astype(np.int32)
    text = target.write(prompts, 45, np.array([0.0, 0.7, 0.0, 1.0], np.float32), seed=1)
    assert (text.ids[:, :30] == prompts).all()
    assert (text.ids[::2, 30:] == text.best[::2, 29:-1]).all(), "greedy"
    assert text.counts.sum(1).tolist() == [15] * 4
    again = target.read(text.ids, text.counts)
    assert (again.best == text.best).all()
    assert np.abs(again.hidden.astype(np.float32) - text.hidden).max() < 2e-2
    longer = target.read(np.tile(prompts[:1], (2, 20)), np.ones((2, 600), np.bool_))
    assert (longer.best[:, :30] == again.best[0, :30]).all()
    target.close()


def test_positions_follow_the_targets_own_words() -> None:
    ids = np.arange(10, dtype=np.int32)[None]
    best = ids + 1  # the target says what stands there …
    best[0, 6] = 99  # … but for one token
    counts = np.ones((1, 10), np.bool_)
    hidden = np.arange(10, dtype=np.float16).reshape(1, 10, 1)
    found = positions(Text(ids, counts, hidden, best))
    assert found.hidden[:, 0].tolist() == [0, 1, 2, 3]
    assert found.tokens[0].tolist() == [1, 2, 3, 4, 5]
    assert found.labels[3].tolist() == [5, 6, 99, 8, 9]
    assert found.weights.tolist() == [[1, 1, 1, 1, 1], [1, 1, 1, 1, 1], [1, 1, 1, 1, 0], [1, 1, 1, 0, 0]]
    counts[0, 5:] = False
    assert positions(Text(ids, counts, hidden, best)).weights.tolist() == [[1, 1, 1, 0, 0], [1, 1, 0, 0, 0], [1, 0, 0, 0, 0]]  # fmt: skip


def test_the_pool_keeps_the_newest() -> None:
    pool = train_heads.Pool(hidden=2, size=5)
    for start in (0, 3, 6):
        tokens = np.arange(start, start + 3, dtype=np.int32)[:, None].repeat(DEPTH, 1)
        pool.add(Positions(np.zeros((3, 2), np.float16), tokens, tokens, np.ones(tokens.shape, np.float32)))
    drawn = pool.draw(np.random.default_rng(0), 200)
    assert pool.num_added == 9
    assert set(drawn.tokens[:, 0].tolist()) == {4, 5, 6, 7, 8}


def test_the_engine_guesses_what_was_trained(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The network in torch and the one in numpy are the same."""
    torch.manual_seed(0)
    monkeypatch.setattr(train_heads, "NUM_CHATS", 1)
    heads = train_heads.begin(folder, corpus.Corpus(load_tokenizer(folder), CODE, seed=0), CODE, [])
    with torch.no_grad():
        heads.out.normal_(std=0.5)
    write_heads(folder, heads)
    assert (folder / FILE).stat().st_size <= 4e6
    made = make(Setup(EngineConfig(model=str(folder)), read_config(folder), folder))
    assert made is not None
    hidden = np.random.default_rng(0).standard_normal(64).astype(np.float32)
    (tree,) = made.propose([Context([1, 40], 1, hidden=hidden)], 4)
    state, token, survival = heads.read(torch.from_numpy(hidden)[None]), torch.tensor([40]), 1.0
    for node in range(len(tree) - 1):
        state, scores = heads.advance(state, token)
        chances = scores.softmax(1)[0, :-1]
        token, survival = heads.followers[token, chances.argmax()], survival * float(chances.max().detach())
        assert tree.tokens[node] == int(token)
        assert tree.survival[node] == pytest.approx(survival, rel=0.02)
    (folder / FILE).unlink()


def test_two_steps_make_a_file_that_loads(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train_heads, "encode_code", lambda tokenizer, held_out: CODE)
    monkeypatch.setattr(train_heads, "table_cases", lambda rows: itertools.islice(evaluate.table_cases(1), 12))
    monkeypatch.setattr(train_heads, "FIRST_ROUNDS", 1)
    monkeypatch.setattr(train_heads, "NUM_CHATS", 1)
    monkeypatch.setattr(train_heads, "WRITTEN", 2)
    monkeypatch.setattr(corpus.Corpus, "batch", small_batch)
    (folder / "README.md").write_text("# A card\n\n## Limits\n\nMany.\n")
    lines: list[str] = []
    for resume in (False, True):
        config = TrainConfig(max_steps=2, warmup_steps=1, peak_rate=1e-3)
        file = tmp_path / "heads.safetensors"
        train_heads.train_heads(folder, file, config, resume=resume, threads=1, log=lines.append)
    assert [line.split(", 'round'")[0] for line in lines] == ["done: {'step': 2", "done: {'step': 4"]
    card = (folder / "README.md").read_text()
    assert card.count("## Draft heads") == 1
    assert card.index("## Draft heads") < card.index("## Limits")
    made = make(Setup(EngineConfig(model=str(folder)), read_config(folder), folder))
    assert made is not None
    state = np.random.default_rng(0).standard_normal(64).astype(np.float32)
    (tree,) = made.propose([Context([1, 40], 1, hidden=state)], 4)
    assert defect(tree, 8192, 4) is None


def small_batch(self: corpus.Corpus, step: int, num_tokens: int) -> corpus.Batch:
    ids = np.random.default_rng(step).integers(30, 100, (2, 64))
    return corpus.Batch(ids, np.ones(ids.shape, np.float32))
