"""Detectors of all kinds, and the pool that has them ready."""
