"""Many questions in one call: every one answered once, equal beginnings computed once, wrong ones alone."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from paceline.llm.engine import Engine
from paceline.llm.language_model import MAX_DRAWN, EngineLanguageModel, Question, Reply
from paceline.llm.request import SamplingParams
from tests.llm.folders import write_folder

BEGINNING = "hello world the user is in the system and " * 3


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folder(tmp_path_factory.mktemp("model"), "qwen3")


@pytest.fixture(scope="module")
def model(folder: Path) -> Iterator[EngineLanguageModel]:
    model = EngineLanguageModel(str(folder), num_blocks=512, threads=1)
    yield model
    model.close()


def question(user: str, max_tokens: int = 4, *, choices: tuple[str, ...] = (), schema: str = "") -> Question:
    return "", user, max_tokens, choices, schema, 0


def ask(model: EngineLanguageModel, questions: list[Question]) -> dict[int, Reply]:
    replies: dict[int, Reply] = {}

    def done(number: int, reply: Reply) -> None:
        assert number not in replies
        replies[number] = reply

    model.ask(questions, done)
    assert sorted(replies) == list(range(len(questions)))
    return replies


def test_answers_are_those_of_the_engine(folder: Path, model: EngineLanguageModel) -> None:
    users = [f"{BEGINNING[: 40 * (i % 3)]} the {i} world" for i in range(12)]
    with Engine(str(folder), num_blocks=512, threads=1, prefix_caching=False) as engine:
        params = SamplingParams(temperature=0.0, max_tokens=6)
        expected = engine.chat([[{"role": "user", "content": user}] for user in users], params)
    replies = ask(model, [question(user, 6) for user in users])
    for number, completion in enumerate(expected):
        text, error, attempts, prompt_tokens, cached_tokens, output_tokens = replies[number]
        assert (text, error, attempts) == (completion.text, None, 1)
        assert (prompt_tokens, output_tokens) == (completion.num_prompt_tokens, len(completion.token_ids))
        assert 0 <= cached_tokens < prompt_tokens


@pytest.mark.gate
def test_a_beginning_is_computed_once(folder: Path) -> None:
    """Without holding back, all questions would start in one step, before any of them is in the prefix cache."""
    model = EngineLanguageModel(str(folder), num_blocks=512, threads=1, max_batched_tokens=2048)
    replies = ask(model, [question(f"{BEGINNING}{i}") for i in range(8)])
    model.close()
    cached = [replies[number][4] for number in range(8)]
    prompt = replies[0][3]
    assert cached[0] == 0
    assert min(cached[1:]) >= prompt - 32


@pytest.mark.gate
def test_others_do_not_wait_for_a_beginning_that_is_not_theirs(folder: Path) -> None:
    model = EngineLanguageModel(str(folder), num_blocks=512, threads=1, max_batched_tokens=2048)
    heads = ["hello " * 40, "world " * 40]
    order: list[int] = []
    model.ask([question(f"{head}{i}", 1) for head in heads for i in range(3)], lambda number, _: order.append(number))
    model.close()
    assert set(order[:2]) == {0, 3}


def test_more_questions_than_are_drawn_at_a_time(model: EngineLanguageModel) -> None:
    num_drawn = num_done = most = 0

    def questions() -> Iterator[Question]:
        nonlocal num_drawn
        for number in range(MAX_DRAWN + 150):
            num_drawn += 1
            yield question(f"world {number}", 1)

    def done(number: int, reply: Reply) -> None:
        nonlocal num_done, most
        num_done += 1
        most = max(most, num_drawn - num_done)

    model.ask(questions(), done)
    assert num_done == MAX_DRAWN + 150
    assert most <= MAX_DRAWN + 128  # waiting and running


def test_choices_and_schemas(model: EngineLanguageModel) -> None:
    schema = json.dumps({"type": "object", "properties": {"a": {"enum": [1, 2]}}, "required": ["a"],
                         "additionalProperties": False})  # fmt: skip
    replies = ask(model, [question("hello", 20, choices=("good", "bad")), question("hello", 60, schema=schema)])
    assert replies[0][0] in ("good", "bad")
    assert json.loads(replies[1][0] or "")["a"] in (1, 2)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (question("hello " * 3000), "context"),
        (question("x" * 1_000_000), "1000000 characters"),
        (question("hello", 10**6), "max_tokens"),
        (question("hello", 0), "max_tokens"),
        (question("hello", 4, schema='{"type":'), "schema"),
        (question("hello", 1, choices=("a very long label indeed", "another one of these")), "cut at max_tokens = 1"),
        (question("lone \ud800 surrogate"), "surrogate"),
    ],
)
def test_a_wrong_question_fails_alone(model: EngineLanguageModel, wrong: Question, words: str) -> None:
    good = question(f"{BEGINNING}1")
    replies = ask(model, [good, wrong, question(f"{BEGINNING}2")])
    text, error, *_ = replies[1]
    assert text is None
    assert words in (error or "")
    assert replies[0][1] is None
    assert replies[2][1] is None


def test_what_done_raises_ends_the_call(model: EngineLanguageModel) -> None:
    def done(number: int, reply: Reply) -> None:
        raise KeyError(number)

    with pytest.raises(KeyError):
        model.ask([question(f"hello {i}", 20) for i in range(20)], done)
    stats = model._engine.stats()
    assert (stats.num_running, stats.num_waiting) == (0, 0)
    assert ask(model, [question("hello")])[0][1] is None


def test_the_system_text_is_part_of_the_prompt(model: EngineLanguageModel) -> None:
    with_system = ask(model, [("the system", "hello", 4, (), "", 0)])[0]
    assert with_system[3] > ask(model, [question("hello")])[0][3]


def test_names_tell_models_apart(folder: Path, tmp_path: Path, model: EngineLanguageModel) -> None:
    other = EngineLanguageModel(str(write_folder(tmp_path / folder.name, "qwen3", seed=1)), num_blocks=64, threads=1)
    assert other.name != model.name
    assert other.num_tokens("hello world") == model.num_tokens("hello world") > 0
    assert other.num_tokens("lone \ud800") > 0
    other.close()
