"""The CPU runner of our own: a C++ library, bound by ctypes, for x86-64 with AVX-512 BF16 and VNNI."""

from __future__ import annotations

from paceline.llm.native.library import obstacle

__all__ = ["obstacle"]
