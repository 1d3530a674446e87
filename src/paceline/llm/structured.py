"""Structured output: which tokens may come next so that the text follows a grammar.

A grammar (JSON schema, any JSON object, regex, choices) is checked, tried out in a child process,
compiled once and kept; every sequence follows it with a matcher of its own, so that a matcher that
fails disturbs no other.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol, final

import numpy as np
from numpy.typing import NDArray

from paceline.errors import InvalidRequest
from paceline.llm.request import Grammar

CACHE_BYTES = 64 * 2**20

_MIN_GRAMMAR_BYTES = 512 * 1024  # with room for the lexer states that using it adds
_BYTES_PER_CHARACTER = 32
_REFUSAL_BYTES = 1024
_TRUSTED_KINDS = ("json_object", "choice")  # plain lists of literals, and a schema of our own


class TokenizerJson(Protocol):
    """What is needed of a tokenizer: itself in the form of ``tokenizer.json``."""

    def to_json(self) -> str: ...


@final
class Matcher:
    """How far one sequence is in its grammar.

    Nothing here raises for what a grammar or a model does: a matcher that has met a limit of the
    grammar engine, or a token that its grammar forbids, has ``failed`` and allows no token any more.
    """

    def __init__(self, inner: Any, vocab_size: int, eos_ids: frozenset[int]) -> None:
        self._inner = inner
        self._vocab_size = vocab_size
        self._eos_ids = eos_ids
        self._num_past_end = 0  # end-of-text tokens behind a complete grammar, which `inner` does not count
        self._forbidden = False

    def copy(self) -> Matcher:
        """Another matcher at the same place, some ten microseconds."""
        made = Matcher(self._inner.deep_copy(), self._vocab_size, self._eos_ids)
        made._num_past_end, made._forbidden = self._num_past_end, self._forbidden
        return made

    @property
    def is_finished(self) -> bool:
        """The grammar is complete and only an end-of-text token may follow."""
        return bool(self._inner.is_stopped()) and not self.failed

    @property
    def failed(self) -> bool:
        return self._forbidden or bool(self._inner.is_error())

    def mask(self, drafts: Sequence[int] = ()) -> NDArray[np.bool_]:  # -> [V]
        """The tokens that may follow the output and ``drafts``; none after a forbidden draft.

        A complete grammar allows the end-of-text tokens. The matcher stays where it is.
        """
        if drafts:
            ahead = self.copy()
            return ahead.mask() if all(ahead.advance(token) for token in drafts) else self._nothing()
        if self.failed:
            return self._nothing()
        bits = np.frombuffer(self._inner.compute_bitmask(), dtype=np.uint8)
        if self.failed:
            return self._nothing()
        return np.unpackbits(bits, count=self._vocab_size, bitorder="little").view(np.bool_)

    def advance(self, token_id: int) -> bool:
        """Follows an accepted token; False if the grammar forbids it."""
        if self.is_finished:
            followed = token_id in self._eos_ids
            self._num_past_end += followed
        else:
            followed = self._inner.try_consume_tokens([token_id]) == 1
        self._forbidden = self._forbidden or not followed
        return followed

    def rollback(self, num_tokens: int) -> None:
        """Takes the last ``num_tokens`` followed tokens back."""
        num_past_end = min(num_tokens, self._num_past_end)
        self._num_past_end -= num_past_end
        if num_tokens > num_past_end:
            self._inner.rollback(num_tokens - num_past_end)

    def _nothing(self) -> NDArray[np.bool_]:
        return np.zeros(self._vocab_size, dtype=np.bool_)


class _Kept(NamedTuple):
    outcome: Matcher | InvalidRequest
    num_bytes: int  # estimate


@final
class GrammarCompiler:
    """Compiles grammars for one model and keeps the last ones. Safe to call from several threads.

    ``compile`` takes up to two seconds for a hostile grammar and lets other threads run: call it
    from a thread beside the engine's loop; afterwards the same grammar is there at once, and a
    refused one is refused at once.
    """

    def __init__(
        self, tokenizer: TokenizerJson, vocab_size: int, eos_ids: Sequence[int], *, cache_bytes: int = CACHE_BYTES
    ) -> None:
        self._tokenizer = tokenizer
        self._vocab_size = vocab_size
        self._eos_ids = tuple(eos_ids)
        self._cache_bytes = cache_bytes
        self._lock = threading.Lock()
        self._kept: OrderedDict[tuple[str, str], _Kept] = OrderedDict()
        self._num_bytes = 0
        self._backend: _Backend | None = None

    @property
    def num_bytes(self) -> int:
        """Estimated memory of the grammars that are kept."""
        return self._num_bytes

    def compile(self, grammar: Grammar) -> Matcher:
        """A new matcher at the beginning; InvalidRequest if the grammar is broken, unsupported or too complex."""
        key = (grammar.kind, grammar.text)
        with self._lock:
            kept = self._kept.get(key)
            if kept is not None:
                self._kept.move_to_end(key)
        if kept is None:
            kept = self._try(grammar)
            self._keep(key, kept)
        if isinstance(kept.outcome, InvalidRequest):
            raise InvalidRequest(str(kept.outcome), param=kept.outcome.param, code=kept.outcome.code)
        return kept.outcome.copy()

    def forget(self, grammar: Grammar) -> None:
        """Drops a grammar, for instance one whose matcher failed: matchers of one grammar share its lexer."""
        with self._lock:
            self._drop((grammar.kind, grammar.text))

    def close(self) -> None:
        """Ends the child process, if there is one."""
        with self._lock:
            backend, self._backend = self._backend, None
        if backend:
            backend.probe.close()

    def _try(self, grammar: Grammar) -> _Kept:
        try:
            return self._compile(grammar)
        except InvalidRequest as error:
            return _Kept(error, _REFUSAL_BYTES + len(grammar.text))

    def _compile(self, grammar: Grammar) -> _Kept:
        from paceline.llm import grammar_source  # imports the grammar engine, which most requests do not need

        source = grammar_source.to_source(grammar)
        backend = self._open()
        num_bytes = 0
        if grammar.kind not in _TRUSTED_KINDS:
            verdict = backend.probe.check(source)
            num_bytes = verdict.num_bytes
            if verdict.error is not None:
                raise grammar_source.refusal(grammar_source.explain(verdict.error))
        template = backend.make_matcher(source)
        if error := template.get_error():
            raise grammar_source.refusal(grammar_source.explain(error))
        num_bytes = max(num_bytes, _MIN_GRAMMAR_BYTES + _BYTES_PER_CHARACTER * len(source))
        return _Kept(Matcher(template, self._vocab_size, frozenset(self._eos_ids)), num_bytes)

    def _open(self) -> _Backend:
        with self._lock:
            if self._backend is None:
                self._backend = _Backend(self._tokenizer.to_json(), self._vocab_size, self._eos_ids)
            return self._backend

    def _keep(self, key: tuple[str, str], entry: _Kept) -> None:
        with self._lock:
            self._drop(key)
            self._kept[key] = entry
            self._num_bytes += entry.num_bytes
            while self._num_bytes > self._cache_bytes:
                self._drop(next(iter(self._kept)))

    def _drop(self, key: tuple[str, str]) -> None:
        if entry := self._kept.pop(key, None):
            self._num_bytes -= entry.num_bytes


class _Backend:
    """The grammar engine and its tokenizer, loaded when a first request needs them."""

    def __init__(self, tokenizer_json: str, vocab_size: int, eos_ids: Sequence[int]) -> None:
        from paceline.llm import grammar_probe

        try:
            self._tokenizer = grammar_probe.make_tokenizer(tokenizer_json, vocab_size, eos_ids)
        except ValueError:
            raise InvalidRequest("this model's tokenizer does not allow structured output", param="grammar") from None
        self._make_matcher = grammar_probe.make_matcher
        self.probe = grammar_probe.GrammarProbe(tokenizer_json, vocab_size, eos_ids)

    def make_matcher(self, source: str) -> Any:
        return self._make_matcher(self._tokenizer, source)
