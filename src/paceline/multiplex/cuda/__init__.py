"""What only a GPU has: a matrix product that finds its weights by address, and graphs of whole programs."""
