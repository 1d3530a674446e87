"""Prompts of the four workloads. The same seed gives the same prompts under the same Python version."""

from __future__ import annotations

import functools
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from benchmarks.speculation import texts
from paceline.llm.chat import ChatTemplate
from paceline.llm.request import Request, SamplingParams
from paceline.llm.tokenizer import Tokenizer
from training.language import corpus, edits, talk
from training.language import tables as chats

MIN_CONTEXT, MAX_CONTEXT = 64, 160  # tokens of a text to continue
MIN_OUTPUT, MAX_OUTPUT = 48, 96  # of its continuation
TEMPERATURE = 0.8  # of continuations: greedily, a small model soon repeats itself
MAX_ANSWER = 128  # tokens of an answer that ends by itself
EXTRACTION_SHARE = 0.3  # of the table questions ask for one field, the others for some fields as JSON


class TextSide(Protocol):
    """What prompts are made with."""

    @property
    def tokenizer(self) -> Tokenizer: ...
    @property
    def template(self) -> ChatTemplate: ...


@dataclass(frozen=True, slots=True)
class Prompt:
    """A prompt and how long its answer is: ``fixed`` ones go on past the end of text."""

    tokens: tuple[int, ...]
    max_tokens: int
    fixed: bool
    temperature: float = 0.0

    def request(self, request_id: str, salt: str) -> Request:
        """The same prompt always gets the same answer; requests of other salts share nothing with it."""
        params = SamplingParams(
            temperature=self.temperature, seed=sum(self.tokens), max_tokens=self.max_tokens, ignore_eos=self.fixed
        )
        return Request(request_id=request_id, prompt=self.tokens, params=params, cache_salt=salt)


def _edit(text: TextSide, rng: random.Random) -> Prompt:
    """Rename a variable in a held-out function, or repeat it: the answer copies most of the prompt."""
    asked, _ = edits.edit_turn(rng, rng.choice(_functions()))
    return _chat(text, rng.choice(talk.SYSTEMS), [asked])


def _question(text: TextSide, rng: random.Random) -> Prompt:
    """A question about a row, and then, mostly, some of its fields as JSON."""
    row = rng.choice(rng.choice(_tables()))
    names = list(row)
    rng.shuffle(names)
    name = rng.choice(names)
    asked = chats.prompt(f"What is the {name.replace('_', ' ')}?", row, names)
    if rng.random() < EXTRACTION_SHARE:
        return _chat(text, chats.SYSTEM, [asked])
    fields, _ = corpus.projection(rng, row, names)
    return _chat(text, chats.SYSTEM, [asked, chats.text_of(row[name]), fields])


def _code(text: TextSide, rng: random.Random) -> Prompt:
    return _continuation(text, rng, _code_tokens(text.tokenizer))


def _prose(text: TextSide, rng: random.Random) -> Prompt:
    return _continuation(text, rng, _prose_tokens(text.tokenizer))


MAKERS: dict[str, Callable[[TextSide, random.Random], Prompt]] = {
    "code-high-overlap": _edit,
    "code-low-overlap": _code,
    "table-questions": _question,
    "prose": _prose,
}


def make_prompts(workload: str, text: TextSide, count: int, seed: int) -> list[Prompt]:
    """``count`` prompts; a longer list begins with the shorter one."""
    rng = random.Random(f"{workload}/{seed}")
    return [MAKERS[workload](text, rng) for _ in range(count)]


def random_prompts(vocab_size: int, count: int, seed: int) -> list[Prompt]:
    """Token ids drawn evenly: nothing repeats."""
    rng = random.Random(f"random/{seed}")
    return [Prompt(tuple(rng.choices(range(16, vocab_size), k=64)), 64, fixed=True) for _ in range(count)]


def _chat(text: TextSide, system: str | None, said: list[str]) -> Prompt:
    """A chat in which the user speaks first and last."""
    roles = ("user", "assistant")
    messages = [{"role": roles[turn % 2], "content": content} for turn, content in enumerate(said)]
    if system is not None:
        messages.insert(0, {"role": "system", "content": system})
    return Prompt(tuple(text.template.encode(messages)), MAX_ANSWER, fixed=False)


def _continuation(text: TextSide, rng: random.Random, tokens: list[int]) -> Prompt:
    length = rng.randint(MIN_CONTEXT, MAX_CONTEXT)
    start = rng.randrange(len(tokens) - length)
    num_tokens = rng.randint(MIN_OUTPUT, MAX_OUTPUT)
    return Prompt(tuple(tokens[start : start + length]), num_tokens, fixed=True, temperature=TEMPERATURE)


_functions = functools.cache(texts.functions)
_tables = functools.cache(texts.tables)


@functools.cache
def _code_tokens(tokenizer: Tokenizer) -> list[int]:
    return tokenizer.encode("\n".join(texts.sources()))


@functools.cache
def _prose_tokens(tokenizer: Tokenizer) -> list[int]:
    return tokenizer.encode("\n\n".join(texts.documentation()))
