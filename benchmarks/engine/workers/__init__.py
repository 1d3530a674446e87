"""One file an arm: each runs under the Python that has its library and answers one question at a time."""
