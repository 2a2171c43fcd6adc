"""Time grids: the times at which a sampler stops on its way from noise, t = 1, to data, t = 0."""

import torch
from jaxtyping import Float64
from torch import Tensor

from sfumato.errors import SamplingError


def uniform(timesteps: int, steps: int) -> Float64[Tensor, " {steps}+1"]:
    """`steps` nearly equal strides over the T steps of a discrete schedule: 1 first, 0 last, all multiples of 1/T.

    >>> uniform(1000, 4)
    tensor([1.0000, 0.7500, 0.5000, 0.2500, 0.0000], dtype=torch.float64)

    Raises:
        SamplingError: fewer than 1 step, or more than T.
    """
    if not 1 <= steps <= timesteps:
        raise SamplingError(
            f"{steps} sampling steps were asked of a schedule with {timesteps}", f"Choose 1 to {timesteps} steps."
        )
    return torch.linspace(timesteps, 0, steps + 1, dtype=torch.float64).round() / timesteps
