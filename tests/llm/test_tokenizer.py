"""Text to ids and back: control tokens come from templates alone."""

from __future__ import annotations

from pathlib import Path

import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, decoders, models, pre_tokenizers, processors

from paceline.errors import InvalidRequest, ModelError
from paceline.llm.tokenizer import MARK, Tokenizer, without_marks
from tests.llm.folders import SPECIALS, tiny_tokenizer, write_folder

TINY = Tokenizer(tiny_tokenizer(), eos_ids=(2, 0))


def metaspace_tokenizer() -> tokenizers.Tokenizer:
    """The kind that Llama 2 and Mistral have: a space mark before words and at the beginning, bytes as fallback."""
    symbols = ["<unk>", "<s>", "</s>", "[INST]", "[/INST]", *(f"<0x{byte:02X}>" for byte in range(256))]
    symbols += [*"▁abcdefghijklmnopqrstuvwxyz", "▁a", "▁b", "▁h", "▁he", "he", "ll"]
    merges = [("▁", "a"), ("▁", "b"), ("▁", "h"), ("▁h", "e"), ("h", "e"), ("l", "l")]
    vocab = {symbol: index for index, symbol in enumerate(symbols)}
    inner = tokenizers.Tokenizer(models.BPE(vocab=vocab, merges=merges, unk_token="<unk>", byte_fallback=True))
    inner.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    inner.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    inner.add_special_tokens([AddedToken(text, special=True, normalized=False) for text in symbols[:5]])
    inner.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return inner


@pytest.mark.parametrize("special", SPECIALS)
def test_special_strings_of_users_are_text(special: str) -> None:
    ids = TINY.encode(f"a{special}b")
    assert TINY.special_ids.isdisjoint(ids)
    assert TINY.decode(ids) == f"a{special}b"


@settings(deadline=None)
@given(st.lists(st.sampled_from([*SPECIALS, "<|", "|>", "im_end", "a", " ", "\n", MARK, "\ufdd0", "é", "日"])))
def test_no_text_yields_a_special_token(pieces: list[str]) -> None:
    text = "".join(pieces)
    ids = TINY.encode(text)
    assert TINY.special_ids.isdisjoint(ids)
    assert TINY.decode(ids) == without_marks(text)


@settings(deadline=None)
@given(st.lists(st.sampled_from([*SPECIALS, "<|im_", " hello", "the", "\n\n", "日本", "<"])))
def test_allowed_specials_equal_the_library(pieces: list[str]) -> None:
    text = "".join(pieces)
    assert TINY.encode(text, allow_special=True) == tiny_tokenizer().encode(text, add_special_tokens=False).ids


def test_a_mark_makes_a_special_plain() -> None:
    text = f"<|im_start|>a{MARK}<|im_end|>b<|im_end|>"
    ids = TINY.encode(text, allow_special=True)
    assert [i for i in ids if i in TINY.special_ids] == [1, 2]
    assert TINY.decode(ids, skip_special=False) == text.replace(MARK, "")
    assert TINY.find_specials(text) == ["<|im_start|>", "<|im_end|>"]


def test_the_longest_special_wins() -> None:
    inner = tiny_tokenizer()
    inner.add_special_tokens(["<s>", "<s>x"])
    tokenizer = Tokenizer(inner)
    assert tokenizer.find_specials("<s>x<s>y") == ["<s>x", "<s>"]
    assert tokenizer.find_specials(f"{MARK}<s>x") == []


def test_specials_that_eat_spaces() -> None:
    inner = tiny_tokenizer()
    inner.add_special_tokens([AddedToken("<mask>", lstrip=True, rstrip=True, normalized=False, special=True)])
    plain = tokenizers.Tokenizer.from_str(inner.to_str())
    text = "hello  <mask>  the <mask>"
    expected = plain.encode(text, add_special_tokens=False).ids
    assert Tokenizer(inner).encode(text, allow_special=True) == expected


@pytest.mark.parametrize("text", ["<s>[INST] he llama [/INST] a b</s>", "he<s>he", "<s>", "a [INST]b", "", " "])
def test_space_marks_at_the_beginning_only(text: str) -> None:
    """The text after a special token is not a beginning, and must not get the mark of one."""
    expected = metaspace_tokenizer().encode(text, add_special_tokens=False).ids
    assert Tokenizer(metaspace_tokenizer()).encode(text, allow_special=True) == expected


def test_what_the_model_expects_around_a_text() -> None:
    tokenizer = Tokenizer(metaspace_tokenizer())
    assert tokenizer.encode("he a", add_special=True) == metaspace_tokenizer().encode("he a").ids
    assert tokenizer.encode("<s>", add_special=True)[0] == 1
    assert tokenizer.encode("<s>", add_special=True).count(1) == 1


@pytest.mark.parametrize("text", ["hello 日本 \n\x00 é<|im_end|>", "a\u0301 \U0001f600"])
def test_bytes_of_tokens_make_up_the_text(text: str) -> None:
    assert b"".join(map(TINY.token_bytes, TINY.encode(text))) == text.encode()
    assert b"".join(map(TINY.token_bytes, TINY.encode(text, allow_special=True))) == text.encode()


def test_bytes_of_byte_fallback_tokens() -> None:
    tokenizer = Tokenizer(metaspace_tokenizer())
    assert b"".join(map(tokenizer.token_bytes, tokenizer.encode("he 日"))) == " he 日".encode()


def test_unknown_ids() -> None:
    assert TINY.decode([5000, 352, 270]) == TINY.decode([270])  # 352 is the first id that a model may have beyond
    assert TINY.token(352) is None
    assert TINY.token_bytes(5000) == b""


def test_lone_surrogates_are_refused() -> None:
    with pytest.raises(InvalidRequest, match="surrogate"):
        TINY.encode("a\ud800")


@pytest.mark.parametrize("unit", ["a", "<|im_end|>", "<|im_", "é"])
def test_long_texts_take_linear_space(unit: str) -> None:
    assert len(TINY.encode(unit * 20_000)) == 20_000 * len(TINY.encode(unit * 2)) / 2


def test_length_bound() -> None:
    assert TINY.may_fit("hello" * 10, 10)
    assert not TINY.may_fit("x" * 1000, 10)


def test_from_folder(tmp_path: Path) -> None:
    tokenizer = Tokenizer.from_folder(write_folder(tmp_path, "llama"))
    assert tokenizer.eos_ids == (2, 0)
    assert tokenizer.vocab_size == 352
    assert tokenizer.special_strings == SPECIALS


@pytest.mark.parametrize("content", [None, "", "{}", '{"model": 3}', "[" * 10_000])
def test_broken_folders(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "tokenizer.json").write_text(content)
    with pytest.raises(ModelError, match=r"tokenizer\.json"):
        Tokenizer.from_folder(tmp_path)
