"""From a graph and the weights of some tenants to one straight-line Python function over all of them."""
