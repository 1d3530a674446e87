"""How large the KV pool may be."""

from __future__ import annotations

from pathlib import Path

from paceline.errors import ResourceError
from paceline.llm.blocks import num_blocks_for
from paceline.llm.config import EngineConfig
from paceline.llm.model.config import ModelConfig
from paceline.llm.rows import BLOCK_SIZE

_SHARE = 4  # the pool takes at most a quarter of what is free, unless told otherwise
_MEMINFO = Path("/proc/meminfo")
_CGROUP = Path("/sys/fs/cgroup")


def available_bytes() -> int:
    """Memory that new allocations can have: what the kernel estimates, within the container's limit."""
    free = next(int(line.split()[1]) * 1024 for line in _MEMINFO.read_text().splitlines() if "MemAvailable" in line)
    try:
        limit = int((_CGROUP / "memory.max").read_text())
        used = int((_CGROUP / "memory.current").read_text())
    except (OSError, ValueError):  # no cgroup v2, or no limit ("max")
        return free
    return min(free, max(0, limit - used))


def pool_blocks(config: EngineConfig, model: ModelConfig, itemsize: int) -> int:
    """Blocks of the KV pool; ResourceError if not even one sequence of a block fits."""
    if config.num_blocks is not None:
        return config.num_blocks
    block_bytes = model.kv_bytes_per_token(itemsize) * BLOCK_SIZE
    free = available_bytes()
    if config.kv_memory is not None:
        if config.kv_memory > free:
            raise ResourceError(
                f"the KV pool needs {_mib(config.kv_memory)} and {_mib(free)} are free; lower --kv-memory"
            )
        num_blocks = config.kv_memory // block_bytes
    else:
        full = config.max_num_seqs * num_blocks_for(model.max_model_len)
        num_blocks = min(full, free // _SHARE // block_bytes)
    if num_blocks < 1:
        raise ResourceError(
            f"one KV block of {BLOCK_SIZE} tokens needs {_mib(block_bytes)}; "
            f"the pool was given {_mib(config.kv_memory or free // _SHARE)}; raise --kv-memory"
        )
    return num_blocks


def _mib(num_bytes: int) -> str:
    return f"{num_bytes / 2**20:.0f} MiB"
