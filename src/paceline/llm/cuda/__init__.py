"""What only a GPU has: a Triton kernel for paged attention, and graphs of the decode step."""
