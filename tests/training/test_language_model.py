"""The tokenizer, the network and the folders that the package ships."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("tokenizers")
pytest.importorskip("safetensors")

from training.language import corpus, tables  # noqa: E402
from training.language.export import export, load  # noqa: E402
from training.language.model import DRAFT, TARGET, ModelConfig, Qwen3  # noqa: E402
from training.language.tokenizer import END, END_OF_TEXT, START, load_tokenizer, train_tokenizer  # noqa: E402
from training.language.train import TrainConfig, train  # noqa: E402

EMBEDDED = Path(__file__).parents[2] / "src/paceline/llm/embedded"
FOLDERS = [EMBEDDED / "target", EMBEDDED / "draft"]
CODE = np.arange(3000, dtype=np.uint16)
TINY = ModelConfig(
    hidden_size=64, num_hidden_layers=1, intermediate_size=64, num_attention_heads=1, num_key_value_heads=1
)


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
@pytest.mark.parametrize(
    "text",
    ["Hello, world! 1234.5", "def f(x):\n\treturn  x\r\n", "naïve – 東京 🚲\n\n", '{"price": 49, "ok": true}', " ", ""],
)
def test_tokenizer_round_trip(folder: Path, text: str) -> None:
    tokenizer = load_tokenizer(folder)
    assert tokenizer.decode(tokenizer.encode(text).ids) == text


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_specials_are_single_tokens(folder: Path) -> None:
    tokenizer = load_tokenizer(folder)
    assert tokenizer.get_vocab_size() == 8192
    assert [tokenizer.encode(text).ids for text in (END_OF_TEXT, START, END)] == [[0], [1], [2]]
    assert len(tokenizer.encode("2024").ids) == 4, "each digit is a token"


@pytest.mark.parametrize(("folder", "config", "most"), [(FOLDERS[0], TARGET, 7e6), (FOLDERS[1], DRAFT, 1.5e6)])
def test_folder_loads(folder: Path, config: ModelConfig, most: float) -> None:
    model = load(folder)
    assert model.config == config
    assert sum(parameter.numel() for parameter in model.parameters()) <= most
    assert all(bool(parameter.isfinite().all()) for parameter in model.parameters())


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_folder_stops_at_the_end_of_a_turn(folder: Path) -> None:
    generation = json.loads((folder / "generation_config.json").read_text())
    assert generation["eos_token_id"] == [2, 0]
    template = json.loads((folder / "tokenizer_config.json").read_text())["chat_template"]
    jinja2 = pytest.importorskip("jinja2")
    messages = [{"role": "system", "content": tables.SYSTEM}, {"role": "user", "content": "hello"}]
    text = jinja2.Template(template).render(messages=messages, add_generation_prompt=True)
    assert text == tables.chat("hello")


def test_both_models_read_the_same_tokens() -> None:
    assert (FOLDERS[0] / "tokenizer.json").read_bytes() == (FOLDERS[1] / "tokenizer.json").read_bytes()


def test_weights_stay_small() -> None:
    files = list(EMBEDDED.rglob("*.safetensors"))
    assert {file.name for file in files} <= {"model.safetensors", "draft_heads.safetensors"}
    assert sum(file.stat().st_size for file in files) <= 30 * 2**20


def test_a_reply_is_learned_and_a_prompt_only_partly() -> None:
    text = corpus.Corpus(load_tokenizer(FOLDERS[0]), CODE, seed=0)
    batch, again = text.batch(3, 4096), text.batch(3, 4096)
    assert np.array_equal(batch.ids, again.ids)
    assert np.array_equal(batch.weights, again.weights)
    assert batch.ids.shape == batch.weights.shape == (16, 256)
    assert set(np.unique(batch.weights)) == {0.0, corpus.PROMPT_WEIGHT, 1.0, corpus.ANSWER_WEIGHT}
    assert text.batch(15, 4096).ids.shape[1] in (1024, 2048)


def test_a_future_token_changes_nothing() -> None:
    model = Qwen3(TINY)
    model.initialise(0)
    ids = torch.arange(12).view(1, 12)
    changed = ids.clone()
    changed[0, 8] = 99
    with torch.inference_mode():
        torch.testing.assert_close(model.hidden(ids)[:, :8], model.hidden(changed)[:, :8])


def test_training_resumes_and_exports(tmp_path: Path) -> None:
    tokenizer = load_tokenizer(FOLDERS[0])
    config = TrainConfig(max_steps=1, num_tokens=256, warmup_steps=1)
    texts, file = corpus.Corpus(tokenizer, CODE, seed=0), tmp_path / "tiny.safetensors"
    model, lines = Qwen3(TINY), list[str]()
    model.initialise(0)
    train(model, texts, config, file, resume=False, log=lines.append)
    other = Qwen3(TINY)
    train(other, texts, config, file, resume=True, teacher=model, log=lines.append)
    assert [line.split("done on ")[1] for line in lines] == [
        "cpu: {'step': 1, 'num_tokens': 256}",
        "cpu: {'step': 2, 'num_tokens': 512}",
    ]
    export(tmp_path / "out", other, tokenizer)
    for ours, theirs in zip(load(tmp_path / "out").parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs.detach(), rtol=1e-2, atol=1e-2)


def test_a_tokenizer_can_be_trained() -> None:
    tokenizer = train_tokenizer(["the cat and the hat"] * 4, vocab_size=300)
    assert tokenizer.decode(tokenizer.encode("the hat é").ids) == "the hat é"
