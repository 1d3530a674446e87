"""What pytest leaves out: the GPU's modules import Triton, which is not everywhere."""

from __future__ import annotations

import importlib.util

collect_ignore_glob = [] if importlib.util.find_spec("triton") else ["src/paceline/llm/cuda/*"]
