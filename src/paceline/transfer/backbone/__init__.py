"""Networks that are adapted, with torchvision's names of their tensors."""
