"""What pytest leaves out: modules that import what only some machines, or the peers' own environments, have."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator

import pytest

collect_ignore_glob = ["benchmarks/engine/workers/*"]
if importlib.util.find_spec("triton") is None:
    collect_ignore_glob += ["src/paceline/llm/cuda/*", "src/paceline/multiplex/cuda/grouped_gemm.py"]


@pytest.fixture(scope="session", autouse=True)
def cache_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keeps tests, and the engines they start, out of the user's cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield
