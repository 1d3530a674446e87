"""What changes a row of logits before a token is chosen from it: penalties, bias, bans, in this order.

The order of a row's whole treatment, which decides what combinations mean:

1. penalties: repetition (prompt and output), then frequency and presence (output)
2. ``logit_bias``
3. ``bad_words``
4. the grammar's mask
5. ``min_tokens``: tokens that would end the text are banned until then, unless nothing else is
   left (a finished grammar ends the text even below ``min_tokens``)
6. temperature, ``top_k``, ``top_p``, ``min_p`` (``sampler``)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import final

import numpy as np
from numpy.typing import NDArray

from paceline.errors import InvalidRequest
from paceline.llm.request import SamplingParams

Logits = NDArray[np.float32]

_MINUS_INFINITY = np.float32(-np.inf)


@final
class Penalties:
    """Repetition, frequency and presence penalties over a history that grows and shrinks by tokens.

    As in vLLM: repetition divides positive and multiplies negative logits of tokens seen in prompt
    or output; ``frequency * count + presence`` is taken off the logits of output tokens.
    """

    def __init__(self, params: SamplingParams, prompt_ids: Sequence[int]) -> None:
        self._repetition = np.float32(params.repetition_penalty)
        self._frequency = np.float32(params.frequency_penalty)
        self._presence = np.float32(params.presence_penalty)
        self._ids = np.unique(np.asarray(prompt_ids, dtype=np.int64))
        self._num_prompt = self._size = len(self._ids)  # distinct tokens; those of the prompt come first
        self._slots = {token: slot for slot, token in enumerate(self._ids.tolist())}
        self._counts = np.zeros(self._size, dtype=np.float32)  # in the output

    @staticmethod
    def wanted(params: SamplingParams) -> bool:
        return (params.repetition_penalty, params.frequency_penalty, params.presence_penalty) != (1.0, 0.0, 0.0)

    def add(self, token_ids: Iterable[int]) -> None:
        for token in token_ids:
            slot = self._slots.setdefault(token, self._size)
            if slot == self._size:
                self._append(token)
            self._counts[slot] += 1

    def remove(self, token_ids: Iterable[int]) -> None:
        for token in token_ids:
            self._counts[self._slots[token]] -= 1

    def apply(self, logits: Logits) -> None:
        ids, counts = self._ids[: self._size], self._counts[: self._size]
        seen = counts > 0
        values = logits[ids]
        repeated = seen.copy()
        repeated[: self._num_prompt] = True
        with np.errstate(over="ignore"):
            scaled = np.where(values > 0, values / self._repetition, values * self._repetition)
        values = np.where(repeated, scaled, values)
        values -= self._frequency * counts
        values -= self._presence * seen
        logits[ids] = values

    def _append(self, token: int) -> None:
        if self._size == len(self._ids):
            room = np.zeros(max(64, self._size), dtype=np.int64)
            self._ids = np.concatenate([self._ids, room])
            self._counts = np.concatenate([self._counts, room.astype(np.float32)])
        self._ids[self._size] = token
        self._size += 1


@final
class Bias:
    """Adds a fixed amount to the logits of some tokens."""

    def __init__(self, biases: Mapping[int, float], vocab_size: int) -> None:
        check_ids(biases, vocab_size, "logit_bias")
        self._ids = np.fromiter(biases, dtype=np.int64, count=len(biases))
        self._amounts = np.fromiter(biases.values(), dtype=np.float32, count=len(biases))

    def __call__(self, logits: Logits, output: Sequence[int]) -> None:
        logits[self._ids] += self._amounts


@final
class BadWords:
    """Bans the last token of each word when the output ends with the tokens before it."""

    def __init__(self, words: Iterable[Sequence[int]]) -> None:
        self._words = [(tuple(word[:-1]), word[-1]) for word in words]

    def __call__(self, logits: Logits, output: Sequence[int]) -> None:
        for head, last in self._words:
            if not head or (len(output) >= len(head) and tuple(output[-len(head) :]) == head):
                logits[last] = _MINUS_INFINITY


@final
class MinTokens:
    """Bans the tokens that end a text while the output is shorter than ``num_tokens``."""

    def __init__(self, num_tokens: int, stop_ids: Iterable[int]) -> None:
        self._num_tokens = num_tokens
        self._ids = np.array(sorted(set(stop_ids)), dtype=np.int64)

    def apply(self, logits: Logits, num_output: int) -> None:
        if num_output < self._num_tokens:
            kept = logits[self._ids]
            logits[self._ids] = _MINUS_INFINITY
            if logits.max() == _MINUS_INFINITY:
                logits[self._ids] = kept


def apply_mask(logits: Logits, allowed: NDArray[np.bool_]) -> None:
    """Bans what a grammar does not allow; ``allowed`` is [V]."""
    np.copyto(logits, _MINUS_INFINITY, where=~allowed)


def bad_word_tokens(words: Iterable[str], encode: Callable[[str], Sequence[int]]) -> list[tuple[int, ...]]:
    """Token sequences of words to ban: each at the start of a text and after a space.

    >>> bad_word_tokens(["no"], lambda text: [ord(c) for c in text])
    [(110, 111), (32, 110, 111)]
    """
    spellings = (spelling for word in words for spelling in (word, " " + word.lstrip()))
    return list(dict.fromkeys(ids for text in spellings if (ids := tuple(encode(text)))))


def check_ids(token_ids: Iterable[int], vocab_size: int, param: str) -> None:
    """Raises InvalidRequest for an id that the model does not have."""
    for token in token_ids:
        if not 0 <= token < vocab_size:
            raise InvalidRequest(f"{param} names token {token}; ids must be in [0, {vocab_size})", param=param)
