"""``/v1/completions``: what clients of the OpenAI API and of vLLM rely on."""

from __future__ import annotations

import json
from typing import Any

import openai
import pytest

from paceline.llm.request import Grammar, Request, SamplingParams
from tests.server.fakes import NAME, Running, continuation


def expected(prompt: str, max_tokens: int, index: int = 0) -> str:
    params = SamplingParams(max_tokens=max_tokens)
    return bytes(continuation(Request(request_id="", prompt=tuple(prompt.encode()), params=params), index)).decode()


def ask(server: Running, **fields: Any) -> dict[str, Any]:
    response = server.post("/v1/completions", {"model": NAME, "prompt": "hello", "max_tokens": 4, **fields})
    assert response.status_code == 200, response.text
    return dict(response.json())


def events(server: Running, path: str = "/v1/completions", **fields: Any) -> list[dict[str, Any]]:
    """The events of a stream that ended well."""
    response = server.post(path, {"model": NAME, "stream": True, "max_tokens": 4, **fields})
    assert response.headers["content-type"].startswith("text/event-stream")
    lines = response.text.strip().split("\n\n")
    assert lines.pop() == "data: [DONE]"
    return [json.loads(line.removeprefix("data: ")) for line in lines]


@pytest.fixture
def client(shared: Running) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{shared.url}/v1", api_key="unused", max_retries=0)


def test_answers_a_prompt_with_its_usage(client: openai.OpenAI) -> None:
    answer = client.completions.create(model=NAME, prompt="hello", max_tokens=5)
    assert answer.choices[0].text == expected("hello", 5)
    assert answer.choices[0].finish_reason == "length"
    assert answer.usage is not None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens, answer.usage.total_tokens) == (5, 5, 10)


def test_counts_cached_tokens(shared: Running) -> None:
    assert ask(shared, prompt="x" * 40)["usage"]["prompt_tokens_details"] == {"cached_tokens": 32}


def test_streams_the_same_text_as_it_answers(client: openai.OpenAI) -> None:
    stream = client.completions.create(
        model=NAME, prompt="hello", max_tokens=8, stream=True, stream_options={"include_usage": True}
    )
    chunks = list(stream)
    assert "".join(chunk.choices[0].text for chunk in chunks if chunk.choices) == expected("hello", 8)
    assert [chunk.usage is None for chunk in chunks] == [True] * 8 + [False]
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens == 8


def test_samples_and_prompts_are_numbered_prompt_by_prompt(shared: Running) -> None:
    choices = ask(shared, prompt=["ab", "cd"], n=2)["choices"]
    assert [choice["index"] for choice in choices] == [0, 1, 2, 3]
    assert [choice["text"] for choice in choices] == [expected(p, 4, i) for p in ("ab", "cd") for i in (0, 1)]


def test_streams_of_several_prompts_hold_every_choice(shared: Running) -> None:
    texts = [""] * 4
    for event in events(shared, prompt=["ab", "cd"], n=2):
        texts[event["choices"][0]["index"]] += event["choices"][0]["text"]
    assert texts == [expected(p, 4, i) for p in ("ab", "cd") for i in (0, 1)]


@pytest.mark.parametrize("prompt", [[104, 101, 108, 108, 111], [[104, 101, 108, 108, 111]], ["hello"]])
def test_prompts_as_tokens_or_lists_mean_the_same(shared: Running, prompt: Any) -> None:
    assert ask(shared, prompt=prompt)["choices"][0]["text"] == expected("hello", 4)


def test_max_tokens_is_16_unless_said(shared: Running) -> None:
    assert ask(shared, max_tokens=None)["usage"]["completion_tokens"] == 16


@pytest.mark.parametrize("stream", [False, True])
def test_echo_puts_the_prompt_first(shared: Running, stream: bool) -> None:
    choices = [e["choices"][0] for e in events(shared, prompt="hello", echo=True)] if stream else None
    text = "".join(c["text"] for c in choices) if choices else ask(shared, echo=True)["choices"][0]["text"]
    assert text == "hello" + expected("hello", 4)


def test_logprobs_name_tokens_and_offsets(shared: Running) -> None:
    logprobs = ask(shared, logprobs=2, max_tokens=2)["choices"][0]["logprobs"]
    tokens = list(expected("hello", 2))
    assert logprobs["tokens"] == tokens
    assert logprobs["token_logprobs"] == [-0.5, -0.5]
    assert logprobs["text_offset"] == [0, 1]
    assert logprobs["top_logprobs"][0] == {"a": -1.0, "b": -2.0} | {tokens[0]: -0.5}


@pytest.mark.parametrize("stream", [False, True])
def test_echo_with_logprobs_scores_the_prompt(shared: Running, stream: bool) -> None:
    fields = {"prompt": "hello", "echo": True, "logprobs": 1, "max_tokens": 1}
    parts = [e["choices"][0] for e in events(shared, **fields)] if stream else ask(shared, **fields)["choices"]
    assert "".join(part["text"] for part in parts) == "hello" + expected("hello", 1)
    logprobs = {name: [item for part in parts for item in part["logprobs"][name]] for name in parts[0]["logprobs"]}
    assert logprobs["tokens"] == list("hello") + list(expected("hello", 1))
    assert logprobs["token_logprobs"] == [None, -2.0, -2.0, -2.0, -2.0, -0.5]
    assert logprobs["text_offset"] == [0, 1, 2, 3, 4, 5]


def test_echo_of_no_new_tokens_scores_only_the_prompt(shared: Running) -> None:
    choice = ask(shared, echo=True, logprobs=0, max_tokens=0)["choices"][0]
    assert (choice["text"], choice["finish_reason"]) == ("hello", "length")
    assert choice["logprobs"]["tokens"] == list("hello")


def test_prompt_logprobs_are_by_token_id(shared: Running) -> None:
    scores = ask(shared, prompt="hi", prompt_logprobs=0)["choices"][0]["prompt_logprobs"]
    assert scores == [None, {"105": {"logprob": -2.0, "decoded_token": "i"}}]


def test_every_sampling_field_reaches_the_engine(shared: Running) -> None:
    ask(
        shared, temperature=0.5, top_p=0.9, top_k=-1, min_p=0.1, presence_penalty=1.0, frequency_penalty=-1.0,
        repetition_penalty=1.2, logit_bias={"65": -100, "66": 5}, seed=7, stop=["a", "b"], min_tokens=2, ignore_eos=True,
        bad_words=["no"], stop_token_ids=[3], include_stop_str_in_output=True, cache_salt="s", timeout=9.0, user="u",
    )  # fmt: skip
    request = shared.engine.requests[-1]
    assert request.params == SamplingParams(
        max_tokens=4, temperature=0.5, top_p=0.9, top_k=0, min_p=0.1, presence_penalty=1.0, frequency_penalty=-1.0,
        repetition_penalty=1.2, logit_bias={65: -100.0, 66: 5.0}, seed=7, stop=("a", "b"), min_tokens=2, ignore_eos=True,
        bad_words=("no",), stop_token_ids=(3,), include_stop=True,
    )  # fmt: skip
    assert (request.timeout_s, request.cache_salt) == (9.0, "s")


GRAMMARS: list[tuple[dict[str, Any], Grammar]] = [
    ({"guided_json": {"type": "object"}}, Grammar("json_schema", '{"type":"object"}')),
    ({"guided_json": '{"type": "object"}'}, Grammar("json_schema", '{"type":"object"}')),
    ({"guided_regex": "[ab]+"}, Grammar("regex", "[ab]+")),
    ({"guided_choice": ["yes", "no"]}, Grammar("choice", '["yes","no"]')),
    ({"structured_outputs": {"choice": ["yes"]}}, Grammar("choice", '["yes"]')),
    ({"structured_outputs": {"json": {"type": "string"}}}, Grammar("json_schema", '{"type":"string"}')),
    ({"structured_outputs": {"json_object": True}}, Grammar("json_object")),
    ({"response_format": {"type": "json_object"}}, Grammar("json_object")),
    (
        {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "null"}}}},
        Grammar("json_schema", '{"type":"null"}'),
    ),
]


@pytest.mark.parametrize(("fields", "grammar"), GRAMMARS)
def test_every_spelling_of_a_constraint_is_understood(shared: Running, fields: Any, grammar: Grammar) -> None:
    ask(shared, **fields)
    assert shared.engine.requests[-1].params.grammar == grammar


def test_plain_text_is_no_constraint(shared: Running) -> None:
    ask(shared, response_format={"type": "text"})
    assert shared.engine.requests[-1].params.grammar is None


def test_characters_are_never_split(server: Running) -> None:
    server.engine.reply = "añ🙂字"
    texts = [event["choices"][0]["text"] for event in events(server, prompt="x")]
    assert texts == ["a", "ñ", "🙂", "字"]


def test_half_a_character_is_spelled_in_bytes(server: Running) -> None:
    server.engine.reply = "ñ"
    logprobs = ask(server, logprobs=0)["choices"][0]["logprobs"]
    assert logprobs["tokens"] == ["bytes:\\xc3", "bytes:\\xb1"]


def test_fields_that_change_nothing_are_ignored(shared: Running) -> None:
    ask(shared, suffix=None, store=True, metadata={"a": "b"}, service_tier="auto", best_of=1, unheard_of=[1])
