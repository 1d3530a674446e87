"""Where outputs go: MOTChallenge's text, annotated video."""
