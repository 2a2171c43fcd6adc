"""The averaged weights, which are the ones that sample."""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn

from sfumato.errors import ConfigError
from sfumato.utils.registry import parse_part


class Average(ABC):
    """How far the averaged weights move towards the present ones."""

    @abstractmethod
    def pull(self, step: int) -> float:
        """The share of the way, in [0, 1], after the optimizer's step number `step` (from 1)."""


@dataclass(frozen=True)
class ConstantDecay(Average):
    """The weight of a step shrinks by `decay` with each one after it, as in DDPM.

    The decay rises as (1 + step) / (10 + step), so that the average forgets the untrained weights early on.

    Args:
        decay: of a long run.

    Raises:
        ConfigError: a decay outside [0, 1).
    """

    decay: float = 0.9999

    def __post_init__(self) -> None:
        if not 0 <= self.decay < 1:
            raise ConfigError(f"the average cannot decay by {self.decay}", "Choose 0 or more, below 1.")

    def pull(self, step: int) -> float:
        """1 - decay, more at first."""
        return 1 - min(self.decay, (1 + step) / (10 + step))


@dataclass(frozen=True)
class PowerDecay(Average):
    """The average is over the same share of the run, however long it is: a step counts as its number ^ gamma.

    EDM2 (arXiv 2312.02696): the update is eq. 2 (eq. 127), the standard deviation of the average eq. 123.

    Args:
        length: the standard deviation of the average, as a share of the run so far.

    Raises:
        ConfigError: a length outside (0, 0.28], where gamma is not negative.
    """

    length: float = 0.05

    def __post_init__(self) -> None:
        if not 0 < self.length <= 0.28:
            raise ConfigError(f"the average cannot be over {self.length} of a run", "Choose above 0, at most 0.28.")

    @cached_property
    def gamma(self) -> float:
        """The power whose weights have this deviation: length^2 = (gamma + 1) / ((gamma + 2)^2 (gamma + 3))."""
        low, high = 0.0, 1 / self.length
        for _ in range(60):
            middle = (low + high) / 2
            is_wider = (middle + 1) / ((middle + 2) ** 2 * (middle + 3)) > self.length**2
            low, high = (middle, high) if is_wider else (low, middle)
        return low

    def pull(self, step: int) -> float:
        """1 - (1 - 1 / step)^(gamma + 1)."""
        return -math.expm1((self.gamma + 1) * math.log1p(-1 / step)) if step > 1 else 1.0


AVERAGES: dict[str, Average] = {"constant": ConstantDecay(), "power": PowerDecay()}


def average_for(name: str) -> Average:
    """The average of a name in `AVERAGES`, possibly with settings.

    >>> average_for("power:length=0.1")
    PowerDecay(length=0.1)

    Raises:
        ConfigError: an unknown name or setting; lists what is possible.
    """
    return parse_part(AVERAGES, name, "average", ConfigError)


@torch.no_grad()
def update_average(average: nn.Module, model: nn.Module, pull: Tensor) -> None:
    """average <- average + pull (model - average), without waiting for the device.

    Args:
        average: a copy of the model; changed in place.
        model: the model in training.
        pull: (), on their device, in [0, 1].
    """
    averages: list[Tensor] = list(average.parameters())
    parameters: list[Tensor] = list(model.parameters())
    change = list(torch._foreach_sub(parameters, averages))
    torch._foreach_mul_(change, pull)
    torch._foreach_add_(averages, change)
