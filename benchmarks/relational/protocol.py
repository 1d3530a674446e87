"""What is measured, and how large: the quick form and the full one differ in sizes and rounds alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from benchmarks.relational import plans
from benchmarks.relational.plans import Case

ARMS: Final = ("plain", "cached", "dedup", "v1", "ggr", "paceline")
OURS: Final = "paceline"
BASELINE: Final = "cached"  # the same rows as they come, with the prefix cache on
FILTERED: Final = ("movies", "products", "bird")  # tables of the end-to-end goal

# The published set-up holds some 50,000 tokens of keys and values for 4 million prompt tokens of 15,000 rows. A table of
# 2,000 rows has an eighth of the entities, so the pool is an eighth, too, and as many requests run at once as fit.
EMBEDDED_BLOCKS: Final = 512  # of 16 tokens
EMBEDDED_SEQS: Final = 16
MOCK_CACHE_TOKENS: Final = 12_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Protocol:
    """Sizes of one form of the benchmark."""

    name: str
    plans: tuple[Case, ...]
    embedded_rows: int
    mock_rows: int
    num_judged: int  # rows per question whose answers are held against the truth


FULL: Final = Protocol(name="full", plans=plans.FULL, embedded_rows=2000, mock_rows=3000, num_judged=400)
QUICK: Final = Protocol(name="quick", plans=plans.QUICK, embedded_rows=600, mock_rows=400, num_judged=120)
