"""From detections to objects that keep their names, and where those are at any moment."""
