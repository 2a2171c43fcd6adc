"""Code of an exported diffusers folder: plain PyTorch with the same names of weights, and no import of sfumato."""
