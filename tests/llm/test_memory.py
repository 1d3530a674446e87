import pytest

from paceline.errors import ResourceError
from paceline.llm import memory
from paceline.llm.config import EngineConfig
from paceline.llm.model.config import ModelConfig

MODEL = ModelConfig(
    family="fake", vocab_size=8, hidden_size=64, num_layers=2, num_heads=1, num_kv_heads=1, head_dim=64,
    intermediate_size=64, norm_eps=1e-6, max_model_len=64, rope_theta=1e4,
)  # fmt: skip
BLOCK_BYTES = 2 * 2 * 64 * 2 * 16


@pytest.fixture(autouse=True)
def _free_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "available_bytes", lambda: 400 * BLOCK_BYTES)


@pytest.mark.parametrize(
    ("options", "blocks"),
    [
        ({"num_blocks": 7}, 7),
        ({"kv_memory": 10 * BLOCK_BYTES + 5}, 10),
        ({"max_num_seqs": 2}, 8),
        ({"max_num_seqs": 64}, 100),
    ],
    ids=["as told", "as many as fit", "full contexts", "a quarter of what is free"],
)
def test_pool_size(options: dict[str, int], blocks: int) -> None:
    assert memory.pool_blocks(EngineConfig(model="m", **options), MODEL, 2) == blocks


@pytest.mark.parametrize("kv_memory", [1, 401 * BLOCK_BYTES])
def test_impossible_pool_says_need_and_option(kv_memory: int) -> None:
    with pytest.raises(ResourceError, match="--kv-memory"):
        memory.pool_blocks(EngineConfig(model="m", kv_memory=kv_memory), MODEL, 2)


def test_available_memory_is_plausible() -> None:
    assert memory.available_bytes() > 2**20
