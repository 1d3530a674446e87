from pathlib import Path
from typing import Any

import msgspec
import pytest

from paceline.errors import ConfigError
from paceline.llm.config import MAX_DRAFT, SPECULATION, EngineConfig
from paceline.llm.draft.tree import MAX_NODES
from paceline.llm.request import SamplingParams
from paceline.llm.speculation import POLICIES

DOCS = (Path(__file__).parents[2] / "docs" / "llm.md").read_text()


@pytest.mark.parametrize("name", [field.name for field in msgspec.structs.fields(EngineConfig)])
def test_option_is_documented(name: str) -> None:
    assert f"`{name}`" in DOCS


@pytest.mark.parametrize("name", [field.name for field in msgspec.structs.fields(SamplingParams)])
def test_sampling_field_is_documented(name: str) -> None:
    assert f"`{name}`" in DOCS


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"threads": 0}, "threads"),
        ({"max_model_len": -1}, "max_model_len"),
        ({"max_step_s": 0.0}, "max_step_s"),
        ({"max_num_seqs": 64, "max_batched_tokens": 32}, "max_batched_tokens"),
        ({"kv_memory": 1, "num_blocks": 1}, "not both"),
        ({"max_draft": 0}, r"max_draft must be in \[1, 63\], got 0"),
        ({"max_draft": 64}, "max_draft"),
        ({"draft": " "}, "draft must be a folder"),
        ({"speculation": "0"}, "off drafts nothing"),
        ({"speculation": "17"}, r"speculation must be in \[1, 16\]"),
        ({"speculation": "-1"}, "a number or one of auto, off, table, ema, smartspec"),
        ({"speculation": "tabel"}, "did you mean 'table'"),
        ({"speculation": ""}, "speculation must be"),
    ],
)
def test_wrong_values_are_named(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        EngineConfig(model="m", **options)


def test_crosses_the_process_boundary() -> None:
    config = EngineConfig(model="m", quantize="int4", kv_memory=2**30)
    assert msgspec.json.decode(msgspec.json.encode(config), type=EngineConfig) == config


@pytest.mark.parametrize("name", [*SPECULATION, "1", "16", "007"])
def test_every_policy_can_be_chosen(name: str) -> None:
    assert EngineConfig(model="m", speculation=name).speculation == name


def test_policies_and_sizes_are_those_of_the_engine() -> None:
    assert set(SPECULATION) == set(POLICIES)
    assert MAX_DRAFT == MAX_NODES
    assert EngineConfig(model="m", max_draft=63, speculation="63").max_draft == 63
