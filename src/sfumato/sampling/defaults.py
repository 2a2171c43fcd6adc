"""Default settings of sampling. Imported by the command line, so without heavy imports."""

SOLVER = "dpm-2m-sde"
GRID = "logsnr"
CLIP = "static"
"""Defaults without guidance and with classifier-free guidance. Measured in docs/solvers.md."""

AUTOGUIDED_SOLVER = "dpm-2m"
AUTOGUIDED_GRID = "karras"
"""Defaults with autoguidance, for which a deterministic solver is better.

Measured in docs/experiments.md, "How to draw with a guide".
"""

AUTOGUIDANCE_SCALE, CONDITIONAL_AUTOGUIDANCE_SCALE = 2.0, 1.5
"""Guidance scale with the guidance checkpoint: of an unconditional model and of a conditional one.

Measured in docs/experiments.md, "How to draw with a guide" and "Twenty minutes, with classes".
"""
