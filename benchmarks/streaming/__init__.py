"""Streaming perception: what is on the screen against the world at that moment."""
