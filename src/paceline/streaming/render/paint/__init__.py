"""Pixels of a drive; needs Pillow."""
