"""Results that survive an interruption: one file, written whole after every cell."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any


class Cells:
    """Finished cells by name, kept in a JSON file beside the protocol they were measured under.

    A file of another protocol is not mixed in: its cells are dropped.

    >>> folder = tempfile.TemporaryDirectory()
    >>> path = Path(folder.name) / "cells.json"
    >>> Cells(path, {"rounds": 2}).put("decode/A/0", [1.5])
    >>> Cells(path, {"rounds": 2}).get("decode/A/0")
    [1.5]
    >>> Cells(path, {"rounds": 3}).get("decode/A/0") is None
    True
    >>> folder.cleanup()
    """

    def __init__(self, path: Path, protocol: dict[str, Any]) -> None:
        self._path = path
        self._protocol = json.loads(json.dumps(protocol))
        self._cells: dict[str, Any] = {}
        if path.exists():
            stored = json.loads(path.read_text())
            if stored.get("protocol") == self._protocol:
                self._cells = stored["cells"]

    def get(self, name: str) -> Any:
        """The cell, or None when it has yet to be measured."""
        return self._cells.get(name)

    def put(self, name: str, value: Any) -> None:
        self._cells[name] = value
        write_json(self._path, {"protocol": self._protocol, "cells": self._cells})

    def having(self, prefix: str) -> dict[str, Any]:
        """Every cell below ``prefix``, in the order they were measured, named by what follows it."""
        return {name.removeprefix(prefix): value for name, value in self._cells.items() if name.startswith(prefix)}


def cells_and_folder(
    work_dir: Path, name: str, protocol: dict[str, Any], *, beside: str, resume: bool
) -> tuple[Cells, Path]:
    """Cells, and the folder for what was made on the way to them (``beside`` says what); both empty unless they go on from before.

    What was made under another protocol is not mixed in either.
    """
    work_dir.mkdir(parents=True, exist_ok=True)
    path, folder = work_dir / f"{name}.json", work_dir / f"{name}-{beside}"
    cells = Cells(path, protocol)
    if resume and cells.having(""):
        return cells, folder
    path.unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)
    return Cells(path, protocol), folder


def write_json(path: Path, value: Any) -> None:
    """Writes beside the file, then renames: a reader or a crash never sees half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=path.name, suffix=".part")
    with os.fdopen(descriptor, "w") as part:
        json.dump(value, part, indent=1)
        part.write("\n")
    os.chmod(name, 0o644)
    os.replace(name, path)
