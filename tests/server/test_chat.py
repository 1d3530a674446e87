"""``/v1/chat/completions``: conversations, tools and structured answers, asked with the openai client."""

from __future__ import annotations

import json
from typing import Any

import openai
import pytest

from tests.server.fakes import NAME, Running
from tests.server.test_completions import events, expected

HELLO = [{"role": "user", "content": "hi"}]
PROMPT = "user: hi\nassistant: "
WEATHER = {
    "type": "function",
    "function": {"name": "weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}},
}
CALL = '<tool_call>\n{"name": "weather", "arguments": {"city": "Ulm"}}\n</tool_call>'


def client(server: Running) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{server.url}/v1", api_key="unused", max_retries=0)


def ask(server: Running, **fields: Any) -> Any:
    return client(server).chat.completions.create(**{"model": NAME, "messages": HELLO, "max_tokens": 6, **fields})


def test_answers_a_conversation(shared: Running) -> None:
    answer = ask(shared)
    assert answer.choices[0].message.role == "assistant"
    assert answer.choices[0].message.content == expected(PROMPT, 6)
    assert answer.usage.prompt_tokens == len(PROMPT)


def test_streams_role_then_content_then_reason(shared: Running) -> None:
    chunks = [event["choices"][0] for event in events(shared, "/v1/chat/completions", messages=HELLO)]
    assert chunks[0]["delta"] == {"role": "assistant", "content": ""}
    assert "".join(chunk["delta"].get("content", "") for chunk in chunks) == expected(PROMPT, 4)
    assert [chunk["finish_reason"] for chunk in chunks] == [None] * (len(chunks) - 1) + ["length"]


def test_text_parts_and_null_fields_are_taken(shared: Running) -> None:
    parts = [{"type": "text", "text": "hi"}]
    answer = shared.post("/v1/chat/completions", {"messages": [{"role": "user", "content": parts}], "stop": None})
    assert answer.status_code == 200


def test_max_completion_tokens_goes_before_max_tokens(shared: Running) -> None:
    assert ask(shared, max_completion_tokens=2).usage.completion_tokens == 2


def test_log_probabilities_hold_bytes_and_the_best(shared: Running) -> None:
    content = ask(shared, logprobs=True, top_logprobs=2, max_tokens=1).choices[0].logprobs.content
    letter = expected(PROMPT, 1)
    assert (content[0].token, content[0].logprob, content[0].bytes) == (letter, -0.5, list(letter.encode()))
    assert [(top.token, top.logprob) for top in content[0].top_logprobs] == [("a", -1.0), ("b", -2.0)]


def test_streamed_log_probabilities_are_complete(shared: Running) -> None:
    chunks = events(shared, "/v1/chat/completions", messages=HELLO, logprobs=True)
    entries = [entry for c in chunks if c["choices"][0]["logprobs"] for entry in c["choices"][0]["logprobs"]["content"]]
    assert "".join(entry["token"] for entry in entries) == expected(PROMPT, 4)


def test_a_tool_call_is_read_from_the_answer(server: Running) -> None:
    server.engine.reply = "Let me see." + CALL
    choice = ask(server, tools=[WEATHER]).choices[0]
    assert choice.message.content == "Let me see."
    assert choice.message.tool_calls[0].function.name == "weather"
    assert json.loads(choice.message.tool_calls[0].function.arguments) == {"city": "Ulm"}
    assert choice.finish_reason == "tool_calls"


def test_a_tool_call_streams_as_one_piece(server: Running) -> None:
    server.engine.reply = "Let me <see>." + CALL
    chunks = [e["choices"][0] for e in events(server, "/v1/chat/completions", messages=HELLO, tools=[WEATHER])]
    assert "".join(chunk["delta"].get("content", "") for chunk in chunks) == "Let me <see>."
    calls = [call for chunk in chunks for call in chunk["delta"].get("tool_calls", [])]
    assert [(call["index"], call["function"]["name"]) for call in calls] == [(0, "weather")]
    assert chunks[-1]["finish_reason"] == "tool_calls"


def test_without_tools_the_same_text_is_text(server: Running) -> None:
    server.engine.reply = CALL
    assert ask(server).choices[0].message.content == CALL
    assert ask(server, tools=[WEATHER], tool_choice="none").choices[0].message.content == CALL


def test_one_call_where_parallel_calls_are_refused(server: Running) -> None:
    server.engine.reply = CALL + CALL
    assert len(ask(server, tools=[WEATHER]).choices[0].message.tool_calls) == 2
    assert len(ask(server, tools=[WEATHER], parallel_tool_calls=False).choices[0].message.tool_calls) == 1


def test_a_named_tool_forces_its_arguments(server: Running) -> None:
    server.engine.reply = '{"city": "Ulm"}'
    choice = ask(server, tools=[WEATHER], tool_choice={"type": "function", "function": {"name": "weather"}}).choices[0]
    assert json.loads(choice.message.tool_calls[0].function.arguments) == {"city": "Ulm"}
    assert choice.finish_reason == "stop"
    grammar = server.engine.requests[-1].params.grammar
    assert grammar is not None
    assert json.loads(grammar.text) == WEATHER["function"]["parameters"]


def test_a_required_call_is_a_list_of_calls(server: Running) -> None:
    server.engine.reply = '[{"name": "weather", "arguments": {"city": "Ulm"}}]'
    choice = ask(server, tools=[WEATHER], tool_choice="required").choices[0]
    assert choice.message.tool_calls[0].function.name == "weather"
    assert choice.finish_reason == "tool_calls"


def test_a_forced_call_that_was_cut_off_is_text(server: Running) -> None:
    server.engine.reply = '[{"name": "wea'
    choice = ask(server, tools=[WEATHER], tool_choice="required").choices[0]
    assert choice.message.content == '[{"name": "wea'
    assert choice.message.tool_calls is None


def test_a_whole_conversation_with_a_tool_is_taken(shared: Running) -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Ulm"}'}}
    messages = [
        *HELLO,
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": "sunny"},
    ]
    assert ask(shared, messages=messages, tools=[WEATHER]).choices[0].message.content


def test_template_arguments_may_not_replace_the_conversation(shared: Running) -> None:
    for name in ("messages", "tokenize", "add_generation_prompt", "num_chars", "function"):
        body = {"messages": HELLO, "chat_template_kwargs": {name: True}}
        response = shared.post("/v1/chat/completions", body)
        reserved = name not in ("num_chars", "function")
        assert response.status_code == (400 if reserved else 200), name
        if reserved:
            assert response.json()["error"]["param"] == "chat_template_kwargs"


def test_tokenize_and_detokenize_are_inverse(shared: Running) -> None:
    count = shared.post("/tokenize", {"prompt": "añ", "return_token_strs": True}).json()
    assert (count["count"], count["token_strs"]) == (3, ["a", "\ufffd", "\ufffd"])
    assert shared.post("/detokenize", {"tokens": count["tokens"]}).json() == {"prompt": "añ"}
    rendered = shared.post("/tokenize", {"messages": HELLO}).json()["tokens"]
    assert shared.post("/detokenize", {"tokens": rendered}).json() == {"prompt": PROMPT}


def test_models_are_listed(shared: Running) -> None:
    assert [model.id for model in client(shared).models.list()] == [NAME]
    assert client(shared).models.retrieve(NAME).id == NAME
    with pytest.raises(openai.NotFoundError):
        client(shared).models.retrieve("../../etc/passwd")
