"""``llm_agg``: a tree of calls over the rows of a group, always cut at the same places."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from paceline.sql import prompt
from paceline.sql.ask import Result, answers_array, read
from paceline.sql.asker import Asker
from paceline.sql.call import Call
from paceline.sql.model import Answer, Ask
from paceline.sql.report import CallReport
from paceline.sql.store import key as store_key

FAN_IN: Final = 16  # rows, or answers about rows, in one prompt
MAX_CHUNK_TOKENS: Final = 2048  # so that a chunk fits into small contexts


def groups(keys: pa.Table, num_rows: int) -> NDArray[np.int64]:
    """A number per row, equal for rows with equal keys; NULL is equal to NULL. [rows]"""
    number = np.zeros(num_rows, np.int64)
    for column in keys.columns:
        codes = column.combine_chunks().dictionary_encode(null_encoding="encode").indices.to_numpy(zero_copy_only=False)
        _, number = np.unique(number * (int(codes.max(initial=0)) + 1) + codes, return_inverse=True)
    return number


def chunks(texts: Sequence[str], num_tokens: Sequence[int], least: int) -> list[list[str]]:
    """Neighbours that go into one prompt: up to ``FAN_IN``, or ``MAX_CHUNK_TOKENS`` once there are ``least``.

    >>> chunks(["a"] * 20, [1] * 20, 1) == [["a"] * 16, ["a"] * 4]
    True
    """
    cut: list[list[str]] = []
    size = 0
    for text, tokens in zip(texts, num_tokens, strict=True):
        too_long = size + tokens > MAX_CHUNK_TOKENS and bool(cut) and len(cut[-1]) >= least
        if not cut or len(cut[-1]) == FAN_IN or too_long:
            cut.append([])
            size = 0
        cut[-1].append(text)
        size += tokens
    return cut


def reduce(call: Call, columns: pa.Table, group_of: NDArray[np.int64], asker: Asker) -> pa.Array:
    """The answer about each group. Rows with nothing but NULL are left out, as aggregates do; no row gives NULL.

    Level by level, the prompts of all groups together: about rows first, then about the answers, until a group has
    one answer. A group one of whose prompts fails, fails.
    """
    model = asker.models(call.options.model)
    report = asker.report(call, columns.num_rows)
    results: list[Result] = [(None, None, 0)] * (int(group_of.max(initial=-1)) + 1)
    texts = _row_texts(call, columns, group_of, results) if call.prompt is not None else {}
    least = 1  # from the second level on every prompt merges at least two answers, so that it ends
    while texts:
        cut = {group: chunks(one, list(map(model.num_tokens, one)), least) for group, one in texts.items()}
        prompts = [
            prompt.user_text(call.prompt or "", f"[{', '.join(part)}]") for parts in cut.values() for part in parts
        ]
        answers = iter(_ask(call, prompts, asker, report))
        texts = {}
        for group, parts in cut.items():
            read_ = [read(call, next(answers)) for _ in parts]
            failed = next((one for one in read_ if one[1] is not None), None)
            if failed is not None or len(parts) == 1:
                results[group] = failed or read_[0]
            else:
                texts[group] = [prompt.value_text(value) for value, _, _ in read_]
        least = 2
    return answers_array(call, dict(enumerate(results)), report)


def _row_texts(
    call: Call, columns: pa.Table, group_of: NDArray[np.int64], results: list[Result]
) -> dict[int, list[str]]:
    """JSON of the rows of every group that has any; a group with a row that cannot be shown gets its error."""
    texts: dict[int, list[str]] = {}
    shown = [prompt.column_texts(column) for column in columns.columns]
    cells = [column.to_pylist() for column, _ in shown]
    keys = [item.key for item in call.fields]
    for row, group in enumerate(group_of.tolist()):
        values = [column[row] for column in cells]
        if None in values:
            number = values.index(None)
            results[group] = (None, f"the field {keys[number]!r} {shown[number][1]}", 0)
        elif any(value != "null" for value in values):
            named = prompt.row_text(map(prompt.cell_text, keys, values))
            texts.setdefault(group, []).append(values[0] if len(values) == 1 else named)
    return {group: one for group, one in texts.items() if results[group][1] is None}


def _ask(call: Call, prompts: Sequence[str], asker: Asker, report: CallReport) -> list[Answer]:
    """Answers in the order of ``prompts``; equal ones are asked once."""
    model = asker.models(call.options.model)
    params = {"max_tokens": call.max_tokens, "choices": []}
    key_of = {text: store_key(model.name, asker.system, text, "", params) for text in prompts}
    answers = asker.known(list(key_of.values()))
    report.num_stored += len(answers)
    todo = [text for text, key in key_of.items() if key not in answers]
    keys = [key_of[text] for text in todo]
    report.num_distinct += len(key_of)
    report.plan_texts(sum(map(model.num_tokens, todo)), len(todo), call.max_tokens)
    if asker.is_dry:
        answers |= {key: Answer(str(prompt.stand_in(call, number))) for number, key in enumerate(keys)}

    def done(number: int, answer: Answer) -> None:
        answers[keys[number]] = answer
        report.count(answer)
        asker.watch(answer, 1)

    if todo and not asker.is_dry:
        with report.timed():
            asker.send(model, (Ask(asker.system, text, call.max_tokens) for text in todo), keys, done)
    return [answers[key_of[text]] for text in prompts]
