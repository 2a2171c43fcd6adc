"""Sampling: the sampling loop, solvers, timesteps, inversion, and generation of many images."""
