"""Small edits of Python code: most of the answer stands in the question, as it does when people edit with a model."""

from __future__ import annotations

import keyword
import random
import re
from typing import Final

from training.language.library import training_functions

_NAMES: Final = ("value", "item", "result", "name", "total", "source", "target", "count", "path", "data", "key", "left")
_WHOLE: Final = ("Repeat this code:", "Copy this code.", "Return the code unchanged.", "Print this function again:")
_RENAME: Final = (
    "Rename {old} to {new}:",
    "Rename the variable {old} to {new}.",
    "Replace {old} by {new} in this code.",
    "Use {new} instead of {old}.",
)
_IDENTIFIER: Final = re.compile(r"\b[a-z_][a-z_0-9]{2,}\b")


def edit_turn(rng: random.Random, code: str) -> tuple[str, str]:
    """A request and the edited code.

    >>> edit_turn(random.Random(0), "def add(first, second):\\n    return first + second\\n")
    ('Replace first by value in this code.\\ndef add(first, second):\\n    return first + second\\n',
     'def add(value, second):\\n    return value + second\\n')
    """
    names = sorted(set(_IDENTIFIER.findall(code)) - set(keyword.kwlist))
    if not names or rng.random() < 0.25:
        return f"{rng.choice(_WHOLE)}\n{code}", code
    old, new = rng.choice(names), rng.choice(_NAMES)
    ask = rng.choice(_RENAME).format(old=old, new=new)
    return f"{ask}\n{code}", re.sub(rf"\b{re.escape(old)}\b", new, code)


def edit_turns(rng: random.Random, num_turns: int) -> list[tuple[str, str]]:
    return [edit_turn(rng, rng.choice(training_functions())) for _ in range(num_turns)]
