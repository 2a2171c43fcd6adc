"""What is not about diffusion: files, devices, names, progress, pictures."""
