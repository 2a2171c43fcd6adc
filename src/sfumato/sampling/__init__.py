"""Sampling: one loop, solvers, timesteps, inversion, and many images at once."""
