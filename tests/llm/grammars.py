"""Grammars and the tokenizer they are tried with."""

from __future__ import annotations

import json

from paceline.llm.request import Grammar
from tests.llm.folders import tiny_tokenizer

TOKENIZER = tiny_tokenizer()
V = 384  # some ids more than the tokenizer has
EOS = (2, 0)


class TokenizerFile:
    def to_json(self) -> str:
        return TOKENIZER.to_str()


def schema(value: object) -> Grammar:
    return Grammar("json_schema", json.dumps(value))


def choice(*texts: str) -> Grammar:
    return Grammar("choice", json.dumps(texts))
