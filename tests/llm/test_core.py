"""The step with a runner that is a few lines of numpy: what goes wrong for one must not touch the others."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from paceline.clock import VirtualClock
from paceline.errors import InvalidRequest
from paceline.llm.config import EngineConfig
from paceline.llm.core import EngineCore
from paceline.llm.loading import make_scheduler, make_speculator
from paceline.llm.messages import ModelInfo
from paceline.llm.model.config import ModelConfig
from paceline.llm.output import OutputFactory
from paceline.llm.request import Delta, Grammar, Request, SamplingParams
from paceline.llm.rows import RowBatch
from paceline.llm.structured import GrammarCompiler
from paceline.llm.tokenizer import Tokenizer
from tests.llm.folders import write_folder

VOCAB = 384
MODEL = ModelConfig(
    family="fake", vocab_size=VOCAB, hidden_size=64, num_layers=1, num_heads=1, num_kv_heads=1, head_dim=64,
    intermediate_size=64, norm_eps=1e-6, max_model_len=256, rope_theta=1e4,
)  # fmt: skip


class CountingRunner:
    """The next token is the last one plus one; ``disturb`` may change the logits or raise."""

    def __init__(self) -> None:
        self.config = MODEL
        self.num_blocks = 64
        self.weights_bytes = self.kv_bytes = 0
        self.disturb: Callable[[RowBatch, NDArray[np.float32]], None] = lambda batch, logits: None

    def forward(self, batch: RowBatch) -> NDArray[np.float32]:
        logits = np.zeros((len(batch.logit_rows), VOCAB), np.float32)
        logits[np.arange(len(logits)), (batch.token_ids[batch.logit_rows] + 1) % VOCAB] = 10.0
        self.disturb(batch, logits)
        return logits

    def move(self, sources: NDArray[np.int32], targets: NDArray[np.int32]) -> None:
        raise AssertionError("nothing moves here")

    def close(self) -> None:
        pass


class Bench:
    def __init__(self, folder: Path) -> None:
        self.runner = CountingRunner()
        self.clock = VirtualClock()
        config = EngineConfig(model="fake", max_num_seqs=8, max_batched_tokens=64, speculation="off")
        tokenizer = Tokenizer.from_folder(folder)
        outputs = OutputFactory(tokenizer, GrammarCompiler(tokenizer, VOCAB, (2,)), VOCAB, (2,))
        info = ModelInfo(
            name="fake", folder="", family="fake", runner="fake", dtype="float32", quantize=None, max_model_len=256,
            vocab_size=VOCAB, num_blocks=64, weights_bytes=0, kv_bytes=0,
        )  # fmt: skip
        scheduler = make_scheduler(config, MODEL, 64)
        speculator = make_speculator(config, MODEL, folder, scheduler, self.clock)
        self.core = EngineCore(info, self.runner, scheduler, outputs, speculator, self.clock)
        self.deltas: list[Delta] = []

    def submit(self, name: str, first: int = 10, timeout_s: float | None = None, **params: object) -> None:
        sampling = SamplingParams(**{"temperature": 0.0, "max_tokens": 5, **params})
        prompt = tuple(range(first, first + 6))
        self.core.submit(Request(request_id=name, prompt=prompt, params=sampling, timeout_s=timeout_s))

    def step(self) -> None:
        self.clock.advance(1000)
        self.deltas += self.core.step()

    def run(self) -> None:
        while not self.core.idle:
            self.step()
        assert self.core.stats().num_leaked_blocks == 0

    def tokens(self, name: str) -> list[int]:
        return [token for delta in self.deltas if delta.request_id == name for token in delta.token_ids]

    def end(self, name: str) -> Delta:
        [last] = [delta for delta in self.deltas if delta.request_id == name and delta.finish_reason]
        return last


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(write_folder(tmp_path, "qwen3"))


def test_counts(bench: Bench) -> None:
    bench.submit("a", 10)
    bench.submit("b", 50)
    bench.run()
    assert bench.tokens("a") == [16, 17, 18, 19, 20]
    assert bench.tokens("b") == [56, 57, 58, 59, 60]
    stats = bench.core.stats()
    assert (stats.num_prompt_tokens, stats.num_generation_tokens, stats.num_steps) == (12, 10, 5)
    assert stats.num_rows == 12 + 8
    assert stats.step_time_s == 0  # virtual time stands still inside a step


def test_row_of_nan_fails_its_request_alone(bench: Bench) -> None:
    bench.submit("good", 10)
    bench.submit("bad", 50)

    def spoil(batch: RowBatch, logits: NDArray[np.float32]) -> None:
        logits[batch.token_ids[batch.logit_rows] == 57] = np.nan

    bench.runner.disturb = spoil
    bench.run()
    assert bench.tokens("good") == [16, 17, 18, 19, 20]
    assert bench.tokens("bad") == [56, 57]
    assert bench.end("bad").finish_reason == "error"
    assert "not a number" in (bench.end("bad").error or "")
    assert bench.core.stats().num_failed_rows == 1


def test_step_that_the_device_refuses_ends_its_sequences_and_no_others(bench: Bench) -> None:
    def refuse(batch: RowBatch, logits: NDArray[np.float32]) -> None:
        raise MemoryError("at 0xdeadbeef")

    bench.submit("a")
    bench.runner.disturb = refuse
    bench.step()
    assert bench.end("a").finish_reason == "error"
    assert "0x" not in (bench.end("a").error or "")
    bench.runner.disturb = lambda batch, logits: None
    bench.submit("b")
    bench.run()
    assert len(bench.tokens("b")) == 5


def test_text_that_raises_fails_its_request_alone(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    from paceline.llm.detokenize import TextStream

    push = TextStream.push

    def broken(self: TextStream, tokens: tuple[int, ...]) -> str:
        if 58 in tokens:
            raise ValueError("boom")
        return push(self, tokens)

    monkeypatch.setattr(TextStream, "push", broken)
    bench.submit("good", 10)
    bench.submit("bad", 50)
    bench.run()
    assert len(bench.tokens("good")) == 5
    assert bench.end("bad").finish_reason == "error"


def test_draw_that_raises_fails_its_request_alone(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    from paceline.llm.sampler import SequenceSampler

    bench.submit("good", 10)
    bench.submit("bad", 50, logit_bias={300: 1.0})

    def broken(self: SequenceSampler, *args: object) -> None:
        raise ValueError("boom")

    monkeypatch.setattr(SequenceSampler, "_adjusted", broken)
    bench.run()
    assert len(bench.tokens("good")) == 5
    assert bench.end("bad").finish_reason == "error"


def test_nothing_allowed_is_an_error_of_that_request(bench: Bench) -> None:
    bench.submit("a", grammar=Grammar("choice", '["é"]'), bad_words=("é",), logit_bias={2: -100.0})
    bench.run()
    assert bench.end("a").finish_reason in ("error", "stop")


def test_late_request_ends_with_its_text(bench: Bench) -> None:
    bench.submit("a", 40, timeout_s=0.0025, max_tokens=100)
    bench.run()
    assert bench.end("a").finish_reason == "deadline"
    assert len(bench.tokens("a")) == 2


def test_aborted_request_says_nothing_more(bench: Bench) -> None:
    bench.submit("a", n=2, max_tokens=50)
    bench.step()
    bench.core.abort("a")
    bench.core.abort("a")
    assert bench.core.idle
    assert bench.core.stats().num_blocks_used == 0


def test_tokens_outside_the_vocabulary_are_refused(bench: Bench) -> None:
    with pytest.raises(InvalidRequest, match="token ids"):
        bench.submit("a", VOCAB - 2)
    assert bench.core.idle


def test_wrong_option_leaves_nothing_behind(bench: Bench) -> None:
    with pytest.raises(InvalidRequest, match="logit_bias"):
        bench.submit("a", logit_bias={VOCAB: 1.0})
    assert bench.core.idle
