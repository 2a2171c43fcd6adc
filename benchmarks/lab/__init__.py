"""The lab: candidate networks, optimizers and a captured training step, measured against each other."""
