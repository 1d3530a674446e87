"""Answers stay where they were put: across closing, killing, other processes and broken files."""

from __future__ import annotations

import json
import logging
import os
import signal
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paceline.errors import ConfigError, ResourceError
from paceline.sql import store as store_module
from paceline.sql.model import Answer
from paceline.sql.store import AnswerStore, default_path, key

HOUR = 3600.0


class Calendar:
    def __init__(self) -> None:
        self.now = 1e9

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "folder" / "answers.sqlite"


def name(number: int) -> str:
    return f"{number:064x}"


def answer(number: int) -> Answer:
    return Answer(f"text {number}", prompt_tokens=number, cached_tokens=number // 2, output_tokens=3)


def kept(number: int) -> Answer:
    return answer(number)._replace(attempts=0)


def test_what_was_put_is_there_after_closing(path: Path) -> None:
    with AnswerStore(path) as store:
        store.put_many((name(i), answer(i)) for i in range(3000))
    with AnswerStore(path) as store:
        found = store.get_many(name(i) for i in range(0, 6000, 2))
    assert found == {name(i): kept(i) for i in range(0, 3000, 2)}


def test_errors_are_not_kept(path: Path) -> None:
    with AnswerStore(path) as store:
        store.put_many([(name(1), Answer(None, "boom")), (name(2), Answer(""))])
        assert store.get_many([name(1), name(2)]) == {name(2): Answer("", attempts=0)}


def test_a_later_answer_replaces_an_earlier(path: Path) -> None:
    with AnswerStore(path) as store:
        store.put_many([(name(1), answer(1))])
        store.put_many([(name(1), answer(2))])
        assert store.get_many([name(1)]) == {name(1): kept(2)}
        assert store.get_many([]) == {}


def test_only_the_owner_can_read_it(path: Path) -> None:
    old = os.umask(0)
    try:
        with AnswerStore(path) as store:
            store.put_many([(name(1), answer(1))])
            modes = {file.name: file.stat().st_mode & 0o777 for file in path.parent.iterdir()}
            assert set(modes.values()) == {0o600}
            assert len(modes) == 3  # -wal and -shm too
            assert path.parent.stat().st_mode & 0o777 == 0o700
        path.chmod(0o644)
        AnswerStore(path).close()
        assert path.stat().st_mode & 0o777 == 0o600
    finally:
        os.umask(old)


def test_it_lies_in_the_cache_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with AnswerStore() as store:
        assert Path(store.stats().path) == default_path() == tmp_path / "paceline" / "answers" / "answers.sqlite"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.setenv("HOME", "/home/of/someone")
    assert default_path() == Path("/home/of/someone/.cache/paceline/answers/answers.sqlite")


def test_old_answers_go(path: Path) -> None:
    calendar = Calendar()
    with AnswerStore(path, max_age_s=10 * HOUR, now=calendar) as store:
        store.put_many([(name(1), answer(1))])
        calendar.now += 6 * HOUR
        store.put_many([(name(2), answer(2))])
        assert store.stats().oldest_s == 6 * HOUR
        calendar.now += 5 * HOUR
        assert list(store.get_many([name(1), name(2)])) == [name(2)]
        assert store.stats().num_answers == 2
        store.put_many([(name(3), answer(3))])
        assert store.stats().num_answers == 2


def test_the_longest_unused_go_when_it_is_full(path: Path) -> None:
    calendar = Calendar()
    with AnswerStore(path, max_bytes=1 << 20, now=calendar) as store:
        for batch in range(30):
            store.put_many((name(1000 * batch + i), Answer("x" * 1000)) for i in range(100))
            calendar.now += 2 * HOUR
            assert store.get_many([name(0)]), "in use all the time"
        stats = store.stats()
        assert 500 < stats.num_answers < 1100
        assert not store.get_many([name(1)])
        assert len(store.get_many(name(29_000 + i) for i in range(100))) == 100
    assert path.stat().st_size <= 1.1 * (1 << 20)


def test_clear(path: Path) -> None:
    with AnswerStore(path) as store:
        store.put_many((name(i), Answer("x" * 1000)) for i in range(2000))
        before = store.stats()
        assert (before.num_answers, before.num_bytes > 2_000_000) == (2000, True)
        assert store.clear() == 2000
        after = store.stats()
        assert (after.num_answers, after.oldest_s) == (0, None)
        assert after.num_bytes < 100_000


def test_a_file_of_another_kind_is_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "rows.parquet").write_bytes(b"PAR1 and so on")
    with sqlite3.connect(tmp_path / "own.sqlite") as db:
        db.execute("CREATE TABLE rows (id INTEGER)")
    db.close()
    for path in sorted(tmp_path.iterdir()):
        path.chmod(0o644)
        before = path.read_bytes()
        with pytest.raises(ResourceError, match=f"{path.name} is no answer store"):
            AnswerStore(path)
        assert path.read_bytes() == before
        assert path.stat().st_mode & 0o777 == 0o644
    assert len(list(tmp_path.iterdir())) == 2


def test_a_damaged_file_is_set_aside(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    content = b"SQLite format 3\0" + b"\xff" * 4096
    path.parent.mkdir()
    path.write_bytes(content)
    with AnswerStore(path) as store:
        store.put_many([(name(1), answer(1))])
        assert store.get_many([name(1)])
    assert path.with_name("answers.sqlite.damaged").read_bytes() == content
    assert "is kept as" in caplog.text


def test_damage_that_is_found_later_is_said(path: Path) -> None:
    with AnswerStore(path) as store:
        store.put_many((name(i), Answer("x" * 500)) for i in range(3000))
    data = bytearray(path.read_bytes())
    pages = [start for start in range(0, len(data), 4096) if data[start] == 0x0D]  # leaves of the table
    for start in pages[len(pages) // 2 :]:
        data[start : start + 64] = b"\xff" * 64
    path.write_bytes(data)
    with pytest.raises(ResourceError, match=r"answers.sqlite is damaged .*delete"), AnswerStore(path) as store:
        store.get_many(name(i) for i in range(3000))


def test_other_tables_are_left_alone(path: Path) -> None:
    path.parent.mkdir()
    db = sqlite3.connect(path)
    db.execute("PRAGMA user_version = 7")
    db.close()
    with pytest.raises(ResourceError, match="newer version"):
        AnswerStore(path)


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ResourceError, match=r"file/answers.sqlite cannot be opened"):
        AnswerStore(tmp_path / "file" / "answers.sqlite")
    with pytest.raises(ResourceError, match="cannot be opened"):
        AnswerStore(tmp_path)


def test_another_process_that_holds_it_too_long_is_an_error(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "_BUSY_S", 0.01)
    with AnswerStore(path) as store:
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(ResourceError, match="locked"):
            store.put_many([(name(1), answer(1))])
        other.execute("ROLLBACK")
        other.close()
        store.put_many([(name(1), answer(1))])
        assert store.get_many([name(1)])


@pytest.mark.parametrize(("options", "words"), [({"max_bytes": 10}, "max_bytes"), ({"max_age_s": 0}, "max_age_s")])
def test_wrong_limits_are_named(path: Path, options: dict[str, int], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        AnswerStore(path, **options)  # type: ignore[arg-type]


WRITER = """
import sys
from paceline.sql.model import Answer
from paceline.sql.store import AnswerStore
path, start, batches = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
store = AnswerStore(path)
for batch in range(batches):
    numbers = range(start + 100 * batch, start + 100 * batch + 100)
    store.put_many((f"{number:064x}", Answer(f"text {number}")) for number in numbers)
    print(batch, flush=True)
"""


def writer(path: Path, start: int, batches: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", WRITER, str(path), str(start), str(batches)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_several_processes_write_at_once(path: Path) -> None:
    writers = [writer(path, 10_000 * number, 20) for number in range(3)]
    assert [process.wait(60) for process in writers] == [0, 0, 0]
    for process in writers:
        assert process.stdout is not None
        process.stdout.close()
    with AnswerStore(path) as store:
        names = [name(10_000 * number + i) for number in range(3) for i in range(2000)]
        assert len(store.get_many(names)) == 6000


def test_a_killed_process_loses_nothing_that_it_was_told_is_kept(path: Path) -> None:
    process = writer(path, 0, 10_000)
    assert process.stdout is not None
    num_batches = [int(process.stdout.readline()) for _ in range(10)][-1] + 1
    process.send_signal(signal.SIGKILL)
    process.wait(10)
    process.stdout.close()
    with AnswerStore(path) as store:
        found = store.get_many(name(i) for i in range(100 * num_batches))
        assert len(found) == 100 * num_batches
        assert store.stats().num_answers % 100 == 0, "a batch is there as a whole or not at all"


def test_threads_share_a_store(path: Path) -> None:
    with AnswerStore(path) as store:

        def write(start: int) -> None:
            for i in range(start, start + 200, 20):
                store.put_many((name(number), answer(number)) for number in range(i, i + 20))
                assert store.get_many([name(i)])

        threads = [threading.Thread(target=write, args=(1000 * number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert store.stats().num_answers == 800


TEXT = st.text(max_size=5)


@settings(deadline=None)
@given(st.tuples(TEXT, TEXT, TEXT, TEXT, TEXT), st.tuples(TEXT, TEXT, TEXT, TEXT, TEXT))
def test_keys_are_equal_only_for_equal_requests(a: tuple[str, ...], b: tuple[str, ...]) -> None:
    def of(parts: tuple[str, ...]) -> str:
        model, system, question, fields, schema = parts
        return key(model, system, question, fields, {"max_tokens": 1}, schema)

    assert (of(a) == of(b)) == (a == b)
    assert len(of(a)) == 64


def test_parameters_are_part_of_the_key_and_their_order_is_not() -> None:
    assert key("m", "", "q", "{}", {"a": 1, "b": 2}) == key("m", "", "q", "{}", {"b": 2, "a": 1})
    assert key("m", "", "q", "{}", {"a": 1}) != key("m", "", "q", "{}", {"a": "1"})
    assert key("m", "", "q \ud800", "{}", {}) != key("m", "", "q \ud801", "{}", {})


def test_another_process_opens_the_same_store(tmp_path: Path) -> None:
    with AnswerStore(tmp_path / "answers.sqlite", max_bytes=1 << 20, max_age_s=60.0) as store:
        store.put_many([("k", Answer("yes"))])
        arguments = json.loads(json.dumps(store.arguments))
        with AnswerStore(**arguments) as other:
            assert other.arguments == store.arguments
            assert other.get_many(["k"])["k"].text == "yes"
