"""What draws samples if nothing else is said."""

import math

SOLVER = "dpm-2m-sde"
GRID = "logsnr"
CLIP = "static"
"""Of a model by itself, or guided towards a class: docs/solvers.md has the measurements."""

AUTOGUIDED_SOLVER = "dpm-2m"
AUTOGUIDED_GRID = "karras"
"""Of a model guided away from a weaker one, which corrects what fresh noise on the way is good for otherwise.

Measured: docs/experiments.md, "How to draw with a guide".
"""


def scale_of_own_guide(images_seen: int) -> float:
    """How far a model is guided away from its early self: the less, the longer it has learned.

    From 2 for models of two million images or fewer to 1.5 for those of five million or more; between the two it falls
    with the logarithm.

    Measured at 1.7 million without classes and at 5.7 million with, where the other's scale is worse:
    docs/experiments.md, "How to draw with a guide" and "Twenty minutes, with classes".
    """
    few, many = 2e6, 5e6
    way = math.log(max(images_seen, few) / few) / math.log(many / few)
    return 2.0 - 0.5 * min(1.0, way)
