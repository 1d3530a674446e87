"""Text from tokens as they come: no half characters, no half stop strings, nothing decoded twice.

The pieces of a stream join to exactly what the tokenizer makes of all its tokens at once, however
they were cut. Byte-level tokenizers (Llama 3, Qwen, Mistral since Nemo) are decoded here: a table
of each token's bytes and an incremental UTF-8 decoder, which replaces invalid bytes as the
tokenizers library does. All others go through the tokenizer with a short window of context, and a
run of byte tokens waits for its end, since only then it is known to be valid.
"""

from __future__ import annotations

import codecs
from collections.abc import Sequence
from typing import Any, Protocol, final

import msgspec

from paceline.llm.stops import StopFinder

_MAX_UNDECIDED_TOKENS = 8  # a text that ends with U+FFFD may be cut inside a character; not for longer
_REPLACEMENT = "\ufffd"


class Vocabulary(Protocol):
    """What is needed of a tokenizer (``tokenizer.Tokenizer``)."""

    @property
    def special_ids(self) -> frozenset[int]: ...
    def token(self, token_id: int) -> str | None: ...
    def decode(self, token_ids: Sequence[int], *, skip_special: bool = True) -> str: ...
    def to_json(self) -> str: ...


class _TokenizerFile(msgspec.Struct):
    decoder: dict[str, Any] | None = None


@final
class TokenTexts:
    """How a tokenizer's tokens become text; one for all streams of a model."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self.special_ids = vocabulary.special_ids
        self._vocabulary = vocabulary
        stages = _stages(msgspec.json.decode(vocabulary.to_json(), type=_TokenizerFile).decoder)
        self._byte_level = stages.count("ByteLevel") == 1 and set(stages) <= {"ByteLevel", "Fuse"}
        self._byte_fallback = "ByteFallback" in stages
        self._bytes: dict[int, bytes] = {}

    def pieces(self, after: Sequence[int] = ()) -> BytePieces | WindowPieces:
        """A decoder for one sequence of tokens that continues ``after``."""
        return BytePieces(self) if self._byte_level else WindowPieces(self, after)

    def spelled_bytes(self, token_id: int) -> bytes:
        """What a token of a byte-level tokenizer spells; nothing for an unknown id."""
        known = self._bytes.get(token_id)
        if known is None:
            known = self._bytes[token_id] = _byte_level_bytes(self._vocabulary.token(token_id) or "")
        return known

    def is_known(self, token_id: int) -> bool:
        return self._vocabulary.token(token_id) is not None

    def is_byte(self, token_id: int) -> bool:
        """Whether the token is one byte of a byte-fallback tokenizer: ``<0x0A>``."""
        token = self._vocabulary.token(token_id) or "" if self._byte_fallback else ""
        return len(token) == 6 and token.startswith("<0x") and token.endswith(">")

    def decode(self, token_ids: Sequence[int]) -> str:
        return self._vocabulary.decode(token_ids, skip_special=False)


@final
class BytePieces:
    """Text of byte-level tokens."""

    def __init__(self, texts: TokenTexts) -> None:
        self._texts = texts
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def push(self, token_ids: Sequence[int]) -> str:
        return self._decoder.decode(b"".join([self._texts.spelled_bytes(token_id) for token_id in token_ids]))

    def finish(self) -> str:
        return self._decoder.decode(b"", final=True)


@final
class WindowPieces:
    """Text of tokens whose spelling depends on those before them: the difference that they make."""

    def __init__(self, texts: TokenTexts, after: Sequence[int]) -> None:
        self._texts = texts
        self._context: list[int] = []  # last tokens already in the text
        self._base = ""  # and what they are on their own
        self._waiting: list[int] = []
        start = len(after) - 1
        while start > 0 and texts.is_byte(after[start]):
            start -= 1
        self._look_back(after, len(after) - max(start, 0))

    def push(self, token_ids: Sequence[int]) -> str:
        return "".join([self._push(token_id) for token_id in token_ids])

    def _push(self, token_id: int) -> str:
        if not self._texts.is_known(token_id):
            return ""
        self._waiting.append(token_id)
        return "" if self._texts.is_byte(token_id) else self._emit(final=False)

    def finish(self) -> str:
        return self._emit(final=True) if self._waiting else ""

    def _emit(self, *, final: bool) -> str:
        text = self._texts.decode([*self._context, *self._waiting])
        undecided = text.endswith(_REPLACEMENT) and len(self._waiting) < _MAX_UNDECIDED_TOKENS
        if undecided and not final:
            return ""
        new = text[len(self._base) :]
        self._look_back([*self._context, *self._waiting], len(self._waiting))
        self._waiting = []
        return new

    def _look_back(self, token_ids: Sequence[int], size: int) -> None:
        """Takes the last ``size`` tokens as context, or more until they are any text.

        A context without text would leave the next token at the beginning of the text.
        """
        self._context, self._base = list(token_ids[len(token_ids) - size :]), ""
        while self._context and not (self._base or size > len(token_ids)):
            self._context = list(token_ids[len(token_ids) - size :])
            self._base = self._texts.decode(self._context)
            size += 1


@final
class TextStream:
    """The text of one sequence, token by token, up to a stop string.

    ``after`` are the prompt's last tokens: some tokenizers drop a space at the beginning of a text,
    which this is not when it continues a prompt.
    """

    def __init__(
        self,
        texts: TokenTexts,
        *,
        stop: Sequence[str] = (),
        include_stop: bool = False,
        skip_special: bool = True,
        after: Sequence[int] = (),
    ) -> None:
        self.num_tokens = 0  # taken in; once stopped, up to the one in which the stop string ended
        self._skipped = texts.special_ids if skip_special else frozenset()
        self._pieces = texts.pieces([token for token in after if token not in self._skipped])
        self._finder = StopFinder(stop, include=include_stop) if stop else None

    @property
    def may_stop(self) -> bool:
        """Whether there are stop strings to look for."""
        return self._finder is not None

    @property
    def stopped(self) -> str | None:
        """The stop string that ended the text."""
        return self._finder.found if self._finder else None

    def push(self, token_ids: Sequence[int]) -> str:
        """Text that can be shown now. Tokens behind a stop string are not taken in."""
        if self._finder is None:
            self.num_tokens += len(token_ids)
            return self._pieces.push([token_id for token_id in token_ids if token_id not in self._skipped])
        shown = []
        for token_id in token_ids:
            if self.stopped is not None:
                break
            self.num_tokens += 1
            if token_id not in self._skipped:
                shown.append(self._finder.feed(self._pieces.push((token_id,))))
        return "".join(shown)

    def finish(self) -> str:
        """The text that was held back: no more tokens come."""
        if self.stopped is not None:
            return ""
        shown = self._pieces.finish()
        if self._finder is None:
            return shown
        shown = self._finder.feed(shown)
        return shown + self._finder.rest() if self.stopped is None else shown


def _stages(decoder: dict[str, Any] | None) -> list[str]:
    if decoder is None:
        return []
    if decoder.get("type") == "Sequence":
        return [stage for inner in decoder.get("decoders", []) for stage in _stages(inner)]
    return [str(decoder.get("type"))]


def _byte_level_bytes(token: str) -> bytes:
    """The bytes that a byte-level token spells; a token with other characters is taken literally.

    >>> _byte_level_bytes("Ġhi"), _byte_level_bytes("<｜end｜>").decode()
    (b' hi', '<｜end｜>')
    """
    try:
        return bytes(BYTE_OF[character] for character in token)
    except KeyError:
        return token.encode()


def _byte_alphabet() -> dict[str, int]:
    """Characters that stand for bytes in byte-level vocabularies (GPT-2): printable ones for themselves."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = (byte for byte in range(256) if byte not in printable)
    return {chr(byte): byte for byte in printable} | {chr(256 + n): byte for n, byte in enumerate(others)}


BYTE_OF = _byte_alphabet()
