"""What is measured, and how often: the quick form and the full one differ in sizes and counts alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple

OURS: Final = "paceline"
LOOP: Final = "loop"
ARMS: Final = (LOOP, "threads", "batching", "vmap", "compile", "graph", OURS)  # "graph": on a GPU alone
SERVED_ARMS: Final = (LOOP, "threads", "batching", "vmap", OURS)
WEIGHTS: Final = ("different", "shared")

# M × N × K of the paper: a recurrent mat-vec, ResNet-18's conv2_2 after im2col, a square.
GEMMS: Final = {"512x1x512": (512, 1, 512), "256x128x1152": (256, 128, 1152), "256x256x256": (256, 256, 256)}
SHARED: Final = "/shared"  # behind a shape: all tenants have the same weights

NUM_TENANTS: Final = 16  # behind the front end
SLOS: Final = (2.0, 5.0, 10.0)  # × the latency of a request alone
MIXES: Final = ("poisson", "bursty", "zipf", "noisy")
GOAL_MIX, GOAL_SLO = "poisson", 5.0
OVERLOAD: Final = 1.5  # × capacity
SATURATED: Final = ("mlp", "lstm", "encoder", "resnet")
SERVED_NET: Final = "blocks"  # of the open loop


class Cell(NamedTuple):
    """Of the section ``coalesce``."""

    net: str
    width: int
    num: int  # models
    weights: str

    @property
    def name(self) -> str:
        return f"{self.net}/{self.width}/{self.num}/{self.weights}"


def _cells(widths: dict[str, tuple[int, ...]], nums: tuple[int, ...]) -> tuple[Cell, ...]:
    return tuple(
        Cell(net, width, num, weights)
        for net, chosen in widths.items()
        for width in chosen
        for num in nums
        for weights in WEIGHTS
    )


GOAL_CELLS: Final = tuple(Cell(net, 16 if net == "resnet" else 64, 16, "different") for net in SATURATED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Protocol:
    """Sizes and counts of one form of the benchmark."""

    name: str
    nums: tuple[int, ...]  # R of the GEMMs
    cells: tuple[Cell, ...]
    num_rounds: int  # of interleaved arms
    round_s: float  # that an arm runs in a round, about
    compiled: bool  # whether torch.compile takes part: it needs minutes
    num_large: int  # ResNet-50s
    num_large_rounds: int
    serve_rounds: int
    serve_s: float  # of each arm in each round
    run_s: float  # of arrivals, in a run of the open loop
    seeds: tuple[int, ...]
    every_slo: tuple[str, ...]  # mixes that are run under every SLO; the others under that of the goal
    rates: tuple[float, ...]  # × capacity of the loop
    own_rates: tuple[float, ...]  # × capacity of ours; the last is the overload
    num_adapters: int
    num_exact: int  # answers compared, per net


QUICK: Final = Protocol(
    name="quick",
    nums=(1, 2, 10, 16, 20),
    cells=(
        *_cells({"mlp": (64, 256)}, (4, 16)),
        *_cells({"lstm": (64,), "encoder": (64,), "resnet": (16,)}, (16,)),
    ),
    num_rounds=11,
    round_s=0.01,
    compiled=False,
    num_large=2,
    num_large_rounds=5,
    serve_rounds=5,
    serve_s=0.25,
    run_s=0.5,
    seeds=(0,),
    every_slo=(GOAL_MIX,),
    rates=(0.5, 0.9),
    own_rates=(0.8, 1.0, OVERLOAD),
    num_adapters=500,
    num_exact=64,
)
FULL: Final = Protocol(
    name="full",
    nums=(1, 2, 4, 8, 10, 16, 20, 32, 64, 120),
    cells=_cells(
        {"mlp": (64, 128, 256), "lstm": (64, 256), "encoder": (64, 128, 256), "resnet": (16, 32)}, (4, 16, 64)
    ),
    num_rounds=21,
    round_s=0.02,
    compiled=True,
    num_large=4,
    num_large_rounds=9,
    serve_rounds=9,
    serve_s=1.0,
    run_s=2.0,
    seeds=(0, 1, 2),
    every_slo=MIXES,
    rates=(0.25, 0.5, 0.75, 0.9, 1.1),
    own_rates=(0.5, 0.75, 0.9, 1.0, 1.2, OVERLOAD),
    num_adapters=500,
    num_exact=400,
)
