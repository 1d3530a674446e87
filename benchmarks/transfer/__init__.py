"""Adapting a frozen network to new classes: how near to learning everything, at what size, and what it takes to serve it."""
