"""Bytes of adapters in files, and of a thousand of them in memory."""

from __future__ import annotations

import tempfile
from pathlib import Path

from benchmarks.common.cells import Cells
from benchmarks.transfer.accuracy import base
from benchmarks.transfer.protocol import GATED, NUM_TENANTS
from benchmarks.transfer.serving import NUM_CLASSES, moved
from benchmarks.transfer.work import Work
from paceline.transfer.adapter import AdapterInfo, save_adapter
from paceline.transfer.backbone.backbone import Backbone, Preprocessing, build
from paceline.transfer.backbone.load import fingerprint
from paceline.transfer.gates.gate import GATES
from paceline.transfer.tables import AdapterTables

LARGE = "resnet50"  # with random weights: sizes do not ask for more
GOAL_ADAPTER = f"{LARGE} {GATED}"


def measure_sizes(work: Work) -> None:
    if work.cells.get("adapter-bytes") is None:
        found = {f"{LARGE} {gate}": adapter_bytes(build(LARGE), gate, Preprocessing()) for gate in (GATED, "out")}
        small = {
            f"{base().backbone.arch} {gate}": adapter_bytes(base().backbone, gate, base().preprocessing)
            for gate in GATES
        }
        work.cells.put("adapter-bytes", {**found, **small})
    if work.cells.get("tenants") is None:
        work.cells.put("tenants", tenants(build(LARGE), work.protocol.num_held))


def adapter_bytes(backbone: Backbone, gate: str, preprocessing: Preprocessing) -> int:
    """Of the folder of one adapter of 20 classes, in fp16."""
    info = AdapterInfo(
        arch=backbone.arch,
        base_name=backbone.arch,
        base_sha256=fingerprint(backbone),
        gate=gate,
        from_stage="stem",
        preprocessing=preprocessing,
        classes=tuple(f"class {number}" for number in range(NUM_CLASSES)),
    )
    with tempfile.TemporaryDirectory() as folder:
        save_adapter(folder, moved(backbone, gate, 0), info)
        return sum(path.stat().st_size for path in Path(folder).iterdir())


def tenants(backbone: Backbone, num_held: int) -> dict[str, int]:
    """Bytes of ``NUM_TENANTS`` adapters of 20 classes over one base, without the base, as ``num_held`` of them take: all are of one size."""
    tables = AdapterTables(backbone)
    net = moved(backbone, GATED, 0)
    for number in range(num_held):
        tables.add(str(number), net)
    return {"tenants": NUM_TENANTS, "held": len(tables), "bytes": tables.num_bytes() * NUM_TENANTS // len(tables)}


def memory_of(cells: Cells) -> dict[str, int] | None:
    found: dict[str, int] | None = cells.get("tenants")
    return found
