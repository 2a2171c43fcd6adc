"""Training: configuration, state, the loop, and what is measured on the way."""
