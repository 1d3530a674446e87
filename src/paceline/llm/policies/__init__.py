"""Speculation policies, one file each (``goodput`` is ours), and what the goodput policy is made of. Pure."""
