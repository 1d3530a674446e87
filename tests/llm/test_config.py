from pathlib import Path
from typing import Any

import msgspec
import pytest

from paceline.errors import ConfigError
from paceline.llm.config import EngineConfig
from paceline.llm.request import SamplingParams

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
    ],
)
def test_wrong_values_are_named(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        EngineConfig(model="m", **options)


def test_crosses_the_process_boundary() -> None:
    config = EngineConfig(model="m", quantize="int4", kv_memory=2**30)
    assert msgspec.json.decode(msgspec.json.encode(config), type=EngineConfig) == config
