"""One HTML file about an adapted network: which channels matter, what they look for, what is mistaken for what."""
