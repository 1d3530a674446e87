"""Streamed text equals decoded text, whatever the tokenizer, the tokens and the cuts."""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

from paceline.llm.detokenize import BYTE_OF, TextStream, TokenTexts
from tests.llm.folders import tiny_tokenizer

TEXTS = [
    "plain words, and the rest",
    "👩‍👩‍👧‍👦 family, 👍🏽 and 🇮🇳",
    "你好，世界。日本語のテキスト",
    "नमस्ते दुनिया क्षत्रिय",
    "Café naïve e\u0301 \u200d zero",
    "  two  spaces \n\n\ttabs ",
    "\ufffd real replacement \ufffd",
    "a\x00b",
]


class Adapter:
    """A bare tokenizer behind the port."""

    def __init__(self, inner: Tokenizer) -> None:
        self.inner = inner
        self.special_ids = frozenset(i for i, token in inner.get_added_tokens_decoder().items() if token.special)

    def token(self, token_id: int) -> str | None:
        return self.inner.id_to_token(token_id)

    def decode(self, token_ids: Sequence[int], *, skip_special: bool = True) -> str:
        return self.inner.decode(token_ids, skip_special_tokens=skip_special)

    def to_json(self) -> str:
        return self.inner.to_str()


def byte_level() -> Tokenizer:
    tokenizer = tiny_tokenizer()
    tokenizer.add_tokens(["  ", "é", "日本", AddedToken("<tool>", special=False)])
    tokenizer.add_special_tokens(["<｜end▁of▁text｜>"])
    return tokenizer


def sentence_piece(*decoder: decoders.Decoder) -> Tokenizer:
    vocab = {"<unk>": 0, "<s>": 1, "</s>": 2}
    words = ("▁", "▁▁", "▁hello", "▁wor", "ld", "a", "é", "你", ".", "\ufffd", "</w>", "x</w>", "##ing", "he", "re")
    for piece in (*(f"<0x{byte:02X}>" for byte in range(256)), *words):
        vocab[piece] = len(vocab)
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=[], unk_token="<unk>", byte_fallback=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    if decoder:
        tokenizer.decoder = decoders.Sequence(list(decoder)) if len(decoder) > 1 else decoder[0]
    tokenizer.add_special_tokens(["<s>", "</s>"])
    return tokenizer


def fallback() -> tuple[decoders.Decoder, ...]:
    return decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()


KINDS = {
    "byte-level": byte_level,
    "byte-level-sequence": lambda: _with(byte_level(), decoders.Sequence([decoders.ByteLevel(), decoders.Fuse()])),
    "llama2": lambda: sentence_piece(*fallback(), decoders.Strip(" ", 1, 0)),
    "gemma": lambda: sentence_piece(*fallback()),
    "metaspace": lambda: sentence_piece(decoders.ByteFallback(), decoders.Metaspace()),
    "bpe-suffix": lambda: sentence_piece(decoders.BPEDecoder()),
    "word-piece": lambda: sentence_piece(decoders.WordPiece()),
    "no decoder": sentence_piece,
}


def _with(tokenizer: Tokenizer, decoder: decoders.Decoder) -> Tokenizer:
    tokenizer.decoder = decoder
    return tokenizer


@cache
def texts(kind: str) -> tuple[Adapter, TokenTexts]:
    adapter = Adapter(KINDS[kind]())
    return adapter, TokenTexts(adapter)


def streamed(stream: TextStream, token_ids: Sequence[int], cuts: Sequence[int] = ()) -> list[str]:
    pieces = []
    start = 0
    for end in (*sorted(cut % (len(token_ids) + 1) for cut in cuts), len(token_ids)):
        pieces.append(stream.push(token_ids[start:end]))
        start = end
    return [*pieces, stream.finish()]


def encoded_bytes(adapter: Adapter, data: bytes) -> list[int]:
    """Each byte as a token of its own."""
    if adapter.token(3) == "<0x00>":
        return [adapter.inner.token_to_id(f"<0x{byte:02X}>") for byte in data]
    characters = {byte: character for character, byte in BYTE_OF.items()}
    return [adapter.inner.token_to_id(characters[byte]) for byte in data]


# ── the same text as decoding all at once ────────────────────────────────────────────────────────


@pytest.mark.parametrize("kind", KINDS)
@settings(deadline=None, max_examples=150)
@given(data=st.data())
def test_pieces_join_to_the_decoded_text(kind: str, data: st.DataObject) -> None:
    adapter, shared = texts(kind)
    ids = data.draw(st.lists(st.integers(0, adapter.inner.get_vocab_size() + 3), max_size=40))
    cuts = data.draw(st.lists(st.integers(0, 40), max_size=6))
    skip = data.draw(st.booleans())
    pieces = streamed(TextStream(shared, skip_special=skip), ids, cuts)
    assert "".join(pieces) == adapter.decode(ids, skip_special=skip)


@pytest.mark.parametrize("kind", ["byte-level", "llama2", "gemma"])
@pytest.mark.parametrize("text", TEXTS)
def test_every_split_of_real_text_is_clean(kind: str, text: str) -> None:
    adapter, shared = texts(kind)
    for ids in (adapter.inner.encode(text, add_special_tokens=False).ids, encoded_bytes(adapter, text.encode())):
        for cut in range(len(ids) + 1):
            pieces = streamed(TextStream(shared), ids, [cut])
            assert "".join(pieces) == adapter.decode(ids)


@pytest.mark.parametrize("kind", ["byte-level", "llama2"])
@settings(deadline=None, max_examples=300)
@given(
    st.binary(max_size=12) | st.lists(st.sampled_from([b"\xe4\xbd\xa0", b"\xf0\x9f", b"\xed\xa0", b"a"])).map(b"".join)
)
def test_invalid_bytes_are_replaced_as_in_the_whole(kind: str, data: bytes) -> None:
    adapter, shared = texts(kind)
    ids = encoded_bytes(adapter, data)
    assert "".join(streamed(TextStream(shared), ids, range(len(ids)))) == adapter.decode(ids)


def test_the_byte_alphabet_is_that_of_the_library() -> None:
    assert set(BYTE_OF) == set(pre_tokenizers.ByteLevel.alphabet())


def test_characters_wait_for_their_last_byte() -> None:
    adapter, shared = texts("byte-level")
    stream = TextStream(shared)
    assert [stream.push([token]) for token in encoded_bytes(adapter, "é你".encode())] == ["", "é", "", "", "你"]
    assert stream.push(encoded_bytes(adapter, b"\xe4\xbd")) == ""
    assert stream.finish() == "\ufffd"


@pytest.mark.parametrize("kind", KINDS)
def test_text_continues_a_prompt(kind: str) -> None:
    adapter, shared = texts(kind)
    rng = random.Random(kind)
    for _ in range(200):
        ids = [rng.randrange(adapter.inner.get_vocab_size()) for _ in range(12)]
        cut = rng.randrange(1, 12)
        if kind.startswith("byte") or shared.is_byte(ids[cut]) or shared.is_byte(ids[cut - 1]):
            continue  # a character or a run of bytes may cross the border
        whole, prompt = adapter.decode(ids), adapter.decode(ids[:cut])
        assert "".join(streamed(TextStream(shared, after=ids[:cut]), ids[cut:])) == whole[len(prompt) :]


def test_the_space_after_a_prompt_stays() -> None:
    adapter, shared = texts("llama2")
    ids = [adapter.inner.token_to_id("▁hello")]
    assert TextStream(shared).push(ids) == "hello"
    assert TextStream(shared, after=ids).push(ids) == " hello"


@pytest.mark.parametrize("kind", ["byte-level", "llama2"])
def test_work_grows_with_the_number_of_tokens(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    adapter, shared = texts(kind)
    seen = 0
    plain = adapter.decode

    def counted(token_ids: Sequence[int], *, skip_special: bool = True) -> str:
        nonlocal seen
        seen += len(token_ids)
        return plain(token_ids, skip_special=skip_special)

    monkeypatch.setattr(adapter, "decode", counted)
    for unit in (b"\xff", b"a", "é".encode()):
        seen = 0
        ids = encoded_bytes(adapter, unit * 1000) + [adapter.inner.token_to_id("a")] * 1000
        streamed(TextStream(shared), ids, range(len(ids)))
        assert seen <= 6 * len(ids)


# ── stop strings ─────────────────────────────────────────────────────────────────────────────────


def cut_at_stop(text: str, stops: Sequence[str]) -> tuple[str, str | None, int]:
    """Text before the stop string that ends first (the longest of those), that string, and its end."""
    for end in range(len(text) + 1):
        for stop in sorted(stops, key=len, reverse=True):
            if text[:end].endswith(stop):
                return text[: end - len(stop)], stop, end
    return text, None, len(text)


@settings(deadline=None, max_examples=400)
@given(
    text=st.text("abc", max_size=30),
    stops=st.lists(st.text("abc", min_size=1, max_size=5), min_size=1, max_size=4),
    cuts=st.lists(st.integers(0, 30), max_size=8),
    include=st.booleans(),
)
def test_stop_strings_cut_the_text_wherever_tokens_end(
    text: str, stops: list[str], cuts: list[int], include: bool
) -> None:
    adapter, shared = texts("byte-level")
    ids = encoded_bytes(adapter, text.encode())
    kept, stop, end = cut_at_stop(text, stops)
    stream = TextStream(shared, stop=stops, include_stop=include)
    assert "".join(streamed(stream, ids, cuts)) == kept + (stop or "") * include
    assert stream.stopped == stop
    assert stream.num_tokens == end


@settings(deadline=None, max_examples=200)
@given(st.text("ab", max_size=20), st.lists(st.text("ab", min_size=1, max_size=4), min_size=1, max_size=3))
def test_shown_text_is_never_taken_back(text: str, stops: list[str]) -> None:
    adapter, shared = texts("byte-level")
    stream = TextStream(shared, stop=stops)
    shown = ""
    for done, token in enumerate(encoded_bytes(adapter, text.encode()), start=1):
        shown += stream.push([token])
        safe, stop, _ = cut_at_stop(text[:done], stops)
        longest = max((n for s in stops for n in range(len(s)) if safe.endswith(s[:n])), default=0)
        assert shown == (safe if stop else safe[: len(safe) - longest])


def test_a_stop_string_across_tokens_is_never_shown() -> None:
    adapter, shared = texts("byte-level")
    stream = TextStream(shared, stop=["world!", "\n\n"])
    ids = adapter.inner.encode("hello world! more").ids
    pieces = [stream.push([token]) for token in ids]
    assert "".join(pieces) == "hello "
    assert stream.stopped == "world!"
    assert adapter.decode(ids[: stream.num_tokens]) == "hello world!"
    assert stream.finish() == ""


def test_a_stop_string_of_several_bytes_is_found() -> None:
    adapter, shared = texts("byte-level")
    stream = TextStream(shared, stop=["。"])
    ids = encoded_bytes(adapter, "好。吧".encode())
    assert stream.push(ids) == "好"
    assert stream.num_tokens == 6


def test_held_back_text_comes_at_the_end() -> None:
    adapter, shared = texts("byte-level")
    stream = TextStream(shared, stop=["abcd"])
    assert stream.push(encoded_bytes(adapter, b"xxabc")) == "xx"
    assert stream.finish() == "abc"


def test_special_tokens_are_silent_but_counted() -> None:
    adapter, shared = texts("byte-level")
    ids = [adapter.inner.token_to_id(token) for token in ("a", "<|im_end|>", "b")]
    stream = TextStream(shared)
    assert (stream.push(ids), stream.num_tokens) == ("ab", 3)
    assert TextStream(shared, skip_special=False).push(ids) == "a<|im_end|>b"
