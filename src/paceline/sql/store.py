"""Answers that are paid for, kept on disk: a rerun, a crash or a second query asks nothing twice.

One SQLite file in WAL mode, which several processes may use at once. It holds answers and hashes of what was asked,
never the prompts; only its owner can read it. It is a cache: it can be deleted at any time.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import math
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Final, NamedTuple, Self, final

from paceline.errors import ConfigError, ResourceError
from paceline.process.cache_home import cache_home
from paceline.sql.model import Answer

_log = logging.getLogger(__name__)

MAX_BYTES: Final = 1 << 30
MAX_AGE_S: Final = 90 * 86400.0

_KEY_VERSION: Final = "1"  # to be raised when what is hashed, or how a prompt is made of it, changes
_SCHEMA_VERSION: Final = 1
_BUSY_S: Final = 30.0  # how long another process may hold the file
_USED_STEP_S: Final = 3600.0  # the time of last use is this coarse, so that reading seldom writes
_KEPT_SHARE: Final = 0.9  # of the size limit, after an eviction

_MAGIC: Final = b"SQLite format 3\0"
_SHRINK: Final = "PRAGMA incremental_vacuum"  # as a script: a single step of it frees a single page
# Rows lie in the order they came, so that those which go together free whole pages.
_CREATE: Final = """
CREATE TABLE answers (
    number INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, text TEXT NOT NULL, prompt_tokens INTEGER NOT NULL,
    cached_tokens INTEGER NOT NULL, output_tokens INTEGER NOT NULL, made REAL NOT NULL, used REAL NOT NULL
);
CREATE INDEX answers_used ON answers (used);
CREATE INDEX answers_made ON answers (made);
"""


class StoreStats(NamedTuple):
    """What a store holds."""

    path: str
    num_answers: int
    num_bytes: int  # on disk
    oldest_s: float | None  # age of the oldest answer; None: there is none


def key(
    model_name: str,
    system: str,
    question: str,
    canonical_fields_json: str,
    params: Mapping[str, object],
    schema: str = "",
) -> str:
    """The name of an answer: sha256 of all that it depends on, in hex. The order of the fields is no part of it.

    >>> key("m", "", "Is it good?", '{"a":1}', {"max_tokens": 4}) == key("m", "", "Is it good?", '{"a":null}', {})
    False
    """
    parts = (
        _KEY_VERSION, model_name, system, question, canonical_fields_json,
        json.dumps(params, sort_keys=True, ensure_ascii=False), schema,
    )  # fmt: skip
    return hashlib.sha256(json.dumps(parts, ensure_ascii=True).encode()).hexdigest()


@final
class AnswerStore:
    """Answers by ``key``, up to ``max_bytes`` on disk and ``max_age_s`` old; beyond, the longest unused go first.

    ``path`` is a file; without one, it lies in the user's cache folder. Safe to use from several threads and
    processes. A damaged file is set aside with a warning when it is opened; one of another kind is left as it is. Raises
    ConfigError for a limit that is none, ResourceError where the file cannot be used.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder, AnswerStore(f"{folder}/answers.sqlite") as store:
    ...     store.put_many([("k1", Answer("yes")), ("k2", Answer(None, error="timeout"))])
    ...     store.get_many(["k1", "k2"])
    {'k1': Answer(text='yes', error=None, attempts=0, prompt_tokens=0, cached_tokens=0, output_tokens=0)}
    """

    def __init__(
        self,
        path: str | os.PathLike[str] | None = None,
        *,
        max_bytes: int = MAX_BYTES,
        max_age_s: float = MAX_AGE_S,
        now: Callable[[], float] = time.time,
    ) -> None:
        if max_bytes < 1 << 16:
            raise ConfigError(f"max_bytes of the answer store must be >= {1 << 16}, got {max_bytes}")
        if not max_age_s > 0:
            raise ConfigError(f"max_age_s of the answer store must be > 0, got {max_age_s}")
        self.path = default_path() if path is None else Path(path)
        self._max_bytes = max_bytes
        self._max_age_s = max_age_s
        self._now = now
        self._lock = threading.Lock()
        self._db = _open(self.path)

    @property
    def arguments(self) -> dict[str, Any]:
        """What opens the same store in another process of this machine."""
        return {"path": str(self.path), "max_bytes": self._max_bytes, "max_age_s": self._max_age_s}

    def get_many(self, keys: Iterable[str]) -> dict[str, Answer]:
        """The answers that are here, by key; ``attempts`` is 0, as nobody was asked."""
        now = self._now()
        wanted = json.dumps(list(keys))
        with self._using() as db:
            rows = db.execute(
                "SELECT key, text, prompt_tokens, cached_tokens, output_tokens, used FROM answers "
                "WHERE key IN (SELECT value FROM json_each(?)) AND made > ?",
                (wanted, now - self._max_age_s),
            ).fetchall()
            stale = [(now, row[0]) for row in rows if row[5] < now - _USED_STEP_S]
            if stale:
                with _transaction(db):
                    db.executemany("UPDATE answers SET used = ? WHERE key = ?", stale)
        return {row[0]: Answer(row[1], None, 0, *row[2:5]) for row in rows}

    def put_many(self, answers: Iterable[tuple[str, Answer]]) -> None:
        """Keeps answers, all or none of them, durably. Those with an error are left out."""
        now = self._now()
        rows = [
            (name, answer.text, answer.prompt_tokens, answer.cached_tokens, answer.output_tokens, now, now)
            for name, answer in answers
            if answer.text is not None
        ]
        if not rows:
            return
        with self._using() as db:
            with _transaction(db):
                db.executemany("INSERT OR REPLACE INTO answers VALUES (NULL, ?, ?, ?, ?, ?, ?, ?)", rows)
                db.execute("DELETE FROM answers WHERE made <= ?", (now - self._max_age_s,))
                self._evict(db)
            db.executescript(_SHRINK)

    def stats(self) -> StoreStats:
        with self._using() as db:
            count, oldest = db.execute("SELECT count(*), min(made) FROM answers").fetchone()
        files = (self.path, *_beside(self.path))
        num_bytes = sum(file.stat().st_size for file in files if file.exists())
        return StoreStats(str(self.path), count, num_bytes, None if oldest is None else self._now() - oldest)

    def clear(self) -> int:
        """Forgets everything; how many answers there were."""
        with self._using() as db:
            with _transaction(db):
                count = db.execute("DELETE FROM answers").rowcount
            db.executescript(_SHRINK)
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        return int(count)

    def close(self) -> None:
        """Closes the file. Can be called twice."""
        with self._lock:
            self._db.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @contextlib.contextmanager
    def _using(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            try:
                yield self._db
            except sqlite3.OperationalError as error:  # locked, full, read-only
                raise ResourceError(f"the answer store {self.path} cannot be used: {error}") from error
            except sqlite3.DatabaseError as error:
                raise ResourceError(f"the answer store {self.path} is damaged ({error}); delete the file") from error

    def _evict(self, db: sqlite3.Connection) -> None:
        target = self._max_bytes * _KEPT_SHARE
        if _used_bytes(db) <= self._max_bytes:
            return
        while (used := _used_bytes(db)) > target:
            [count] = db.execute("SELECT count(*) FROM answers").fetchone()
            if count == 0:
                return
            rows = math.ceil(count * (1.0 - target / used))  # as many as that is, if all are of one length
            db.execute(
                "DELETE FROM answers WHERE number IN (SELECT number FROM answers ORDER BY used LIMIT ?)", (rows,)
            )


def default_path() -> Path:
    """``answers/answers.sqlite`` in the user's cache folder. ResourceError if the user has none."""
    root = cache_home()
    if root is None:
        raise ResourceError("no place for the answer store: set XDG_CACHE_HOME or HOME, or name a file")
    return root / "answers" / "answers.sqlite"


def _open(path: Path) -> sqlite3.Connection:
    try:
        _check_kind(path)
        _make(path)
        try:
            return _connect(path)
        except sqlite3.OperationalError:
            raise
        except sqlite3.DatabaseError as error:  # damaged
            _set_aside(path, error)
            _make(path)
            return _connect(path)
    except (OSError, sqlite3.Error) as error:
        raise ResourceError(f"the answer store {path} cannot be opened: {error}; name another file") from error


def _check_kind(path: Path) -> None:
    """A file that was named by mistake is neither moved away nor hidden from others."""
    if path.exists():
        with path.open("rb") as file:
            if file.read(len(_MAGIC)) not in (b"", _MAGIC):
                raise ResourceError(f"{path} is no answer store; name another file")


def _make(path: Path) -> None:
    """Makes the file, and folders that are missing, for the owner's eyes only."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))


def _connect(path: Path) -> sqlite3.Connection:
    db = sqlite3.connect(path, timeout=_BUSY_S, isolation_level=None, check_same_thread=False)
    try:
        _check_ours(db, path)
        os.chmod(path, 0o600)  # before there are files beside it, which take its mode
        db.execute("PRAGMA auto_vacuum = INCREMENTAL")  # before the first table
        db.execute("PRAGMA journal_mode = WAL").fetchone()
        db.execute("PRAGMA synchronous = FULL")  # an answer is paid for: it survives a power cut too
        db.execute("PRAGMA journal_size_limit = 4194304").fetchone()
        with _transaction(db):
            _create(db)
        db.execute("SELECT count(key) FROM (SELECT key FROM answers LIMIT 1)").fetchone()
    except BaseException:
        db.close()
        raise
    return db


def _check_ours(db: sqlite3.Connection, path: Path) -> None:
    version, tables = db.execute(
        "SELECT user_version, (SELECT count(*) FROM sqlite_schema) FROM pragma_user_version"
    ).fetchone()
    if version > _SCHEMA_VERSION:
        raise ResourceError(f"the answer store {path} was made by a newer version; name another file")
    if version == 0 and tables:
        raise ResourceError(f"{path} is no answer store but another database; name another file")


def _create(db: sqlite3.Connection) -> None:
    [version] = db.execute("PRAGMA user_version").fetchone()
    if version == 0:
        for statement in _CREATE.split(";"):
            db.execute(statement)
        db.execute(f"PRAGMA user_version = {_SCHEMA_VERSION}")


@contextlib.contextmanager
def _transaction(db: sqlite3.Connection) -> Iterator[None]:
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        if db.in_transaction:  # a full disk ends it by itself
            db.execute("ROLLBACK")
        raise
    db.execute("COMMIT")


def _set_aside(path: Path, error: sqlite3.DatabaseError) -> None:
    kept = path.with_name(f"{path.name}.damaged")
    os.replace(path, kept)
    for file in _beside(path):
        with contextlib.suppress(FileNotFoundError):
            file.unlink()
    _log.warning("the answer store %s cannot be read (%s); it is kept as %s and a new one begins", path, error, kept)


def _beside(path: Path) -> tuple[Path, Path]:
    return path.with_name(path.name + "-wal"), path.with_name(path.name + "-shm")


def _used_bytes(db: sqlite3.Connection) -> int:
    [pages] = db.execute("PRAGMA page_count").fetchone()
    [free] = db.execute("PRAGMA freelist_count").fetchone()
    [size] = db.execute("PRAGMA page_size").fetchone()
    return int((pages - free) * size)
