"""Utilities that do not depend on diffusion: files, devices, registry, progress, pictures."""
