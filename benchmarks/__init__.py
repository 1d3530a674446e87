"""Claims, each with the program that measures it."""
