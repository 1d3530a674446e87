"""Real text that the packaged models were not trained on, from what every Python brings along.

Code and documentation come from the library files that training leaves out; more documentation from
modules written in C, whose docstrings stand in no Python file. Whatever stands in a trained file all
the same is left out. Rows of tables hold facts of the standard library, not generated ones.
"""

from __future__ import annotations

import ast
import encodings.aliases
import errno
import functools
import importlib
import inspect
import os
import signal
import sys
import unicodedata
from collections.abc import Callable, Iterator

from training.language.library import code_files, short_functions
from training.language.truth import Row

MIN_DOC_CHARS = 240


def functions() -> list[str]:
    """Short functions and classes of held-out files."""
    return [text for text in short_functions(code_files(held_out=True)) if not is_trained(text)]


def sources() -> list[str]:
    """Held-out files, whole."""
    return list(code_files(held_out=True))


def documentation() -> list[str]:
    """English docstrings, those that are long enough to be continued."""
    found = dict.fromkeys([*_docs_of_sources(), *_docs_of_extensions()])
    return [text for text in found if len(text) >= MIN_DOC_CHARS and not is_trained(text)]


def _docs_of_sources() -> Iterator[str]:
    for source in sources():
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
                yield ast.get_docstring(node) or ""


def _docs_of_extensions() -> Iterator[str]:
    """Docstrings of modules that are compiled into Python, of their functions, types and methods."""
    for name in sorted(sys.builtin_module_names):
        try:
            module = importlib.import_module(name)
        except ImportError:  # a module of another system
            continue
        yield inspect.getdoc(module) or ""
        for _, item in sorted(vars(module).items()):
            if inspect.isbuiltin(item) or inspect.isclass(item):
                yield inspect.getdoc(item) or ""
            if inspect.isclass(item):
                yield from (inspect.getdoc(member) or "" for _, member in sorted(vars(item).items()))


@functools.cache
def _trained_text() -> str:
    return "\n".join(map(_flat, code_files(held_out=False)))


def _flat(text: str) -> str:
    return " ".join(text.split())


def is_trained(text: str) -> bool:
    """Whether the text stands in a trained file, however it is indented."""
    return _flat(text) in _trained_text()


# ── rows ─────────────────────────────────────────────────────────────────────────────────────────


def _characters() -> Iterator[Row]:
    for code in range(0xA1, 0x2700):
        character = chr(code)
        name = unicodedata.name(character, "")
        if name and not unicodedata.combining(character) and "ARABIC" not in name and "HEBREW" not in name:
            yield {
                "character": character,
                "code_point": f"U+{code:04X}",
                "unicode_name": name.capitalize(),
                "category": unicodedata.category(character),
                "mirrored": bool(unicodedata.mirrored(character)),
                "utf8": character.encode().hex(" "),
            }


def _errors() -> Iterator[Row]:
    for code, symbol in sorted(errno.errorcode.items()):
        yield {"error_code": code, "symbol": symbol, "message": os.strerror(code), "system": sys.platform}


def _codecs() -> Iterator[Row]:
    names: dict[str, list[str]] = {}
    for alias, codec in sorted(encodings.aliases.aliases.items()):
        names.setdefault(codec, []).append(alias)
    for codec, aliases in sorted(names.items()):
        yield {"codec": codec, "alias": aliases[0], "other_aliases": ", ".join(aliases[1:4]), "count": len(aliases)}


def _signals() -> Iterator[Row]:
    for number in sorted(signal.valid_signals()):
        if isinstance(number, signal.Signals):
            yield {"signal": number.name, "number": int(number), "meaning": signal.strsignal(number) or "unknown"}


_TABLES: tuple[Callable[[], Iterator[Row]], ...] = (_characters, _errors, _codecs, _signals)


def tables() -> list[list[Row]]:
    """Characters, system errors, codecs and signals, a table each.

    >>> [len(table) > 20 for table in tables()]
    [True, True, True, True]
    """
    return [list(make()) for make in _TABLES]
