"""How fast one engine step is, against the engines a user would otherwise take."""
