"""Sampling defaults of a folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from paceline.errors import ModelError
from paceline.llm.model.generation import GenerationDefaults, read_generation


def write(folder: Path, generation: dict[str, Any] | None, **config: Any) -> Path:
    (folder / "config.json").write_text(json.dumps(config))
    if generation is not None:
        (folder / "generation_config.json").write_text(json.dumps(generation))
    return folder


def test_everything_named(tmp_path: Path) -> None:
    generation = {"temperature": 0.6, "top_p": 0.95, "top_k": 20, "min_p": 0.05, "repetition_penalty": 1.1}
    folder = write(tmp_path, generation | {"eos_token_id": [5, 6], "bos_token_id": 4}, eos_token_id=7)
    assert read_generation(folder) == GenerationDefaults(**generation, bos_token_id=4, eos_token_ids=(5, 6))


def test_config_fills_the_ids(tmp_path: Path) -> None:
    assert read_generation(write(tmp_path, None, eos_token_id=7)).eos_token_ids == (7,)


def test_nothing_is_fine(tmp_path: Path) -> None:
    assert read_generation(tmp_path) == GenerationDefaults()


def test_greedy_folder(tmp_path: Path) -> None:
    assert read_generation(write(tmp_path, {"do_sample": False, "temperature": 0.6})).temperature == 0.0


@pytest.mark.parametrize(
    "wrong", [{"temperature": -1}, {"top_p": 2}, {"top_k": "x"}, {"eos_token_id": "x"}, {"eos_token_id": [-1]}]
)
def test_wrong_values(tmp_path: Path, wrong: dict[str, Any]) -> None:
    with pytest.raises(ModelError, match=next(iter(wrong))):
        read_generation(write(tmp_path, wrong))
