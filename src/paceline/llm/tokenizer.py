"""Text to token ids and back, with a firm line between control tokens and what users write.

Text is plain: a special token's string in it becomes ordinary tokens, never the special one. Only where the caller
says so (a rendered chat template) are special strings read as tokens, and there ``MARK`` right before one makes
it plain again.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import tokenizers

from paceline.errors import InvalidRequest, ModelError
from paceline.llm.model.folder import MAX_JSON_BYTES, locate
from paceline.llm.model.generation import read_generation

# Noncharacters of Unicode: reserved for use inside a program, so no text loses anything by their replacement.
MARK = "\ufdd1"
_SEPARATOR = "\ufdd0"
_REPLACE = str.maketrans({MARK: "\ufffd", _SEPARATOR: "\ufffd"})


def _byte_alphabet() -> dict[str, bytes]:
    """The characters that byte-level tokenizers write for bytes: printable ones for themselves, others from U+0100."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): bytes([byte]) for byte in printable} | {
        chr(0x100 + index): bytes([byte]) for index, byte in enumerate(others)
    }


_BYTES = _byte_alphabet()


def without_marks(text: str) -> str:
    """``text`` with the two noncharacters that have a meaning here replaced by U+FFFD."""
    return text.translate(_REPLACE) if MARK in text or _SEPARATOR in text else text


@dataclass(frozen=True, slots=True)
class _Special:
    token_id: int
    lstrip: bool
    rstrip: bool


class Tokenizer:
    """The tokenizer of a model folder; safe to share between threads."""

    def __init__(self, inner: tokenizers.Tokenizer, eos_ids: Sequence[int] = (), *, source: Path | None = None) -> None:
        """``source`` is the file that ``inner`` was read from, if any."""
        self._source = source
        self._json = None if source else inner.to_str()
        added = inner.get_added_tokens_decoder()
        self._specials = {
            token.content: _Special(token_id, token.lstrip, token.rstrip)
            for token_id, token in added.items()
            if token.special and token.content
        }
        self._special_ids = frozenset(special.token_id for special in self._specials.values())
        self._pattern = special_pattern(self._specials)
        self.vocab_size = inner.get_vocab_size(with_added_tokens=True)
        self.eos_ids = tuple(eos_ids)
        self._longest = max(map(len, inner.get_vocab(with_added_tokens=True)), default=1)
        self._prefix, self._suffix = _frame(inner)
        self._byte_level = b"ByteLevel" in inner.decoder.__getstate__() if inner.decoder else False
        # The text between two special tokens is encoded in one call with the rest, so that it is not treated as
        # the beginning of a text; the separator stands where a special token was.
        inner.add_tokens([tokenizers.AddedToken(_SEPARATOR, special=False, normalized=False)])
        self._separator_id = inner.token_to_id(_SEPARATOR)
        inner.encode_special_tokens = True
        inner.no_truncation()
        inner.no_padding()
        self._inner = inner

    @classmethod
    def from_folder(cls, folder: Path) -> Tokenizer:
        """Read ``tokenizer.json``; raises ``ModelError`` when it is missing or broken."""
        path = locate(folder, "tokenizer.json")
        if path is None:
            raise ModelError(f"{folder}: no tokenizer.json; save the tokenizer in its fast form (tokenizers library)")
        if (size := path.stat().st_size) > MAX_JSON_BYTES:
            raise ModelError(f"{path}: {size} bytes; at most {MAX_JSON_BYTES} are read")
        try:
            inner = tokenizers.Tokenizer.from_file(str(path))
        except Exception as error:  # the library raises bare Exception
            raise ModelError(f"{path}: not a tokenizer ({str(error)[:120]})") from None
        return cls(inner, read_generation(folder).eos_token_ids, source=path)

    @property
    def special_strings(self) -> tuple[str, ...]:
        """The strings of all special tokens."""
        return tuple(self._specials)

    @property
    def special_ids(self) -> frozenset[int]:
        return self._special_ids

    def encode(self, text: str, *, allow_special: bool = False, add_special: bool = False) -> list[int]:
        """Token ids of ``text``.

        With ``allow_special`` the strings of special tokens become those tokens, except right after ``MARK``; marks
        vanish. With ``add_special`` the tokens that the model expects around a text (a BOS) are put around it.
        Takes time linear in the text. Raises ``InvalidRequest`` for text that is not valid Unicode.
        """
        if allow_special:
            pieces, specials = self._split(text)
            ids = self._fill(self._encode_plain(_SEPARATOR.join(pieces)), specials)
        else:
            ids = self._encode_plain(without_marks(text))
        return [*self._prefix, *ids, *self._suffix] if add_special else ids

    def find_specials(self, text: str) -> list[str]:
        """The special tokens that ``encode(text, allow_special=True)`` would yield, in order."""
        return [match.group() for match in self._matches(text)]

    def decode(self, token_ids: Sequence[int], *, skip_special: bool = True) -> str:
        """Text of ``token_ids``; ids that the tokenizer does not know are left out."""
        known = [token_id for token_id in token_ids if token_id != self._separator_id]
        return self._inner.decode(known, skip_special_tokens=skip_special)

    def token(self, token_id: int) -> str | None:
        """The vocabulary entry of one id in the model's own spelling, or None for an unknown id."""
        return self._inner.id_to_token(token_id) if token_id != self._separator_id else None

    def token_bytes(self, token_id: int) -> bytes:
        """The bytes one token stands for, which may end inside a character; empty for an unknown id."""
        token = self.token(token_id)
        if token is None:
            return b""
        if token_id in self._special_ids:
            return token.encode()
        if self._byte_level:
            return b"".join(_BYTES.get(char, char.encode()) for char in token)
        if match := re.fullmatch("<0x([0-9A-F]{2})>", token):
            return bytes.fromhex(match[1])
        return token.replace("▁", " ").encode()

    def may_fit(self, text: str, num_tokens: int) -> bool:
        """False when ``text`` is certain to need more than ``num_tokens``; costs nothing."""
        return len(text) <= num_tokens * self._longest

    def to_json(self) -> str:
        """The tokenizer in the form of ``tokenizer.json``, for libraries that build their own from it."""
        return self._source.read_text("utf-8") if self._source else self._json or ""

    def _matches(self, text: str) -> list[re.Match[str]]:
        found = []
        start = 0
        while match := self._pattern.search(text, start):
            marked = text.startswith(MARK, match.start() - 1) if match.start() else False
            start = match.start() + 1 if marked else match.end()
            if not marked:
                found.append(match)
        return found

    def _split(self, text: str) -> tuple[list[str], list[int]]:
        """The text around special tokens, without marks, and the ids of those tokens."""
        pieces, ids, end, strip_next = [], [], 0, False
        for match in [*self._matches(text), None]:
            piece = text[end : match.start()] if match else text[end:]
            piece = piece.replace(MARK, "").replace(_SEPARATOR, "\ufffd")
            special = self._specials[match.group()] if match else None
            piece = piece.lstrip() if strip_next else piece
            pieces.append(piece.rstrip() if special and special.lstrip else piece)
            if match and special:
                ids.append(special.token_id)
                end, strip_next = match.end(), special.rstrip
        return pieces, ids

    def _encode_plain(self, text: str) -> list[int]:
        try:
            ids = self._inner.encode(text, add_special_tokens=False).ids
        except (UnicodeEncodeError, TypeError):
            raise InvalidRequest("text holds a lone surrogate, which no encoding of Unicode allows") from None
        if not self._special_ids.isdisjoint(ids):
            raise InvalidRequest("text holds a special token that this tokenizer cannot encode as plain text")
        return ids

    def _fill(self, ids: list[int], specials: list[int]) -> list[int]:
        following = iter(specials)
        return [next(following) if token_id == self._separator_id else token_id for token_id in ids]


def special_pattern(specials: Iterable[str]) -> re.Pattern[str]:
    """A pattern that finds the longest special string at each place; it never matches when there is none.

    >>> special_pattern(["<s>", "<s>x"]).findall("a <s>x <s>")
    ['<s>x', '<s>']
    """
    longest_first = sorted(specials, key=len, reverse=True)
    return re.compile("|".join(map(re.escape, longest_first)) or "(?!)")


def _frame(inner: tokenizers.Tokenizer) -> tuple[list[int], list[int]]:
    """Ids that the tokenizer's post-processor puts before and after a text."""
    plain = inner.encode("a", add_special_tokens=False).ids
    framed = inner.encode("a", add_special_tokens=True).ids
    for start in range(len(framed) - len(plain) + 1):
        if framed[start : start + len(plain)] == plain:
            return framed[:start], framed[start + len(plain) :]
    return [], []
