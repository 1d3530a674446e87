"""Training of the small convolutional network that comes in the package, and the pictures that it is tried on."""
