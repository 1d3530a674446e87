"""Where drafts come from: one proposer a file, each of which returns trees of tokens (``tree.py``)."""
