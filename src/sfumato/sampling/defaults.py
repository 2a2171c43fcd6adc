"""What draws samples if nothing else is said."""

SOLVER = "dpm-2m-sde"
GRID = "logsnr"
CLIP = "static"
"""Of a model by itself, or guided towards a class: docs/solvers.md has the measurements."""

AUTOGUIDED_SOLVER = "dpm-2m"
AUTOGUIDED_GRID = "karras"
"""Of a model guided away from a weaker one, which corrects what fresh noise on the way is good for otherwise.

Measured: docs/experiments.md, "How to draw with a guide".
"""

AUTOGUIDANCE_SCALE, CONDITIONAL_AUTOGUIDANCE_SCALE = 2.0, 1.5
"""How far a model is guided away from its early self: one that is told nothing, and one that knows classes or columns.

Measured: docs/experiments.md, "How to draw with a guide" and "Twenty minutes, with classes".
"""
