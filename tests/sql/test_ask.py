"""One call over rows: equal requests once, the store, the order, and that nothing paid for is lost."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from paceline.sql.ask import Requests
from paceline.sql.asker import Asker, Memory
from paceline.sql.call import Call, Field, Options
from paceline.sql.model import Answer, Ask
from paceline.sql.plan import column
from paceline.sql.store import AnswerStore
from tests.sql.fakes import Model


def call(*keys: str, kind: str = "llm", prompt: str | None = "Give the hash.", **options: object) -> Call:
    return Call(kind, prompt, tuple(Field(key, column(key)) for key in keys), options=Options(**options))  # type: ignore[arg-type]


def asker(model: Model, store: object = None) -> Asker:
    return Asker(lambda name: model, store or Memory())  # type: ignore[arg-type]


TABLE = pa.table({
    "a": [f"entity {row % 7} " * 10 for row in range(100)],
    "b": [None if row % 3 == 0 else "" if row % 3 == 1 else "x" for row in range(100)],
    "c": [row % 50 for row in range(100)],
})  # fmt: skip


def test_equal_requests_are_asked_once_and_answers_find_their_rows() -> None:
    model = Model()
    requests = Requests(call("a", "b", "c"), TABLE, asker(model))
    requests.answer()
    values = requests.values().to_pylist()
    distinct = {(row["a"], row["b"], row["c"]) for row in TABLE.to_pylist()}
    assert len(model.asked) == len(distinct)
    alone = Model()
    for row in (0, 1, 2, 57):
        one = Requests(call("a", "b", "c"), TABLE.slice(row, 1), asker(alone))
        one.answer()
        assert one.values().to_pylist() == [values[row]]


def test_answers_do_not_depend_on_the_order_of_fields() -> None:
    found = []
    for field_order in ("auto", "fixed", "as_written"):
        requests = Requests(call("a", "b", "c", field_order=field_order), TABLE, asker(Model()))
        requests.answer()
        found.append(requests.values().to_pylist())
    assert found[0] == found[1] == found[2]


def test_the_planned_order_shares_more_than_the_rows_as_they_come() -> None:
    reports = {}
    for field_order in ("auto", "as_written"):
        model = Model()
        requests = Requests(call("c", "a", "b", field_order=field_order), TABLE.select(["c", "a", "b"]), asker(model))
        requests.answer()
        reports[field_order] = requests.report
    assert reports["auto"].cached_tokens > reports["as_written"].cached_tokens
    assert reports["auto"].hits["planned"] <= reports["auto"].hits["bound"]


def test_as_written_keeps_the_fields_in_place() -> None:
    model = Model()
    Requests(call("c", "a", "b", field_order="as_written"), TABLE.select(["c", "a", "b"]), asker(model)).answer()
    assert all(list(json.loads(text.split("\n")[1])) == ["c", "a", "b"] for text in model.asked)


def test_pinned_fields_stand_last() -> None:
    model = Model()
    pinned = Call("llm", "?", tuple(Field(key, column(key)) for key in "acb"), pinned=(0,))
    Requests(pinned, TABLE.select(["a", "c", "b"]), asker(model)).answer()
    assert all(list(json.loads(text.split("\n")[1]))[-1] == "a" for text in model.asked)


def test_interchangeable_fields_are_one_request_in_either_order() -> None:
    model = Model()
    loose = Call("llm", "?", (Field("doc", column("x")), Field("doc", column("y"))), unordered=((0, 1),))
    requests = Requests(loose, pa.table({"x": ["p", "q"], "y": ["q", "p"]}), asker(model))
    requests.answer()
    assert len(model.asked) == 1
    first, second = requests.values().to_pylist()
    assert first == second


def test_a_second_run_asks_nothing(tmp_path: Path) -> None:
    for expected in (50, 0):
        model = Model()
        with AnswerStore(tmp_path / "answers.sqlite") as store:
            requests = Requests(call("c"), TABLE.select(["c"]), asker(model, store))
            requests.answer()
        assert len(model.asked) == expected
        assert None not in requests.values().to_pylist()
    assert requests.report.num_stored == 50


def test_other_questions_labels_and_limits_are_other_answers() -> None:
    model, store = Model(), Memory()
    calls = [
        call("c"), call("c", prompt="Another hash?"), call("c", max_tokens=3), call("c", kind="llm_filter"),
        Call("llm_choice", "Give the hash.", call("c").fields, labels=("yes", "no")),
    ]  # fmt: skip
    for one in calls:
        Requests(one, TABLE.select(["c"]).slice(0, 1), asker(model, store)).answer()
    assert len(model.asked) == len(calls)


def test_errors_are_not_kept() -> None:
    model, store = Model(), Memory()
    for _ in range(2):
        requests = Requests(call("a"), pa.table({"a": ["broken"]}), asker(model, store))
        requests.answer()
        assert requests.values().to_pylist() == [None]
    assert len(model.asked) == 2


def test_only_rows_that_are_wanted_are_asked() -> None:
    model = Model()
    requests = Requests(call("c"), TABLE.select(["c"]), asker(model))
    requests.answer(np.array([3, 53, 4]))
    assert len(model.asked) == 2
    requests.answer(np.array([4, 5]))
    assert len(model.asked) == 3
    assert requests.values(np.array([3])).to_pylist() == requests.values(np.array([53])).to_pylist()


class Interrupted(Model):
    """A model whose user presses Ctrl-C after some answers."""

    def __init__(self, after: int) -> None:
        super().__init__()
        self._after = after

    def ask(self, asks: Iterable[Ask], done: Callable[[int, Answer], None]) -> None:
        def counted(number: int, answer: Answer) -> None:
            done(number, answer)
            if len(self.asked) == self._after:
                raise KeyboardInterrupt

        super().ask(asks, counted)


def test_what_was_answered_before_an_interruption_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "answers.sqlite"
    with AnswerStore(path) as store, pytest.raises(KeyboardInterrupt):
        Requests(call("c"), TABLE.select(["c"]), asker(Interrupted(20), store)).answer()
    model = Model()
    with AnswerStore(path) as store:
        Requests(call("c"), TABLE.select(["c"]), asker(model, store)).answer()
    assert len(model.asked) == 30


def test_no_rows_and_no_fields() -> None:
    model = Model()
    nothing = Requests(call("c"), TABLE.select(["c"]).slice(0, 0), asker(model))
    nothing.answer()
    assert nothing.values().to_pylist() == []
    constant = Requests(call(), pa.table({"x": [1, 2, 3]}).select([]), asker(model))
    constant.answer()
    assert len(model.asked) <= 1
