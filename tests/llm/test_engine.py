"""The engine as its users call it, on a tiny random model, by every runner that runs here."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from paceline.errors import ConfigError, ExecutionError, InvalidRequest, ModelError, ResourceError
from paceline.llm import native
from paceline.llm.engine import Completion, Engine
from paceline.llm.request import Grammar, SamplingParams
from tests.llm.folders import write_folder

RUNNERS = [
    pytest.param("native", marks=pytest.mark.skipif(native.obstacle() is not None, reason=str(native.obstacle()))),
    "torch",
]
PROMPTS = [[5 + (7 * i + j * j) % 300 for j in range(length)] for i, length in enumerate((3, 40, 17, 64, 33, 90))]
GREEDY = SamplingParams(temperature=0.0, max_tokens=24, ignore_eos=True)
SAMPLED = SamplingParams(temperature=1.0, max_tokens=24, ignore_eos=True, seed=7)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folder(tmp_path_factory.mktemp("model"), "qwen3")


def make(folder: Path, runner: str, **options: Any) -> Engine:
    return Engine(str(folder), **{"runner": runner, "num_blocks": 256, "threads": 1, **options})


@pytest.fixture(params=RUNNERS)
def runner(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def engine(folder: Path, runner: str) -> Iterator[Engine]:
    with make(folder, runner) as engine:
        yield engine
        assert engine.stats().num_leaked_blocks == 0


def tokens(completions: list[Completion]) -> list[tuple[int, ...]]:
    return [completion.token_ids for completion in completions]


@pytest.fixture(scope="module")
def alone(folder: Path) -> dict[tuple[str, str], list[tuple[int, ...]]]:
    """What every prompt gives by itself: one at a time, whole prompts, nothing cached."""
    found = {}
    for name in ("native", "torch"):
        if name == "native" and native.obstacle() is not None:
            continue
        with make(folder, name, prefix_caching=False) as engine:
            for kind, params in (("greedy", GREEDY), ("sampled", SAMPLED)):
                found[name, kind] = [tokens(engine.generate([prompt], params))[0] for prompt in PROMPTS]
    return found


@pytest.mark.parametrize("kind", ["greedy", "sampled"])
@pytest.mark.parametrize(
    "options",
    [
        pytest.param({}, id="batch"),
        pytest.param({"max_batched_tokens": 16, "max_num_seqs": 4}, id="small chunks"),
        pytest.param({"max_batched_tokens": 23, "max_num_seqs": 2}, id="odd chunks"),
        pytest.param({"num_blocks": 9, "speculation": "off"}, id="preemption"),  # drafts end requests too soon
        pytest.param({"prefix_caching": False}, id="no cache"),
    ],
)
def test_answer_depends_on_its_request_alone(
    folder: Path, runner: str, kind: str, options: dict[str, Any], alone: dict[tuple[str, str], list[tuple[int, ...]]]
) -> None:
    params = GREEDY if kind == "greedy" else SAMPLED
    expected = alone[runner, kind]
    with make(folder, runner, **options) as engine:
        assert tokens(engine.generate(PROMPTS, params)) == expected
        assert tokens(engine.generate(PROMPTS[::-1], params)) == expected[::-1]
        stats = engine.stats()
    assert bool(stats.num_prefix_hits) == (options.get("prefix_caching", True))
    assert bool(stats.num_preemptions) == ("num_blocks" in options)


def test_sixteen_requests_in_eight_blocks(folder: Path, runner: str) -> None:
    prompts = [[10 + i, *range(20, 40)] for i in range(16)]
    params = SamplingParams(temperature=0.0, max_tokens=60, ignore_eos=True)
    with make(folder, runner) as roomy:
        expected = tokens(roomy.generate(prompts, params))
    with make(folder, runner, num_blocks=8) as tight:
        assert tokens(tight.generate(prompts, params)) == expected
        assert tight.stats().num_preemptions > 0
        assert tight.stats().num_leaked_blocks == 0


def test_text_is_the_decoded_tokens(engine: Engine) -> None:
    [completion] = engine.generate(["hello the world"], GREEDY)
    assert completion.text == engine.tokenizer.decode(completion.token_ids)
    assert completion.finish_reason == "length"


def test_stream_gives_what_generate_gives(engine: Engine) -> None:
    [whole] = engine.generate([PROMPTS[1]], SAMPLED)
    deltas = list(engine.stream(PROMPTS[1], SAMPLED))
    assert "".join(delta.text for delta in deltas) == whole.text
    assert tuple(token for delta in deltas for token in delta.token_ids) == whole.token_ids
    assert [delta.finish_reason for delta in deltas[:-1]] == [None] * (len(deltas) - 1)


def test_closing_a_stream_aborts_it(engine: Engine) -> None:
    stream = engine.stream(PROMPTS[1], SamplingParams(max_tokens=400, ignore_eos=True))
    next(stream)
    assert engine.stats().num_blocks_used > 0
    stream.close()
    assert engine.stats().num_blocks_used == 0


def test_stream_that_nobody_reads_is_aborted_when_dropped(engine: Engine) -> None:
    engine.stream(PROMPTS[1], SamplingParams(max_tokens=400, ignore_eos=True))
    engine.generate([PROMPTS[0]], GREEDY)
    stats = engine.stats()
    assert (stats.num_running, stats.num_waiting, stats.num_blocks_used) == (0, 0, 0)


def test_a_request_that_fails_leaves_no_others_behind(engine: Engine) -> None:
    nothing_allowed = SamplingParams(grammar=Grammar("choice", '["a"]'), bad_words=("a",))
    with pytest.raises(ExecutionError, match="allow no token"):
        engine.generate(PROMPTS[:2], [nothing_allowed, SamplingParams(max_tokens=400, ignore_eos=True)])
    stats = engine.stats()
    assert (stats.num_running, stats.num_waiting, stats.num_blocks_used) == (0, 0, 0)


def test_samples_differ_and_repeat(engine: Engine) -> None:
    params = SamplingParams(n=4, seed=3, max_tokens=12, ignore_eos=True)
    [first], [second] = engine.generate([PROMPTS[1]], params), engine.generate([PROMPTS[1]], params)
    assert [sample.token_ids for sample in first.samples] == [sample.token_ids for sample in second.samples]
    assert len({sample.token_ids for sample in first.samples}) == 4


def test_without_a_seed_samples_vary(engine: Engine) -> None:
    params = SamplingParams(max_tokens=12, ignore_eos=True)
    assert len({engine.generate([PROMPTS[1]], params)[0].token_ids for _ in range(3)}) == 3


def test_eos_ends_a_text_unless_ignored(engine: Engine) -> None:
    to_eos = SamplingParams(temperature=0.0, max_tokens=20, logit_bias={2: 100.0})
    [completion] = engine.generate([PROMPTS[0]], to_eos)
    assert (completion.finish_reason, completion.token_ids, completion.text) == ("stop", (2,), "")


def test_min_tokens_holds_eos_back(engine: Engine) -> None:
    params = SamplingParams(temperature=0.0, max_tokens=20, min_tokens=5, logit_bias={2: 100.0})
    [completion] = engine.generate([PROMPTS[0]], params)
    assert len(completion.token_ids) == 6
    assert completion.token_ids[-1] == 2


def test_stop_token_is_named(engine: Engine) -> None:
    params = SamplingParams(temperature=0.0, max_tokens=20, stop_token_ids=(9,), logit_bias={9: 100.0})
    [completion] = engine.generate([PROMPTS[0]], params)
    assert completion.samples[0].stop_reason == 9


def test_stop_string_cuts_the_text(engine: Engine) -> None:
    [free] = engine.generate([PROMPTS[1]], GREEDY)
    stop = next(free.text[i : i + 3] for i in range(4, len(free.text) - 3) if free.text[i : i + 3].isascii())
    [cut] = engine.generate([PROMPTS[1]], SamplingParams(temperature=0.0, max_tokens=24, ignore_eos=True, stop=(stop,)))
    assert cut.text == free.text[: free.text.index(stop)]
    assert (cut.finish_reason, cut.samples[0].stop_reason) == ("stop", stop)


def test_logprobs_are_of_the_chosen_and_the_best(engine: Engine) -> None:
    [completion] = engine.generate(
        [PROMPTS[1]], SamplingParams(temperature=0.0, max_tokens=5, logprobs=3, ignore_eos=True)
    )
    logprobs = completion.samples[0].logprobs
    assert len(logprobs) == 5
    for token, item in zip(completion.token_ids, logprobs, strict=True):
        assert item.token_id == token == item.top[0][0]
        assert len(item.top) == 3
        assert item.logprob == pytest.approx(item.top[0][1])
        assert [value for _, value in item.top] == sorted((value for _, value in item.top), reverse=True)


@pytest.mark.parametrize("chunk", [512, 16])
def test_prompt_logprobs_agree_with_generation(folder: Path, runner: str, chunk: int) -> None:
    with make(folder, runner, max_batched_tokens=chunk, max_num_seqs=1) as engine:
        params = SamplingParams(temperature=0.0, max_tokens=8, logprobs=0, ignore_eos=True)
        [first] = engine.generate([PROMPTS[1]], params)
        whole = [*PROMPTS[1], *first.token_ids]
        [again] = engine.generate([whole], SamplingParams(temperature=0.0, max_tokens=1, prompt_logprobs=2))
    assert len(again.prompt_logprobs) == len(whole)
    assert again.prompt_logprobs[0] is None
    scored = [item for item in again.prompt_logprobs[-8:] if item is not None]
    assert [item.token_id for item in scored] == list(first.token_ids)
    assert [item.logprob for item in scored] == pytest.approx(
        [item.logprob for item in first.samples[0].logprobs], abs=1e-5
    )


def test_choice_grammar_gives_one_of_the_choices(engine: Engine) -> None:
    grammar = Grammar("choice", json.dumps(["hello", "world"]))
    for seed in range(4):
        [completion] = engine.generate([PROMPTS[0]], SamplingParams(seed=seed, max_tokens=20, grammar=grammar))
        assert completion.text in ("hello", "world")
        assert completion.finish_reason == "stop"


def test_json_schema_gives_valid_json(engine: Engine) -> None:
    schema = {"type": "object", "properties": {"a": {"type": "integer", "maximum": 99}}, "required": ["a"],
              "additionalProperties": False}  # fmt: skip
    params = SamplingParams(seed=1, max_tokens=60, grammar=Grammar("json_schema", json.dumps(schema)))
    [completion] = engine.generate([PROMPTS[0]], params)
    assert set(json.loads(completion.text)) == {"a"}


def test_broken_grammar_leaves_the_others_alone(engine: Engine) -> None:
    stream = engine.stream(PROMPTS[1], GREEDY)
    first = next(stream)
    with pytest.raises(InvalidRequest):
        engine.generate([PROMPTS[0]], SamplingParams(grammar=Grammar("regex", "(")))
    assert sum(len(delta.token_ids) for delta in (first, *stream)) == 24


def test_chat_uses_the_template(engine: Engine) -> None:
    [completion] = engine.chat([[{"role": "user", "content": "hello"}]], GREEDY)
    assert completion.num_prompt_tokens > len(engine.tokenizer.encode("hello"))


def test_deadline_and_unknown_tokens(engine: Engine) -> None:
    with pytest.raises(InvalidRequest, match="token ids"):
        engine.generate([[1, 10_000]], GREEDY)
    with pytest.raises(InvalidRequest, match="empty"):
        engine.generate([[]], GREEDY)


def test_a_wrong_prompt_among_good_ones_starts_nothing(engine: Engine) -> None:
    with pytest.raises(InvalidRequest):
        engine.generate([PROMPTS[0], [-1]], GREEDY)
    assert engine.stats().num_waiting == 0


def test_threads_share_steps(engine: Engine) -> None:
    expected = tokens(engine.generate(PROMPTS, GREEDY))
    found: dict[int, tuple[int, ...]] = {}

    def ask(index: int) -> None:
        found[index] = engine.generate([PROMPTS[index]], GREEDY)[0].token_ids

    threads = [threading.Thread(target=ask, args=(index,)) for index in range(len(PROMPTS))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [found[index] for index in range(len(PROMPTS))] == expected


def test_closed_engine_says_so(folder: Path, runner: str) -> None:
    engine = make(folder, runner)
    stream = engine.stream(PROMPTS[0], GREEDY)
    engine.close()
    with pytest.raises(ExecutionError, match="closed"):
        next(stream)


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"max_model_len": 10**6}, ConfigError),
        ({"kv_memory": 2**60}, ResourceError),
        ({"kv_memory": 16}, ResourceError),
        ({"runner": "abacus"}, Exception),
    ],
)
def test_wrong_options_are_named(folder: Path, options: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        make(folder, "auto", **({"num_blocks": None} | options))


def test_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="nothing-here"):
        Engine(str(tmp_path / "nothing-here"))
