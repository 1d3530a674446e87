"""What users get wrong, and rows that are wrong: a clear error, for the row alone where it is a row's fault."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import pyarrow as pa
import pytest

from paceline.errors import ConfigError, ExecutionError, PlanError, ResourceError
from paceline.sql import Answer, Ask, Connection, connect
from tests.sql.fakes import Model


@pytest.fixture
def con() -> Iterator[Connection]:
    with connect(Model(), store=False) as connection:
        connection.register("reviews", {"id": [1, 2], "title": ["a", "b"], "reviewText": ["x", "y"]})
        yield connection


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("SELECT llm('x', titel) FROM reviews", "there is no column 'titel'; did you mean 'title'?"),
        ("SELECT r.titel, llm('x', title) FROM reviews r", "no column 'titel'; did you mean 'title'?"),
        ("SELECT llm('x', q.title) FROM reviews r", "no table is called 'q'"),
        ("SELECT llm('x', title) FROM review", "there is no table or file 'review'; did you mean 'reviews'?"),
        ("SELECT llm('x', title) FROM 'none.parquet'", "there is no table or file 'none.parquet'"),
        ("SELECT llm_fliter('x', title) FROM reviews", "unknown function 'llm_fliter'; did you mean 'llm_filter'?"),
        ("SELECT llm('x', title, on_eror := 'keep') FROM reviews", "unknown option 'on_eror'; did you mean 'on_error'?"),
        ("SELECT llm('x', title, on_error := 'ignore') FROM reviews", "on_error must be one of null, fail, keep; got 'ignore'"),
        ("SELECT llm('x', title, field_order := 'best') FROM reviews", "field_order must be one of auto, fixed, as_written"),
        ("SELECT llm('x', title, max_tokens := 'many') FROM reviews", "max_tokens must be a whole number"),
        ("SELECT llm('x', title, max_tokens := 2.5) FROM reviews", "max_tokens must be a whole number"),
        ("SELECT llm('x', title, on_error := lower('KEEP')) FROM reviews", "the option on_error must be a constant"),
        ("SELECT llm(title) FROM reviews", "the prompt of llm must be a constant text"),
        ("SELECT llm() FROM reviews", "llm needs a prompt"),
        ("SELECT llm_choice('x', title) FROM reviews", "llm_choice needs a list of labels"),
        ("SELECT llm_choice('x', ['a', 'a'], title) FROM reviews", "the labels of llm_choice must be distinct"),
        ("SELECT llm_choice('x', [], title) FROM reviews", "llm_choice needs a list of labels"),
        ("SELECT llm_json('x', '{', title) FROM reviews", "the schema of llm_json is not JSON"),
        ("SELECT llm_json('x', '[1]', title) FROM reviews", "must be a JSON object"),
        ("SELECT llm_json('x', '{\"a\": \"text\"}', title) FROM reviews", "{name: type} with types string, integer"),
        ("SELECT llm('x', title, title) FROM reviews", "two fields called"),
        ("SELECT llm('x', t := id, t := title) FROM reviews", "llm is given two fields called 't'"),
        ("SELECT llm('x', title FROM reviews", "syntax error"),
        ("SELECT llm('x', title) FROM reviews LIMIT 10 PERCENT", "LIMIT must be a whole number"),
        ("SELECT *, llm('x', 1) FROM range(3)", "stands for no known columns; name them"),
        ("DELETE FROM reviews", "one query"),
        ("SELECT 1; SELECT 2", "one query"),
        ("", "one query"),
        ("SELECT id FROM reviews WHERE llm_agg('x', title) = 'y'", "is an aggregate"),
        ("SELECT llm_filter('x', title) AND lenght(title) > 2 FROM reviews", "DuckDB cannot run a part of the query"),
    ],
)  # fmt: skip
def test_a_wrong_query_says_what_to_change(con: Connection, query: str, said: str) -> None:
    with pytest.raises(PlanError) as caught:
        con.sql(query)
    assert said in str(caught.value)


def test_names_are_found_whatever_their_case_and_keep_their_spelling(con: Connection) -> None:
    table = con.sql("SELECT REVIEWTEXT, llm('x', reviewtext) AS t FROM Reviews WHERE ID = 1").arrow()
    assert table.to_pylist() == [{"reviewText": "x", "t": '<{"reviewText": "x"}>'}]


def test_an_unknown_model_is_named(con: Connection) -> None:
    con.add_model("large", Model("large"))
    with pytest.raises(ConfigError, match=r"unknown model 'larg'; did you mean 'large'\?"):
        con.sql("SELECT llm('x', title, model := 'larg') FROM reviews")


def test_an_unknown_engine_is_named() -> None:
    with pytest.raises(ConfigError, match="unknown sql engine 'duckbd'; did you mean 'duckdb'"):
        connect(Model(), engine="duckbd", store=False)


class Narrow(Model):
    """A model with a small context."""

    def ask(self, asks: Iterable[Ask], done: Callable[[int, Answer], None]) -> None:
        for number, one in enumerate(asks):
            if len(one.user) > 1000:
                done(number, Answer(None, f"the prompt has {len(one.user)} tokens, the model takes 1000", attempts=0))
            else:
                done(number, Answer("short"))


def test_a_row_beyond_the_context_fails_alone() -> None:
    with connect(Narrow(), store=False) as con:
        con.register("t", {"id": [1, 2, 3], "text": ["a", "b" * 1_000_000, "c"]})
        result = con.sql("SELECT id, llm('x', text, on_error := 'keep') AS t FROM t")
    rows = result.arrow().column("t").to_pylist()
    assert [row["value"] for row in rows] == ["short", None, "short"]
    assert "the model takes 1000" in rows[1]["error"]
    assert result.report[0].num_errors == 1


def test_on_error_fail_ends_the_query_and_keeps_what_was_answered() -> None:
    model = Model()
    with connect(model, store=False) as con:
        con.register("t", {"text": ["a", "broken", "c"]})
        with pytest.raises(ExecutionError, match="the row is broken"):
            con.sql("SELECT llm('x', text, on_error := 'fail', field_order := 'as_written') AS t FROM t")
        sent = len(model.asked)
        con.sql("SELECT llm('x', text, field_order := 'as_written') AS t FROM t WHERE text <> 'broken'")
        assert len(model.asked) < sent + 2


def test_bytes_that_are_no_text_fail_alone() -> None:
    with connect(Model(), store=False) as con:
        con.register("t", pa.table({"id": [1, 2], "raw": pa.array([b"fine", b"\xff\xfe"], pa.binary())}))
        rows = con.sql("SELECT llm('x', raw, on_error := 'keep') AS t FROM t").fetchall()
        agg = con.sql("SELECT id, llm_agg('Sum up', raw) AS t FROM t GROUP BY id ORDER BY id").fetchall()
    assert rows[0][0]["value"] == '<{"raw": "fine"}>'
    assert rows[1][0]["value"] is None
    assert "the field 'raw' is not UTF-8 text (byte 0)" in rows[1][0]["error"]
    assert agg == [(1, "Sum up 1"), (2, None)]


def test_a_text_column_that_is_no_text_is_refused_with_its_name() -> None:
    broken = pa.Array.from_buffers(
        pa.string(), 1, [None, pa.py_buffer(b"\x00\x00\x00\x00\x02\x00\x00\x00"), pa.py_buffer(b"\xff\xfe")]
    )
    with (
        connect(Model(), store=False) as con,
        pytest.raises(ConfigError, match="the column 'text' holds text that is not UTF-8"),
    ):
        con.register("t", pa.table({"text": broken}))


@pytest.mark.parametrize("data", [42, object(), "reviews.xlsx"])
def test_what_is_no_table_is_refused(con: Connection, data: object) -> None:
    with pytest.raises(ConfigError, match=r"a table must be|known endings"):
        con.register("t", data)


def test_more_requests_than_allowed_are_not_sent() -> None:
    model = Model()
    with connect(model, store=False) as con:
        con.register("t", {"id": list(range(50))})
        with pytest.raises(ResourceError, match="needs 50 requests so far, max_requests is 10"):
            con.sql("SELECT llm('x', id) FROM t", max_requests=10)
        assert model.asked == []
        con.sql("SELECT llm('x', id) FROM t WHERE id < 10", max_requests=10)


def test_a_limit_of_cost_needs_a_price_and_stops_in_between() -> None:
    model = Model("gpt-4o-mini")
    with connect(Model(), store=False) as con:
        con.register("t", {"id": [1]})
        with pytest.raises(ConfigError, match="max_cost needs a price for the model 'fake'"):
            con.sql("SELECT llm('x', id) FROM t", max_cost=1.0)
    with connect(model, store=False) as con:
        con.register("t", {"id": list(range(1000))})
        with pytest.raises(ResourceError, match="is expected to cost"):
            con.sql("SELECT llm('x', id) FROM t", max_cost=0.01)
        assert model.asked == []


class Talkative(Model):
    """A model whose answers are longer than usual."""

    def ask(self, asks: Iterable[Ask], done: Callable[[int, Answer], None]) -> None:
        super().ask(asks, lambda number, answer: done(number, answer._replace(output_tokens=10_000)))


def test_a_query_that_becomes_dearer_than_expected_is_stopped_and_goes_on_later() -> None:
    model = Talkative("gpt-4o-mini")
    with connect(model, store=False) as con:
        con.register("t", {"id": list(range(100))})
        with pytest.raises(ResourceError, match=r"has cost 0\.054\d*, max_cost is 0\.05"):
            con.sql("SELECT llm('x', id) FROM t", max_cost=0.05)
        assert len(model.asked) == 9
        con.sql("SELECT llm('x', id) FROM t")
        assert len(model.asked) == 100, "what was paid for is not asked again"
