"""What is learned inside a frozen network, one class each. A new gate is a class here and a line in its registry."""
