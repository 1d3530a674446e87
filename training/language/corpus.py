"""Training batches: chats about table rows, small talk and Python source, packed into rows of tokens.

A batch is a function of (seed, step) alone, so training resumes exactly and needs no data on disk.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from training.language import edits, tables, talk
from training.language.library import code_files
from training.language.tables import Question, Row
from training.language.tokenizer import END, END_OF_TEXT, special_id

TRAIN_SEEDS: Final = 1_000_000  # tables with smaller seeds are never trained on
ANSWER_WEIGHT: Final = 8.0
PROMPT_WEIGHT: Final = 0.5
PROJECTION_SHARE: Final = 0.08  # of the answers are followed by a request for some fields as JSON
ROW: Final = 256
EDIT_SHARE: Final = 0.12  # of the chats edit code
CODE_SHARE: Final = 0.07  # of the rows are code from the start
PROMPT_SHARE: Final = 0.15  # of the prompt's tokens are predicted at all
# A user's own layout differs from ours; a part of the training does, too.
SYSTEMS: Final[tuple[str | None, ...]] = (
    *[tables.SYSTEM] * 7,
    None,
    "You are a data analyst. Use the provided JSON data to answer the user query based on the specified fields. "
    "Respond with only the answer, no extra formatting.",
    "Answer from the JSON fields. Answer only.",
)


class Document(NamedTuple):
    ids: list[int]
    weights: list[float]  # of each token as a thing to predict


@dataclass(frozen=True, slots=True)
class Batch:
    ids: NDArray[np.int64]  # [B, T]
    weights: NDArray[np.float32]  # [B, T] of predicting this token


def encode_code(tokenizer: Tokenizer, held_out: bool) -> NDArray[np.uint16]:
    end = special_id(tokenizer, END_OF_TEXT)
    files = tokenizer.encode_batch(list(code_files(held_out)), add_special_tokens=False)
    return np.concatenate([np.array([*file.ids, end], dtype=np.uint16) for file in files])


def matching_row(rng: random.Random, kind: str, question: Question) -> Row:
    """A fresh row; for yes-no questions both answers come equally often."""
    wanted = rng.choice(("yes", "no"))
    rows = tables.make_table(kind, 6, seed=TRAIN_SEEDS + rng.getrandbits(48))
    if question.task not in ("filter", "consistency"):
        return rows[0]
    return next((row for row in rows if tables.answer(row, question) == wanted), rows[0])


# Reading a text is harder than copying a field, so it is practised more.
TASK_WEIGHTS: Final = {
    "sentiment": 3.0, "category": 5.0, "rating": 4.0, "filter": 4.0, "consistency": 4.0, "aspect": 1.5, "summary": 1.5,
    "extract": 0.3,
}  # fmt: skip


def pick_questions(rng: random.Random, kind: str, count: int) -> list[Question]:
    pool = tables.questions(kind)
    return rng.choices(pool, weights=[TASK_WEIGHTS[question.task] for question in pool], k=count)


def table_turns(rng: random.Random, num_turns: int) -> list[tuple[str, str]]:
    """Questions and answers about one row; now and then a new row comes in."""
    kind = rng.choice(tables.KINDS)
    asked = pick_questions(rng, kind, num_turns)
    turns: list[tuple[str, str]] = []
    row: Row = {}
    for number, question in enumerate(asked):
        text = rng.choice(question.texts)
        if number == 0 or rng.random() < 0.3:
            row = matching_row(rng, kind, question)
            needed = {field for later in asked for field in later.fields}
            text = tables.prompt(text, row, field_order(rng, row, needed))
        turns.append((text, tables.answer(row, question)))
        if rng.random() < PROJECTION_SHARE:
            turns.append(projection(rng, row, [name for name in row if f'"{name}": ' in text] or list(question.fields)))
    return turns


def projection(rng: random.Random, row: Row, shown: Sequence[str]) -> tuple[str, str]:
    """Fields asked for as JSON. The reply is long and copied, which teaches looking up faster than short answers do."""
    names = rng.sample(shown, min(len(shown), rng.randint(1, 3)))
    return f"Return {', '.join(names)} as JSON.", json.dumps({name: row[name] for name in names}, ensure_ascii=False)


def field_order(rng: random.Random, row: Row, needed: set[str]) -> list[str]:
    """Random order; most rows show only a part of the fields that nobody asks for."""
    share = rng.choice((1.0, 0.4, 0.2, 0.0))
    names = [name for name in row if name in needed or rng.random() < share]
    rng.shuffle(names)
    return names


def record_turns(rng: random.Random, num_turns: int) -> list[tuple[str, str]]:
    row, name = tables.record(rng)
    turns = []
    for number in range(num_turns):
        name = name if number == 0 else rng.choice(list(row))
        spoken = rng.choice((name, name.replace("_", " ")))
        ask = rng.choice(("What is the {}?", "Return the value of {}.", "Give the {} only.", "Extract the field {}."))
        text = ask.format(spoken)
        turns.append((tables.prompt(text, row) if number == 0 else text, tables.text_of(row[name])))
        if rng.random() < 2 * PROJECTION_SHARE:
            turns.append(projection(rng, row, list(row)))
    return turns


def conversation(rng: random.Random, most_turns: int) -> tuple[str | None, list[tuple[str, str]]]:
    """A system text and the turns of one chat."""
    roll = rng.random()
    if roll < 0.03:
        return talk.small_talk(rng)
    if roll > 1.0 - EDIT_SHARE:
        return rng.choice(talk.SYSTEMS), edits.edit_turns(rng, min(4, most_turns))
    num_turns = min(rng.choice((2, 16, 16, 16)), most_turns)
    maker = record_turns if roll < 0.15 else table_turns
    return rng.choice(SYSTEMS), maker(rng, num_turns)


class Corpus:
    """`code` is the text to continue, as tokens of files one after another."""

    def __init__(self, tokenizer: Tokenizer, code: NDArray[np.uint16], seed: int) -> None:
        self._tokenizer, self._code, self._seed = tokenizer, code, seed

    def batch(self, step: int, num_tokens: int) -> Batch:
        """The batch of one step: mostly rows of 256 tokens, one batch in sixteen of 1024 or 2048."""
        rng = random.Random(f"{self._seed}/{step}")
        length = ROW if step % 16 != 15 else rng.choice((1024, 2048))
        rows = [self._row(rng, length) for _ in range(max(1, num_tokens // length))]
        ids, weights = (np.array(part) for part in zip(*rows, strict=True))
        return Batch(ids.astype(np.int64), weights.astype(np.float32))

    def _row(self, rng: random.Random, length: int) -> Document:
        """One chat, then code to the end: the chat stands first, so it sees itself only, without a mask."""
        chat = Document([], []) if rng.random() < CODE_SHARE else self._chat(rng, length)
        code = self._window(rng, length - len(chat.ids))
        return Document(chat.ids + code.ids, chat.weights + code.weights)

    def _chat(self, rng: random.Random, room: int) -> Document:
        """A chat of at most `room` tokens; turns that do not fit are left out."""
        while True:
            chat = self.encode_chat(rng, *conversation(rng, most_turns=room // 16), room)
            if chat.ids:
                return chat

    def _window(self, rng: random.Random, length: int) -> Document:
        start = rng.randrange(len(self._code) - length)
        return Document(self._code[start : start + length].tolist(), ([0.0] + [1.0] * (length - 1))[:length])

    def encode_chat(
        self, rng: random.Random, system: str | None, turns: Sequence[tuple[str, str]], room: int
    ) -> Document:
        pieces: list[str] = []
        for number, (user, reply) in enumerate(turns):
            head = tables.chat(user, system if number == 0 else None)
            pieces += [head if number == 0 else "\n" + head, f"{reply}{END}"]
        encoded = [piece.ids for piece in self._tokenizer.encode_batch_fast(pieces, add_special_tokens=False)]
        chat = Document([], [])
        for ask, reply_ids in zip(encoded[::2], encoded[1::2], strict=True):
            if len(chat.ids) + len(ask) + len(reply_ids) > room:
                break
            chat.ids.extend(ask + reply_ids)
            chat.weights.extend(PROMPT_WEIGHT * (rng.random() < PROMPT_SHARE) for _ in ask)
            chat.weights.extend([ANSWER_WEIGHT] * len(reply_ids))
        return chat


def sample_texts(seed: int, num_chats: int) -> Iterator[str]:
    """What the tokenizer learns from."""
    rng = random.Random(f"tokenizer/{seed}")
    yield from code_files(held_out=False)
    for _ in range(num_chats):
        _, turns = conversation(rng, most_turns=4)
        yield from (f"{user}\n{reply}" for user, reply in turns)
