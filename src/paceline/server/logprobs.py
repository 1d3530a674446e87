"""Log-probabilities in the two spellings of the OpenAI API and in vLLM's for prompts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, final

import msgspec

from paceline.llm.request import TokenLogprob
from paceline.server.port import TextCodec

_LOWEST = -9999.0  # JSON has no infinity; the OpenAI API writes this for "impossible"


class ChatLogprob(msgspec.Struct, kw_only=True, omit_defaults=True):
    token: str
    logprob: float
    bytes: list[int]
    top_logprobs: list[ChatLogprob] | None = None


def chat_logprobs(entries: Iterable[TokenLogprob], codec: TextCodec) -> dict[str, list[ChatLogprob]]:
    """``{"content": [{"token", "logprob", "bytes", "top_logprobs"}]}``."""
    return {
        "content": [
            _chat_entry(entry.token_id, entry.logprob, codec, [_chat_entry(*pair, codec) for pair in entry.top])
            for entry in entries
        ]
    }


def _chat_entry(token_id: int, logprob: float, codec: TextCodec, top: list[ChatLogprob] | None = None) -> ChatLogprob:
    raw = codec.token_bytes(token_id)
    text = raw.decode("utf-8", "replace")
    return ChatLogprob(token=text, logprob=max(logprob, _LOWEST), bytes=list(raw), top_logprobs=top)


@final
class LegacyLogprobs:
    """Builds ``{"tokens", "token_logprobs", "top_logprobs", "text_offset"}``; offsets run on between calls."""

    def __init__(self, codec: TextCodec) -> None:
        self._codec = codec
        self._offset = 0

    def render(self, token_ids: Sequence[int], entries: Sequence[TokenLogprob | None]) -> dict[str, list[Any]]:
        """Of tokens in a row; the entry of a text's first token is None."""
        names = [_name(self._codec.token_bytes(token_id)) for token_id in token_ids]
        offsets = []
        for name in names:
            offsets.append(self._offset)
            self._offset += len(name)
        return {
            "tokens": names,
            "token_logprobs": [None if entry is None else max(entry.logprob, _LOWEST) for entry in entries],
            "top_logprobs": [None if entry is None else self._top(entry) for entry in entries],
            "text_offset": offsets,
        }

    def _top(self, entry: TokenLogprob) -> dict[str, float]:
        pairs = [*entry.top, (entry.token_id, entry.logprob)]
        return {_name(self._codec.token_bytes(token_id)): max(logprob, _LOWEST) for token_id, logprob in pairs}


def _name(raw: bytes) -> str:
    r"""A token as text; half a character is spelled in bytes, as the OpenAI API does.

    >>> _name(b"\xe2\x80")
    'bytes:\\xe2\\x80'
    """
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return "bytes:" + "".join(f"\\x{byte:02x}" for byte in raw)


def prompt_logprobs(entries: Iterable[TokenLogprob | None], codec: TextCodec) -> list[dict[str, Any] | None]:
    """One object per prompt token, by token id: ``{"logprob", "decoded_token"}``; None for the first."""
    return [
        None
        if entry is None
        else {
            str(token_id): {
                "logprob": max(logprob, _LOWEST),
                "decoded_token": codec.token_bytes(token_id).decode("utf-8", "replace"),
            }
            for token_id, logprob in ((entry.token_id, entry.logprob), *entry.top)
        }
        for entry in entries
    ]
