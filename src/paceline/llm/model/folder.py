"""Reading a model folder that may be hostile: bounded files, strict JSON, typed fields."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from paceline.errors import ModelError

MAX_JSON_BYTES = 64 * 2**20  # the largest tokenizers and shard indices stay below half of it


def locate(folder: Path, name: str) -> Path | None:
    """The regular file ``name`` directly inside ``folder``, or None when there is none.

    Raises ``ModelError`` for a name that is not a plain file name and for a link that leaves the folder. Links
    into ``blobs`` are followed where the folder is a snapshot of the Hugging Face cache, which is made of them.
    """
    if not name or name in {".", ".."} or any(mark in name for mark in "/\\\0") or len(name) > 255:
        raise ModelError(f"{folder}: {name[:80]!r} is not a plain file name")
    path = folder / name
    if not path.exists():
        return None
    target, root = path.resolve(), folder.resolve()
    in_cache = root.parent.name == "snapshots" and target.parent == root.parent.parent / "blobs"
    if not (target.is_relative_to(root) or in_cache):
        raise ModelError(f"{path}: the link leads out of the model folder; put the file itself there")
    if not target.is_file():
        raise ModelError(f"{path}: not a regular file")
    return path


def read_json(folder: Path, name: str) -> Fields | None:
    """The JSON object in ``folder/name``, or None when the file does not exist."""
    path = locate(folder, name)
    if path is None:
        return None
    size = path.stat().st_size
    if size > MAX_JSON_BYTES:
        raise ModelError(f"{path}: {size} bytes; at most {MAX_JSON_BYTES} are read")
    return Fields(str(path), parse_object(path.read_bytes(), str(path)))


def parse_object(data: bytes, source: str) -> dict[str, Any]:
    """Parse ``data`` as one JSON object without repeated keys; ``source`` names it in errors.

    >>> parse_object(b'{"a": 1, "a": 2}', "x.json")
    Traceback (most recent call last):
        ...
    paceline.errors.ModelError: x.json: the key 'a' occurs twice
    """

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        keys: dict[str, Any] = dict(pairs)
        if len(keys) != len(pairs):
            names = [name for name, _ in pairs]
            twice = next(name for name in names if names.count(name) > 1)
            raise ModelError(f"{source}: the key {twice[:80]!r} occurs twice")
        return keys

    try:
        value = json.loads(data, object_pairs_hook=unique)
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{source}: not valid JSON ({str(error)[:120]})") from None
    if not isinstance(value, dict):
        raise ModelError(f"{source}: a JSON object is expected, got {type(value).__name__}")
    return value


class Fields:
    """Typed access to a JSON object of a model folder; every complaint names the file, the key and the value.

    >>> Fields("config.json", {"hidden_size": 64}).integer("hidden_size")
    64
    """

    def __init__(self, source: str, values: dict[str, Any]) -> None:
        self.source = source
        self.values = values

    def __contains__(self, key: str) -> bool:
        return self.values.get(key) is not None

    def integer(self, key: str, default: int | None = None, *, low: int = 1, high: int = 2**31 - 1) -> int:
        value = self._get(key, default)
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise self.wrong(key, f"an integer in [{low}, {high}]")
        return value

    def number(self, key: str, default: float | None = None, *, low: float = 0.0, high: float = 1e12) -> float:
        value = self._get(key, default)
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
            raise self.wrong(key, f"a number in [{low:g}, {high:g}]")
        return float(value)

    def boolean(self, key: str, default: bool) -> bool:
        value = self._get(key, default)
        if not isinstance(value, bool):
            raise self.wrong(key, "true or false")
        return value

    def string(self, key: str, default: str | None = None) -> str:
        value = self._get(key, default)
        if not isinstance(value, str):
            raise self.wrong(key, "a string")
        return value

    def choice(self, key: str, allowed: Iterable[str], default: str | None = None) -> str:
        value = self._get(key, default)
        known = sorted(allowed)
        if value not in known:
            raise self.wrong(key, f"one of {known}")
        return str(value)

    def section(self, key: str) -> Fields | None:
        """The object under ``key``, or None where there is none."""
        value = self.values.get(key)
        if value is None:
            return None
        if not isinstance(value, dict):
            raise self.wrong(key, "an object")
        return Fields(f"{self.source}: {key}", value)

    def token_ids(self, key: str) -> tuple[int, ...]:
        """One id, a list of ids, or nothing."""
        value = self.values.get(key)
        ids = value if isinstance(value, list) else [] if value is None else [value]
        if len(ids) > 1024 or any(isinstance(i, bool) or not isinstance(i, int) or i < 0 for i in ids):
            raise self.wrong(key, "a token id or a list of token ids")
        return tuple(ids)

    def wrong(self, key: str, expected: str) -> ModelError:
        """The error that says what ``key`` should have been."""
        got = "missing" if self.values.get(key) is None else repr(self.values[key])[:120]
        return ModelError(f"{self.source}: {key} must be {expected}, got {got}")

    def _get(self, key: str, default: Any) -> Any:
        value = self.values.get(key)
        return default if value is None else value
