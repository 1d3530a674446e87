"""Which Python runs which arm, and with what environment."""

from __future__ import annotations

import contextlib
import ctypes.util
import os
import sys
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from benchmarks.common.arms import ROOT, Arm, ArmError, worker_command
from benchmarks.engine.protocol import NUM_THREADS


class Bench:
    """The Pythons of the arms and the folder where models, logs and cells live.

    ``missing`` collects why an arm has no figure; it goes into the result.
    """

    def __init__(self, pythons: Mapping[str, str], work_dir: Path, repeat_until_s: float | None = None) -> None:
        self.pythons = pythons
        self.work_dir = work_dir
        self._repeat_until_s = None if repeat_until_s is None else time.monotonic() + repeat_until_s
        self.missing: dict[str, str] = {}
        self.versions: dict[str, str] = {}

    def wants(self, turn: int) -> bool:
        """Whether this round is measured: the first always, others while there is time."""
        return turn == 0 or self._repeat_until_s is None or time.monotonic() < self._repeat_until_s

    def start(self, name: str) -> Arm:
        """A worker of that arm, nothing loaded yet."""
        module = f"benchmarks.engine.workers.{name}_arm"
        return Arm(
            name,
            worker_command(self.pythons[name], module),
            env=_environment(name, self.pythons[name]),
            log=self.work_dir / f"{name}.log",
        )

    @contextlib.contextmanager
    def loaded(self, names: list[str], **arguments: Any) -> Iterator[dict[str, Arm]]:
        """Arms with a model loaded, two loading at a time; one that fails is left out and noted."""
        with ExitStack() as stack:
            arms = {name: stack.enter_context(self.start(name)) for name in names if name in self.pythons}
            with ThreadPoolExecutor(2) as pool:
                ready = list(pool.map(lambda arm: self._load(arm, arguments), arms.values()))
            yield {arm.name: arm for arm in ready if arm is not None}

    def _load(self, arm: Arm, arguments: Mapping[str, Any]) -> Arm | None:
        try:
            answer = arm.ask("load", num_threads=NUM_THREADS, **arguments)
        except ArmError as error:
            self.note(arm.name, str(error))
            return None
        self.versions[arm.name] = answer["version"]
        return arm

    def note(self, name: str, reason: str) -> None:
        self.missing.setdefault(name, reason)
        print(f"  {name}: {reason}", file=sys.stderr, flush=True)


def _environment(name: str, python: str) -> dict[str, str]:
    env = {
        "OMP_NUM_THREADS": str(NUM_THREADS),
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "src")] if name.startswith("paceline") else [str(ROOT)]),
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_OFFLINE": "1",
    }
    if name == "vllm":
        env["LD_PRELOAD"] = ":".join(_vllm_preloads(python))
    return env


def _vllm_preloads(python: str) -> list[str]:
    """The allocator and the OpenMP runtime that vLLM's CPU notes ask for, where they are installed."""
    openmp = Path(python).parent.parent / "lib" / "libiomp5.so"
    allocator = ctypes.util.find_library("tcmalloc_minimal")
    return [*([allocator] if allocator else []), *([str(openmp)] if openmp.exists() else [])]
