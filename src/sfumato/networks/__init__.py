"""Networks, as plain PyTorch modules that know nothing of diffusion."""
