"""What pytest leaves out: modules that import what only some machines, or the peers' own environments, have."""

from __future__ import annotations

import importlib.util

collect_ignore_glob = ["benchmarks/engine/workers/*"]
if importlib.util.find_spec("triton") is None:
    collect_ignore_glob.append("src/paceline/llm/cuda/*")
