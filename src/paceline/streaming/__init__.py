"""Boxes that are right when they are shown: detection and tracking on live video, configured by what the scene looks like now."""
