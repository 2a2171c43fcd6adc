"""What draws samples if nothing else is said. docs/solvers.md has the measurements behind the choice."""

SOLVER = "unipc-2"
GRID = "logsnr"
CLIP = "static"
