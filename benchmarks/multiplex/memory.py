"""Memory of many adapters over one base, in fresh processes: ``python -m benchmarks.multiplex.memory NUM``."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from typing import Any, Final

import torch

from benchmarks.common.arms import ROOT
from benchmarks.common.cells import Cells
from benchmarks.common.child import resident_bytes
from benchmarks.multiplex.nets import HALF_RESNET_18, own
from benchmarks.multiplex.protocol import Protocol
from paceline.multiplex import Runtime
from paceline.multiplex.architectures import Network, build

_MIB: Final = 2**20
_PIXELS: Final = 32
_TIMEOUT_S: Final = 900.0


def measure_memory(cells: Cells, protocol: Protocol) -> None:
    """One process with the base alone, one with all tenants; each answers a request of its last tenant, checked."""
    for num in (0, protocol.num_adapters):
        if cells.get(f"memory/{num}") is None:
            done = subprocess.run(
                [sys.executable, "-m", "benchmarks.multiplex.memory", str(num)],
                cwd=ROOT, env=_environment(), capture_output=True, text=True, timeout=_TIMEOUT_S, check=False,
            )  # fmt: skip
            if done.returncode:
                raise RuntimeError(f"the process with {num} adapters failed: {done.stderr[-2000:]}")
            cells.put(f"memory/{num}", json.loads(done.stdout))


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"}


def memory(cells: Cells) -> dict[str, Any] | None:
    """MiB. ``bound``: 1.2 × the base and 1 MiB for each tenant."""
    found = {int(name): cell for name, cell in cells.having("memory/").items()}
    if 0 not in found or len(found) < 2:
        return None
    num = max(found)
    base, all_of_them = found[0]["resident"] / _MIB, found[num]["resident"] / _MIB
    bound = 1.2 * base + num
    return {
        "num_adapters": num,
        "base_mib": round(base, 1),
        "resident_mib": round(all_of_them, 1),
        "bound_mib": round(bound, 1),
        "over_bound": round(all_of_them / bound, 4),
        "register_ms": round(1e3 * found[num]["register_s"] / num, 2),
    }


def _serve(num: int) -> dict[str, float]:
    torch.manual_seed(0)
    torch.set_num_threads(1)
    base = own(build("resnet", **HALF_RESNET_18))
    assert isinstance(base, Network)
    x = torch.randn(1, 3, _PIXELS, _PIXELS)
    with Runtime() as runtime:
        began = time.perf_counter()
        model: torch.nn.Module = base
        runtime.register("base", base, x, slo=30.0)
        for number in range(num):
            model = build("adapted", base=base)
            runtime.register(f"tenant-{number}", model, x, slo=30.0)
        register_s = time.perf_counter() - began
        answer = runtime.infer_sync(f"tenant-{num - 1}" if num else "base", x)
        with torch.inference_mode():
            torch.testing.assert_close(answer, model(x), rtol=1e-4, atol=1e-5)
        return {"resident": resident_bytes(), "register_s": register_s}


if __name__ == "__main__":
    print(json.dumps(_serve(int(sys.argv[1]))))
