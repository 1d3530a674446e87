"""Structural pruning of a folded network: what is coupled, what it costs, what goes, and how the rest heals."""
