"""How good images are, measured on features: distances between distributions, fidelity, coverage, neighbours."""
