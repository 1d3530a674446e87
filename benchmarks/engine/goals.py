"""What the engine is meant to reach: a floor that must hold and an aim."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """One figure beside its floor and aim; ``at_most`` says which side is good."""

    name: str
    value: float | None
    floor: float
    aim: float
    at_most: bool = True

    def reaches(self, bound: float) -> bool:
        """
        >>> Goal(name="ratio", value=1.1, floor=1.15, aim=1.0).reaches(1.15)
        True
        """
        if self.value is None:
            return False
        return self.value <= bound if self.at_most else self.value >= bound

    @property
    def verdict(self) -> str:
        if self.value is None:
            return "not measured"
        return "aim" if self.reaches(self.aim) else "floor" if self.reaches(self.floor) else "missed"


DECODE_FLOORS = {
    "A": {"1": 1.15, "8": 1.15, "32": 1.15},
    "A-int8": {"1": 1.25, "8": 1.25, "32": 1.25},
    "A-int4": {"1": 1.25, "8": 1.25, "32": 1.25},
    "B": {"1": 1.8, "8": 1.3, "32": 1.15},
}


def goals(figures: dict[str, Any]) -> list[Goal]:
    """Every goal with what was measured."""
    return [*_speed(figures), *_service(figures), *_quality(figures)]


def _speed(figures: dict[str, Any]) -> Iterator[Goal]:
    for group, floors in DECODE_FLOORS.items():
        ratios = figures["decode_over_fastest_peer"][group]
        for batch, floor in floors.items():
            name = f"decode step {group}, batch {batch}, over the fastest peer"
            yield Goal(name=name, value=ratios.get(batch), floor=floor, aim=1.0)
    for batch in DECODE_FLOORS["A"]:
        value = figures["transformers_over_decode"]["A"].get(batch)
        yield Goal(name=f"transformers over decode step A, batch {batch}", value=value, floor=2, aim=2, at_most=False)
    for shape in ("8x64", "1x512"):
        value = figures["prefill_over_best_peer"].get(shape)
        yield Goal(name=f"prefill rate A, {shape}, over the best peer", value=value, floor=0.95, aim=1, at_most=False)


def _service(figures: dict[str, Any]) -> Iterator[Goal]:
    yield Goal(name="serve --demo, command to first token, s", value=figures["cold_start_s"], floor=5, aim=5)
    yield Goal(name="paceline --help, s", value=figures["help_s"], floor=0.3, aim=0.3)
    served = figures["served_over_offline"]
    yield Goal(name="32 clients through HTTP over offline, A", value=served, floor=0.9, aim=0.9, at_most=False)
    memory = figures["memory"].get("A", {})
    name = "engine's memory over 1.2 weights + KV pool + 450 MB, A"
    yield Goal(name=name, value=memory.get("engine_over_bound"), floor=1, aim=1)
    yield Goal(name="server process, MB", value=memory.get("server_mb"), floor=150, aim=150)


def _quality(figures: dict[str, Any]) -> Iterator[Goal]:
    perplexity = figures["perplexity"]
    for weights, bound in (("int8", 1.01), ("int4", 1.03)):
        name = f"perplexity {weights} over bf16, packaged target"
        yield Goal(name=name, value=perplexity.get(f"{weights}_over_bf16"), floor=bound, aim=1.0)
    for family, found in figures["logits"].items():
        value = found["max_difference"]
        yield Goal(name=f"logits against transformers, float32, {family}", value=value, floor=1e-4, aim=1e-4)


def as_json(found: list[Goal]) -> list[dict[str, Any]]:
    return [{**asdict(goal), "verdict": goal.verdict} for goal in found]
