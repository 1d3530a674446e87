"""What requests weigh: work -> the feature vector of the cost model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

MEAN_OUTPUT: Final[Mapping[str, float]] = {
    "llm": 40.0, "llm_filter": 2.0, "llm_choice": 3.0, "llm_json": 60.0, "llm_score": 2.0, "llm_agg": 80.0,
}  # fmt: skip
"""Tokens of a usual answer of each function, until answers tell."""


@dataclass(frozen=True, slots=True)
class RequestLoad:
    """Counts of a batch of requests.

    >>> (RequestLoad(1, 200.0, 150.0, 2.0) + RequestLoad(1, 100.0, 0.0, 2.0)).features
    (2.0, 150.0, 150.0, 4.0)
    """

    num_requests: float
    prompt_tokens: float
    cached_tokens: float
    output_tokens: float

    @property
    def features(self) -> tuple[float, float, float, float]:
        """Fixed work per request, tokens to prefill, tokens found in the cache, tokens to decode."""
        return (
            float(self.num_requests), self.prompt_tokens - self.cached_tokens, self.cached_tokens, self.output_tokens,
        )  # fmt: skip

    def __add__(self, other: RequestLoad) -> RequestLoad:
        return RequestLoad(
            self.num_requests + other.num_requests,
            self.prompt_tokens + other.prompt_tokens,
            self.cached_tokens + other.cached_tokens,
            self.output_tokens + other.output_tokens,
        )
