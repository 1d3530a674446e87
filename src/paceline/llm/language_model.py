"""The engine for callers with many short questions: all in one call, in an order that the prefix cache likes.

It speaks in plain values, so that other parts can use it without importing this one; a package finds it by the entry
point ``embedded`` in the group ``paceline.engine``.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import takewhile
from operator import eq
from pathlib import Path
from typing import Any, final

from paceline.errors import InvalidRequest
from paceline.llm.embedded import embedded_model
from paceline.llm.engine import DeltaIterator, Engine
from paceline.llm.messages import ModelInfo
from paceline.llm.request import Delta, Grammar, SamplingParams
from paceline.llm.rows import BLOCK_SIZE

Question = tuple[str, str, int, tuple[str, ...], str, int]
"""System text, user's text, most output tokens, choices or none, JSON schema or nothing, a hint that is not needed."""

Reply = tuple[str | None, str | None, int, int, int, int]
"""Text or None, error or None, times asked, prompt tokens, of them found in the prefix cache, output tokens."""

# Measured on the embedded model, 2 cores: 5 to 20 % faster than without holding back, 20 % than in strict order.
MAX_RUNNING = 128  # twice what a step runs at most by default: whoever ends is followed at once
MAX_STARTING_TOKENS = 2048  # some steps' worth: the engine's own queue stays short, so that the order is ours
MAX_DRAWN = 256

_FINGERPRINT_BYTES = 1 << 20  # of each file of weights: the header and the first of them


@final
class EngineLanguageModel:
    """An engine of its own that answers questions greedily. Without a ``model``, the one in the package.

    ``options`` are those of ``EngineConfig``, but nothing is drafted unless asked for: full batches leave no idle
    hardware to draft with. Raises what ``Engine`` raises.

    >>> replies = {}
    >>> model = EngineLanguageModel()
    >>> question = ("", "Is the sky blue?", 4, ("yes", "no"), "", 0)
    >>> model.ask([question], replies.__setitem__)
    >>> replies[0][0] in ("yes", "no")
    True
    >>> model.close()
    """

    def __init__(self, model: str | None = None, **options: Any) -> None:
        self._engine = Engine(model or embedded_model(), **{"speculation": "off", **options})
        self._name = f"{self._engine.info.name}-{_fingerprint(self._engine.info)}"

    @property
    def name(self) -> str:
        """Folder and fingerprint: who keeps answers by name must not mix those of two models."""
        return self._name

    def num_tokens(self, text: str) -> int:
        """Tokens of ``text`` alone; a lone surrogate, which no question may hold, counts as one character."""
        return len(self._engine.tokenizer.encode(text.encode("utf-8", "replace").decode()))

    def ask(self, questions: Iterable[Question], done: Callable[[int, Reply], None]) -> None:
        """Calls ``done`` once for every question with its number, in any order, in this thread.

        Questions are drawn as there is room and run in the order they come. What is wrong with one is its reply.
        What ``done`` raises ends the call and aborts what runs.
        """
        flight = _Flight(self._engine)
        try:
            for number, question in enumerate(questions):
                try:
                    prompt, params = self._request(question)
                except InvalidRequest as error:
                    done(number, _refusal(error))
                    continue
                flight.draw(number, prompt, params)
                while flight.full:
                    flight.advance(done)
            while flight:
                flight.advance(done)
        finally:
            flight.close()

    def close(self) -> None:
        """Gives the model's memory back."""
        self._engine.close()

    def _request(self, question: Question) -> tuple[list[int], SamplingParams]:
        system, user, max_tokens, choices, schema, _ = question
        grammar = Grammar("choice", json.dumps(choices)) if choices else Grammar("json_schema", schema)
        constraint = grammar if choices or schema else None
        params = SamplingParams(temperature=0.0, max_tokens=max_tokens, grammar=constraint)
        return self._encode(system, user), params

    def _encode(self, system: str, user: str) -> list[int]:
        engine, limit = self._engine, self._engine.info.max_model_len
        if not engine.tokenizer.may_fit(system + user, limit):  # a text of a million characters is not even encoded
            message = f"{len(system) + len(user)} characters are more than the {limit} tokens of the model's context"
            raise InvalidRequest(message, param="prompt", code="context_length_exceeded")
        if not engine.template:
            return engine.tokenizer.encode(f"{system}\n\n{user}" if system else user, add_special=True)
        messages = [{"role": "system", "content": system}] if system else []
        return engine.template.encode([*messages, {"role": "user", "content": user}])


@dataclass(slots=True, eq=False)
class _Asked:
    """A question on its way through the engine."""

    number: int
    prompt: list[int]
    params: SamplingParams
    joint: int  # tokens that the prompt before it begins with too
    stream: DeltaIterator | None = None
    refused: bool = False
    num_missing: int = 0  # tokens to compute, as far as was known at launch
    deltas: list[Delta] = field(default_factory=list)

    @property
    def waits(self) -> bool:
        return self.stream is None and not self.refused

    @property
    def started(self) -> bool:
        """Its prompt is computed."""
        return bool(self.deltas)

    def reply(self) -> Reply | None:
        """What came of it; None while it runs."""
        reason = self.deltas[-1].finish_reason if self.deltas else None
        if reason is None:
            return None
        num_output = sum(len(delta.token_ids) for delta in self.deltas)
        counts = 1, len(self.prompt), self.deltas[0].num_cached_tokens, num_output
        if reason == "error":
            return None, self.deltas[-1].error or "the request failed", *counts
        if reason == "length" and self.params.grammar is not None:
            return None, f"the answer was cut at max_tokens = {self.params.max_tokens}", *counts
        return "".join(delta.text for delta in self.deltas), None, *counts


class _Flight:
    """The questions that are drawn, each launched when its beginning is computed.

    The prefix cache holds what a step has computed: two prompts that begin alike and start in one step compute that
    beginning twice. So a prompt waits while one before it computes a block that it needs, and those behind it that
    need none of these go ahead and fill the step.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._trail: list[_Asked] = []  # in order, from the last one before which all is computed
        self._running: list[_Asked] = []
        self._num_waiting = 0

    def __bool__(self) -> bool:
        return bool(self._running) or self._num_waiting > 0

    @property
    def full(self) -> bool:
        return self._num_waiting >= MAX_DRAWN

    def draw(self, number: int, prompt: list[int], params: SamplingParams) -> None:
        """Takes in the next question of the order."""
        joint = _num_equal(self._trail[-1].prompt, prompt) if self._trail else 0
        self._trail.append(_Asked(number, prompt, params, joint))
        self._num_waiting += 1

    def advance(self, done: Callable[[int, Reply], None]) -> None:
        """Launches what need not wait, runs one step and hands over what is answered."""
        self._launch(done)
        self._engine.step()
        for asked in self._running[:]:
            assert asked.stream is not None
            asked.deltas += asked.stream.ready()
            if (reply := asked.reply()) is not None:
                self._running.remove(asked)
                done(asked.number, reply)

    def close(self) -> None:
        """Aborts what still runs."""
        for asked in self._running:
            assert asked.stream is not None
            asked.stream.close()

    def _launch(self, done: Callable[[int, Reply], None]) -> None:
        room = MAX_STARTING_TOKENS - sum(asked.num_missing for asked in self._running if not asked.started)
        found = coming = 0  # tokens of a prompt's beginning that are computed; that are on their way
        for asked in self._trail:
            found, coming = min(found, asked.joint), min(coming, asked.joint)
            has_room = room > 0 and len(self._running) < MAX_RUNNING
            if asked.waits and has_room and coming // BLOCK_SIZE <= found // BLOCK_SIZE:
                asked.num_missing = len(asked.prompt) - found
                room -= asked.num_missing
                self._submit(asked, done)
            if asked.started:
                found = len(asked.prompt)
            elif asked.stream is not None:
                coming = len(asked.prompt)
        self._forget_past()

    def _submit(self, asked: _Asked, done: Callable[[int, Reply], None]) -> None:
        self._num_waiting -= 1
        try:
            asked.stream = self._engine.stream(asked.prompt, asked.params)
            self._running.append(asked)
        except InvalidRequest as error:
            asked.refused = True
            done(asked.number, _refusal(error))

    def _forget_past(self) -> None:
        settled = list(takewhile(lambda asked: asked.started or asked.refused, self._trail))
        last = max((place for place, asked in enumerate(settled) if asked.started), default=0)
        del self._trail[:last]


def _refusal(error: InvalidRequest) -> Reply:
    return None, str(error), 0, 0, 0, 0


def _fingerprint(info: ModelInfo) -> str:
    """Differs where answers may: by the network's shape, its weights and how they are held."""
    digest = hashlib.sha256(f"{info.dtype} {info.quantize}".encode())
    for path in sorted(Path(info.folder).glob("*")):
        if path.suffix == ".json":
            digest.update(path.read_bytes())
        elif path.suffix == ".safetensors":
            with path.open("rb") as file:
                digest.update(f"{path.name} {path.stat().st_size}".encode() + file.read(_FINGERPRINT_BYTES))
    return digest.hexdigest()[:12]


def _num_equal(a: list[int], b: list[int]) -> int:
    """Length of the longest common beginning.

    >>> _num_equal([1, 2, 3], [1, 2, 4, 5])
    2
    """
    equal: Iterator[bool] = takewhile(bool, map(eq, a, b))
    return sum(equal)
