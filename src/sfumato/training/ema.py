"""Exponential moving average (EMA) of the weights, used for sampling."""

import math
from abc import ABC, abstractmethod
from copy import deepcopy
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn

from sfumato.errors import ConfigError
from sfumato.utils.registry import Registry


class EMADecay(ABC):
    """Decay of an EMA by step."""

    @abstractmethod
    def rate(self, step: int) -> float:
        """1 - decay, in [0, 1], after optimizer step number `step` (from 1)."""


@dataclass(frozen=True)
class ConstantDecay(EMADecay):
    """Constant decay per step, as in DDPM.

    The decay is at most (1 + step) / (10 + step), so that early averages do not contain the untrained weights.

    Args:
        decay: decay per step, in [0, 1).

    Raises:
        ConfigError: a decay outside [0, 1).
    """

    decay: float = 0.9999

    def __post_init__(self) -> None:
        if not 0 <= self.decay < 1:
            raise ConfigError(f"the EMA decay is {self.decay}", "Choose 0 or more, below 1.")

    def rate(self, step: int) -> float:
        """1 - decay, larger at the start."""
        return 1 - min(self.decay, (1 + step) / (10 + step))


@dataclass(frozen=True)
class PowerDecay(EMADecay):
    """Power-function EMA: averages over a constant share of the run; step n has weight n^gamma.

    EDM2 (arXiv 2312.02696): eq. 2 (eq. 127) for the update, eq. 123 for the standard deviation.

    Args:
        length: standard deviation of the average as a share of the run so far, in (0, 0.28].

    Raises:
        ConfigError: a length outside (0, 0.28], for which gamma would be negative.
    """

    length: float = 0.05

    def __post_init__(self) -> None:
        if not 0 < self.length <= 0.28:
            raise ConfigError(f"the EMA length is {self.length} of a run", "Choose above 0, at most 0.28.")

    @cached_property
    def gamma(self) -> float:
        """The solution of length^2 = (gamma + 1) / ((gamma + 2)^2 (gamma + 3))."""
        low, high = 0.0, 1 / self.length
        for _ in range(60):
            middle = (low + high) / 2
            is_wider = (middle + 1) / ((middle + 2) ** 2 * (middle + 3)) > self.length**2
            low, high = (middle, high) if is_wider else (low, middle)
        return low

    def rate(self, step: int) -> float:
        """1 - (1 - 1 / step)^(gamma + 1)."""
        return -math.expm1((self.gamma + 1) * math.log1p(-1 / step)) if step > 1 else 1.0


EMA_DECAYS: Registry[EMADecay] = Registry("EMA", ConfigError, {"constant": ConstantDecay(), "power": PowerDecay()})


@torch.no_grad()
def update_average(average: nn.Module, model: nn.Module, ema_rate: Tensor) -> None:
    """average <- average + ema_rate (model - average), without waiting for the device. Buffers are copied.

    Args:
        average: copy of the model, changed in place.
        model: model in training.
        ema_rate: () 1 - decay, in [0, 1], on the device of both.
    """
    averages: list[Tensor] = list(average.parameters())
    parameters: list[Tensor] = list(model.parameters())
    change = list(torch._foreach_sub(parameters, averages))
    torch._foreach_mul_(change, ema_rate)
    torch._foreach_add_(averages, change)
    for buffer, current in zip(average.buffers(), model.buffers(), strict=True):
        buffer.copy_(current)


class EMA:
    """Exponential moving average of the weights of a model, used for sampling.

    average <- decay * average + (1 - decay) * weights. DDPM (arXiv 2006.11239), appendix B. Buffers are copied.

    Args:
        model: model in training; must have parameters, all on one device.
        decay: decay per step, in [0, 1).
        warmup_steps: number of initial updates in which the average is set to the weights.

    Attributes:
        model: copy of the model with the averaged weights, in evaluation mode and without gradients.

    Raises:
        ConfigError: a decay outside [0, 1), or a negative number of warm-up steps.
    """

    def __init__(self, model: nn.Module, decay: float = 0.995, warmup_steps: int = 0) -> None:
        if not 0 <= decay < 1:
            raise ConfigError(f"the EMA decay is {decay}", "Choose 0 or more, below 1, such as 0.995.")
        if warmup_steps < 0:
            raise ConfigError(f"the EMA has {warmup_steps} warm-up steps", "Choose 0 or more.")
        self.model = deepcopy(model).eval().requires_grad_(False)
        self._source = model
        self._decay = decay
        self._warmup_steps = warmup_steps
        self._updates = 0

    def update(self) -> None:
        """Updates the average with the current weights. Call it after each step of the optimizer."""
        self._updates += 1
        ema_rate = 1.0 if self._updates <= self._warmup_steps else 1 - self._decay
        device = next(self.model.parameters()).device
        update_average(self.model, self._source, torch.full((), ema_rate, device=device))
