"""Training of what a method learns: the head on cached features, then gates and head together."""
