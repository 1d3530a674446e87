"""Makes the detectors that `paceline.streaming` brings along."""
