"""What draws samples if nothing else is said. docs/solvers.md has the measurements behind the choice."""

SOLVER = "dpm-2m-sde"
GRID = "logsnr"
CLIP = "static"
