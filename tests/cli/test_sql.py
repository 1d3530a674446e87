"""``paceline sql`` as its users meet it: rows, files, explanations, kept answers, and what it says to mistakes."""

from __future__ import annotations

import csv
import inspect
import io
import json
import os
import re
import sys
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any, get_type_hints

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from benchmarks.relational.mock_server import MockServer
from paceline.cli import main, sql_output
from paceline.cli.demo_sql import show_tables
from paceline.cli.doctor import _PACKAGES
from paceline.cli.sql import sql
from paceline.errors import ExecutionError
from paceline.llm.embedded import embedded_model
from paceline.sql.clients import exchange
from paceline.sql.engines import ENGINES
from paceline.sql.model import MODELS
from tests.sql.fakes import Model

STAYS = {
    "city": ["Lyon", "Rome", "Lyon", "Kyoto"],
    "review": ["has pool", "has wifi", "has pool", None],
    "nights": [1, 2, 3, 4],
}
FILTER = "SELECT city, nights FROM stays WHERE llm_filter('has pool?', review)"


@pytest.fixture(autouse=True)
def _place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder with tables, a cache of one's own, no variables, and a terminal of 80 columns."""
    for name in [name for name in os.environ if name.startswith(("PACELINE_", "OPENAI_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    pq.write_table(pa.table(STAYS), "stays.parquet")


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> Model:
    """What answers in place of the model in the package."""
    fake = Model()
    monkeypatch.setitem(MODELS._items, "embedded", lambda: fake)
    return fake


def run(*arguments: str) -> int:
    """The exit code of ``paceline sql`` in this process."""
    with pytest.raises(SystemExit) as done:
        main(["sql", *arguments])
    return int(done.value.code or 0)


def test_rows_go_to_standard_output_and_the_summary_to_standard_error(
    model: Model, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(FILTER, "-t", "stays=stays.parquet") == 0
    told = capsys.readouterr()
    assert told.out == '"city","nights"\n"Lyon",1\n"Lyon",3\n'
    assert re.fullmatch(r"\[2 rows; 3 requests, \d+ tokens, \d+ % of the prompts cached, \d+\.\d s\]\n", told.err)
    assert run(FILTER, "-t", "stays=stays.parquet", "--quiet") == 0
    told = capsys.readouterr()
    assert told.out.count("\n") == 3
    assert told.err == ""
    assert len(model.asked) == 3, "what is kept is not asked again"
    assert model.closed


@pytest.mark.parametrize("source", ["-", "query.sql"])
def test_the_query_may_come_from_a_file(
    source: str, model: Model, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("query.sql").write_text(FILTER)
    monkeypatch.setattr("sys.stdin", io.StringIO(FILTER))
    assert run("--table", "stays=stays.parquet", source) == 0
    assert capsys.readouterr().out.count("Lyon") == 2


def test_json_is_one_object_for_programs(model: Model, capsys: pytest.CaptureFixture[str]) -> None:
    query = "SELECT city, llm('hash?', city, on_error := 'keep') AS told FROM stays"
    assert run(query, "-t", "stays=stays.parquet", "--json") == 0
    told = capsys.readouterr()
    found = json.loads(told.out)
    assert told.err == ""
    assert found["rows"][1]["city"] == "Rome"
    assert found["rows"][1]["told"]["error"] is None
    assert found["num_rows"] == 4
    assert found["num_requests"] == 3
    assert found["cost"] is None
    [call] = found["calls"]
    assert call["num_distinct"] == 3


READERS: dict[str, Callable[[bytes], list[dict[str, Any]]]] = {
    "rows.parquet": lambda data: pq.read_table(io.BytesIO(data)).to_pylist(),
    "rows.csv": lambda data: [{**row, "nights": int(row["nights"])} for row in csv.DictReader(io.StringIO(data.decode()))],
    "rows.json": json.loads,
    "rows.jsonl": lambda data: [json.loads(line) for line in data.splitlines()],
    "made/for/this/rows.ndjson": lambda data: [json.loads(line) for line in data.splitlines()],
}  # fmt: skip


@pytest.mark.parametrize("name", READERS)
def test_rows_go_to_a_file_of_any_known_kind(name: str, model: Model, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(FILTER, "-t", "stays=stays.parquet", "-o", name) == 0
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith("[2 rows; ")
    assert READERS[name](Path(name).read_bytes()) == [{"city": "Lyon", "nights": 1}, {"city": "Lyon", "nights": 3}]


def test_json_beside_a_file_leaves_out_the_rows(model: Model, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(FILTER, "-t", "stays=stays.parquet", "-o", "rows.csv", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert "rows" not in found
    assert found["num_rows"] == 2


def test_explain_asks_nothing_and_analyze_tells_what_came(model: Model, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(FILTER, "-t", "stays=stays.parquet", "--explain") == 0
    assert "3 distinct requests" in capsys.readouterr().out
    assert model.asked == []
    assert run(FILTER, "-t", "stays=stays.parquet", "--analyze") == 0
    assert "sent 3:" in capsys.readouterr().out
    assert run(FILTER, "-t", "stays=stays.parquet", "--explain", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["num_requests"] == 0
    assert told["calls"][0]["num_stored"] == 3
    assert "in the store" in told["text"]


def test_rows_without_an_answer_are_said(model: Model, capsys: pytest.CaptureFixture[str]) -> None:
    pq.write_table(pa.table({"review": ["fine", "broken", "broken too"]}), "broken.parquet")
    assert run("SELECT llm('hash?', review) AS told FROM t", "-t", "t=broken.parquet", "--quiet") == 0
    told = capsys.readouterr()
    assert told.out.splitlines()[2:] == ["", ""]
    assert told.err == "warning: 2 rows without an answer in llm('hash?', review); the first: the row is broken\n"


def test_a_model_may_be_a_folder(capsys: pytest.CaptureFixture[str]) -> None:
    query = "SELECT llm_filter('Is the review positive?', review) AS good FROM t"
    pq.write_table(pa.table({"review": ["I love it."]}), "t.parquet")
    assert run(query, "-t", "t=t.parquet", "--model", embedded_model(), "--quiet") == 0
    assert capsys.readouterr().out == '"good"\ntrue\n'


def test_an_endpoint_is_asked_with_the_key_of_the_environment(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with MockServer(api_key="right-key") as server:
        there = ("-t", "stays=stays.parquet", "--endpoint", server.url, "--model", "mock")
        monkeypatch.setenv("OPENAI_API_KEY", "wrong-key")
        assert run(FILTER, *there) == 2
        told = capsys.readouterr()
        assert "key" in told.err
        assert "wrong-key" not in told.out + told.err
        monkeypatch.setenv("PACELINE_SQL_API_KEY", "right-key")
        assert run(FILTER, *there) == 0
        assert server.counts.paid == 3
        assert run(FILTER, *there[:-1], "no-such-model") == 2
        assert "no-such-model" in capsys.readouterr().err


def test_an_endpoint_that_is_down_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(exchange, "_CONNECT_S", 0.0)
    with MockServer() as server:
        url = server.url
    assert run(FILTER, "-t", "stays=stays.parquet", "--endpoint", url, "--model", "mock") == 2
    assert f"no answer from {url}" in capsys.readouterr().err


HERE = ("-t", "stays=stays.parquet")
MISTAKES: list[tuple[tuple[str, ...], int, str]] = [
    ((), 2, "Missing argument 'QUERY'"),
    (("SELECT 1", "--tabel", "a=b.csv"), 2, "--table"),
    (("nope.sql",), 2, "the query nope.sql cannot be read: No such file"),
    (("latin.sql",), 2, "the query latin.sql cannot be read"),
    (("SELECT 1", "-t", "stays.parquet"), 2, "--table must be NAME=FILE, got 'stays.parquet'; try --table stays=stays.parquet"),
    (("SELECT 1", "-t", "=stays.parquet"), 2, "try --table stays=stays.parquet"),
    (("SELECT 1", "-t", "stays="), 2, "try --table reviews=reviews.csv"),
    (("SELECT 1", "-t", "s=nothing.parquet"), 2, "nothing.parquet"),
    (("SELECT 1", "-t", "s=stays.xls"), 2, "known endings: .parquet"),
    (("SELECT 1", "-t", "s=text.parquet"), 2, "text.parquet"),
    (("SELECT ctiy FROM stays", *HERE), 1, "did you mean 'city'?"),
    (("SELECT llm('x', ctiy) FROM stays", *HERE), 1, "did you mean 'city'?"),
    (("SELECT llm('x', city) FROM stay", *HERE), 1, "did you mean 'stays'?"),
    (("SELEC city FROM stays", *HERE), 1, "syntax error"),
    (("DROP TABLE stays", *HERE), 1, "SELECT"),
    (("SELECT llm_flter('x', city) FROM stays", *HERE), 1, "did you mean 'llm_filter'?"),
    (("SELECT llm('x', city, on_eror := 'fail') FROM stays", *HERE), 1, "did you mean 'on_error'?"),
    (("SELECT llm_json('x', '{', city) FROM stays", *HERE), 1, "schema"),
    (("SELECT llm('x', city, model := 'other') FROM stays", *HERE), 2, "unknown model 'other'"),
    (("SELECT llm('has broken?', city, nights, 'broken', on_error := 'fail') FROM stays", *HERE), 1, "the row is broken"),
    ((FILTER, *HERE, "--explain", "--analyze"), 2, "not both"),
    ((FILTER, *HERE, "--explain", "-o", "rows.csv"), 2, "--output takes the rows of a query"),
    ((FILTER, *HERE, "--store", "a.sqlite", "--no-store"), 2, "not both"),
    ((FILTER, *HERE, "--engine", "dukdb"), 2, "did you mean 'duckdb'?"),
    ((FILTER, *HERE, "--endpoint", "http://localhost:1"), 2, "--endpoint needs --model"),
    ((FILTER, *HERE, "--endpoint", "localhost", "--model", "m"), 2, "must begin with http"),
    ((FILTER, *HERE, "--model", "./no/such/folder"), 3, "there is no folder"),
    ((FILTER, *HERE, "--prices", "none.json"), 2, "price table none.json cannot be read"),
    ((FILTER, *HERE, "--prices", "latin.sql"), 2, "price table latin.sql is not valid"),
    ((FILTER, *HERE, "--max-cost", "1"), 2, "--max-cost needs a price for the model 'fake'"),
    ((FILTER, *HERE, "--max-cost", "-1"), 2, "--max-cost"),
    ((FILTER, *HERE, "--max-requests", "2"), 4, "--max-requests is 2"),
    ((FILTER, *HERE, "-o", "rows.xlsx"), 2, "--output must end with .parquet, .csv"),
    ((FILTER, *HERE, "-o", "rows"), 2, "--output must end with"),
    ((FILTER, *HERE, "-o", "folder.csv"), 4, "it is a folder"),
    ((FILTER, *HERE, "-o", "stays.parquet/rows.csv"), 4, "cannot write stays.parquet/rows.csv"),
    ((FILTER, *HERE, "--store", "stays.parquet/answers"), 4, "answer store stays.parquet/answers cannot be opened"),
    ((FILTER, *HERE, "--store", "stays.parquet"), 4, "stays.parquet is no answer store; name another file"),
    (("SELECT 1", "-t", "t=latin.csv"), 2, "not utf-8"),
    (("cache",), 2, ""),
    (("cache", "show", "--store", "stays.parquet"), 4, "stays.parquet is no answer store"),
    (("cache", "shwo"), 2, "Did you mean 'show'?"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "code", "says"), MISTAKES, ids=lambda value: " ".join(value) if isinstance(value, tuple) else None
)
def test_mistakes_are_explained_before_anything_is_paid_for(
    arguments: tuple[str, ...], code: int, says: str, model: Model, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("latin.sql").write_bytes("SELECT 'é'".encode("latin-1"))
    Path("latin.csv").write_bytes("id,text\n1,hé\n".encode("latin-1"))
    Path("text.parquet").write_text("this is no parquet file")
    Path("folder.csv").mkdir()
    before = set(Path.cwd().rglob("*.csv"))
    assert run(*arguments) == code
    told = capsys.readouterr().err
    assert says in re.sub(r" *│\n│ *", " ", told)
    assert told.startswith("Usage") or told.count("\n") <= 1, "an error is one line"
    assert "Traceback" not in told
    assert "unexpected" not in told
    assert pq.read_table("stays.parquet").num_rows == 4
    assert model.asked == [] or "broken" in told
    assert set(Path.cwd().rglob("*.csv")) == before


def test_a_missing_package_names_its_extra(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(sys.modules, "duckdb", None)
    monkeypatch.delitem(sys.modules, "paceline.sql.engines.duckdb", raising=False)
    monkeypatch.delitem(ENGINES._items, "duckdb", raising=False)
    assert run(FILTER, *HERE) == 4
    assert capsys.readouterr().err == ("error: the package duckdb is not installed; run: pip install 'paceline[sql]'\n")


def test_an_interrupted_query_says_how_to_go_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Interrupted(Model):
        def ask(self, asks: Any, done: Any) -> None:
            super().ask([next(iter(asks))], done)
            raise KeyboardInterrupt

    monkeypatch.setitem(MODELS._items, "embedded", Interrupted)
    assert run(FILTER, *HERE) == 130
    assert "run it again to go on" in capsys.readouterr().err
    assert run("cache", "show", "--json") == 0
    assert json.loads(capsys.readouterr().out)["num_answers"] == 1


def test_kept_answers_are_shown_and_forgotten(model: Model, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("cache", "show") == 0
    assert "answers  0" in capsys.readouterr().out
    assert not Path("cache").exists(), "looking makes nothing"
    assert run("cache", "clear") == 0
    assert run(FILTER, *HERE) == 0
    capsys.readouterr()
    assert run("cache", "show") == 0
    text = capsys.readouterr().out
    assert "answers  3" in text
    assert "cache/paceline/answers/answers.sqlite" in text
    assert "forgotten after 90 days" in text
    assert run("cache", "clear") == 2, "a program says that it means it"
    assert "--yes" in capsys.readouterr().err
    assert run("cache", "clear", "--yes") == 0
    assert capsys.readouterr().err == "forgot 3 answers\n"
    assert run("cache", "show", "--json") == 0
    assert json.loads(capsys.readouterr().out)["num_answers"] == 0


def test_a_person_is_asked_before_answers_are_forgotten(
    model: Model, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    assert run(FILTER, *HERE) == 0
    for answer, left in (("n\n", 3), ("y\n", 0)):
        monkeypatch.setattr("sys.stdin", Terminal(answer))
        run("cache", "clear")
        assert "Forget 3 answers in" in capsys.readouterr().out
        run("cache", "show", "--json")
        assert json.loads(capsys.readouterr().out)["num_answers"] == left


@pytest.mark.parametrize("arguments", [("--no-store",), ("--store", "own/answers.sqlite")])
def test_where_answers_are_kept_is_the_users_choice(arguments: tuple[str, ...], model: Model) -> None:
    assert run(FILTER, *HERE, *arguments) == 0
    assert not Path("cache").exists()
    assert Path("own/answers.sqlite").exists() == ("--store" in arguments)


Shown = Callable[[pa.Table], list[str]]


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shown:
    """The lines of a table on a terminal."""
    monkeypatch.setenv("TERM", "dumb")

    def lines(table: pa.Table) -> list[str]:
        monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
        sql_output.show(table)
        return [line.rstrip() for line in capsys.readouterr().out.splitlines()]

    return lines


def test_a_table_fits_the_terminal(shown: Shown) -> None:
    lines = shown(pa.table({"city": ["Lyon"] * 50, "nights": range(50), "review": ["word " * 40] * 50}))
    assert lines[0].split() == ["city", "nights", "review"]
    assert lines[1].endswith("…")
    assert max(map(len, lines)) <= 80
    assert lines[-1] == "the first of 50 rows; -o FILE writes all"
    assert len(lines) == 42
    wide = shown(pa.table({f"column_{number}": [number] for number in range(30)}))
    assert max(map(len, wide)) <= 80
    assert wide[-1] == "the first of 30 columns; -o FILE writes all"


def test_no_value_steers_the_terminal(shown: Shown) -> None:
    odd = {"answer": ["\x1b[31mred\nand\tmore‮", "[bold]", None], "list": [["a"], [], None]}
    lines = shown(pa.table(odd))
    assert lines[1].split() == ["[31mred", "and", "more", '["a"]']
    assert lines[2].split() == ["[bold]", "[]"]
    assert lines[3].split() == ["NULL", "NULL"]


def test_no_rows_and_no_width_are_no_trouble(shown: Shown, monkeypatch: pytest.MonkeyPatch) -> None:
    assert shown(pa.table({"city": pa.array([], pa.string())}))[0] == "city"
    monkeypatch.setenv("COLUMNS", "5")
    assert shown(pa.table({"city": ["Lyon"], "review": ["fine"]}))


def test_every_kind_of_value_can_be_written() -> None:
    import duckdb

    query = (
        "SELECT 'a' AS s, '' AS e, NULL AS n, 1.50::DECIMAL(4,2) AS d, TIMESTAMP '2026-01-02 03:04:05' AS t, uuid() AS u, "
        "INTERVAL 3 DAY AS i, '\\xFF'::BLOB AS b, 'NaN'::DOUBLE AS x, {'k': [1, NULL]} AS o, MAP {'k': 1} AS m, "
        "'sad'::ENUM('sad') AS l, true AS y"
    )
    table = duckdb.connect().sql(query).to_arrow_table()
    [row] = csv.DictReader(io.StringIO(sql_output.as_csv(table).decode()))
    assert (row["s"], row["d"], row["o"], row["l"], row["y"]) == ("a", "1.50", '{"k": [1, null]}', "sad", "true")
    assert '"",,' in sql_output.as_csv(table).decode(), "an empty text and NULL differ"
    [row] = json.loads(sql_output.as_json(table), parse_float=str)
    assert (row["d"], row["x"], row["e"], row["n"]) == ("1.50", "nan", "", None)
    assert datetime.fromisoformat(row["t"]) == datetime(2026, 1, 2, 3, 4, 5)


def test_every_option_has_a_variable_and_is_in_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--help") == 0
    text = capsys.readouterr().out
    for panel in ("Query", "Model", "Limits", "Kept answers", "Logging"):
        assert f"─ {panel} ─" in text
    for name in inspect.signature(sql).parameters:
        if name != "query":
            assert f"--{'json' if name == 'as_json' else name.replace('_', '-')}" in text
            shared = {"quiet": "QUIET", "as_json": "JSON", "debug": "DEBUG"}
            assert f"PACELINE_{shared.get(name, f'SQL_{name.upper()}')}" in text
    assert run("cache", "clear", "--help") == 0
    assert "Usage: paceline sql cache clear" in capsys.readouterr().out


def test_every_option_is_documented_as_it_is_explained() -> None:
    document = (Path(__file__).parents[2] / "docs" / "cli.md").read_text().partition("## Options of `paceline sql`")[2]
    for name, hint in get_type_hints(sql, include_extras=True).items():
        if name not in ("query", "return"):
            option = "json" if name == "as_json" else name.replace("_", "-")
            assert f"`--{option}`" in document
            assert name in ("quiet", "as_json", "debug") or f"| {hint.__metadata__[0].help} |" in document


def test_doctor_offers_what_single_commands_need(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("paceline.cli.doctor._PACKAGES", (("no_such_module", "no-such-package", "spark"),))
    with pytest.raises(SystemExit) as done:
        main(["doctor"])
    assert not done.value.code, "the server works without"
    text = capsys.readouterr().out
    assert "no-such-package not installed (optional)" in text
    assert "pip install 'paceline[spark]'   for: paceline sql --engine spark" in text
    assert {"sql", "spark"} <= {extra for _, _, extra in _PACKAGES}


def test_the_demo_checks_its_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    from rich.console import Console

    screen = Console(file=io.StringIO(), width=100)
    monkeypatch.setattr("paceline.cli.demo_sql._NUM_STAYS", 48)
    monkeypatch.setattr("paceline.cli.demo_sql._NUM_HOTELS", 4)
    show_tables(screen)
    text = screen.file.getvalue()  # type: ignore[attr-defined]
    assert "as fast" in text
    assert re.search(r"right: (\d+) of \1 by llm_filter", text)
    monkeypatch.setattr("paceline.cli.demo_sql._LEAST_RIGHT", 1.01)
    with pytest.raises(ExecutionError, match="too few answers"):
        show_tables(screen)


def test_the_demo_says_what_it_leaves_out(monkeypatch: pytest.MonkeyPatch) -> None:
    from rich.console import Console

    screen = Console(file=io.StringIO(), width=100)
    monkeypatch.setattr("paceline.cli.demo_sql.is_complete", lambda extra: False)
    show_tables(screen)
    assert "pip install 'paceline[sql]'" in screen.file.getvalue()  # type: ignore[attr-defined]
