"""The averaged weights, which are the ones that sample."""

import torch
from torch import nn


@torch.no_grad()
def update_average(average: nn.Module, model: nn.Module, decay: float, step: int) -> None:
    """average <- d average + (1 - d) model, after the optimizer's step number `step` (from 1).

    d rises to `decay` as (1 + step) / (10 + step), so that the average forgets the untrained weights early on.

    Args:
        average: a copy of the model; changed in place.
        model: the model in training.
        decay: of a long run, in [0, 1).
        step: optimizer steps taken, this one included.
    """
    decay_now = min(decay, (1 + step) / (10 + step))
    torch._foreach_lerp_(list(average.parameters()), list(model.parameters()), 1 - decay_now)
