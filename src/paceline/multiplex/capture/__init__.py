"""From a module to a graph: ``capture`` traces it, puts it into normal form, and compares it with the module."""

from paceline.multiplex.capture.captured import Captured, capture
from paceline.multiplex.capture.check import interpret
from paceline.multiplex.capture.traced import NotCapturable

__all__ = ["Captured", "NotCapturable", "capture", "interpret"]
