"""Optimizers and the learning rate schedule: Adam, or Muon for hidden matrices with Adam for the other parameters.

All optimizer state is on the device, so that a step can be part of a CUDA graph. A step whose gradient is not finite
changes nothing.
"""

from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Float32
from torch import Tensor, nn

from sfumato.errors import ConfigError
from sfumato.networks.matrices import hidden_matrices
from sfumato.training.config import OptimizationConfig
from sfumato.utils.registry import Registry

Scalar = Float32[Tensor, ""]

OptimizerState = dict[nn.Parameter, dict[str, Tensor]]
"""State tensors of each parameter, by name; changes to them change the optimizer."""


Inputs = Sequence[Tensor | None]
"""Arguments of a call of the network."""


class UpdateRule(ABC):
    """An optimizer of a group of parameters with its own learning rate."""

    @abstractmethod
    def step(self, scale: Scalar, enabled: Scalar) -> None:
        """Updates the parameters from their gradients.

        Args:
            scale: learning rate as a share of its peak, on the device.
            enabled: 1, or 0 to change nothing, on the device.
        """

    @abstractmethod
    def state(self) -> OptimizerState:
        """State tensors of each parameter, which may be read and overwritten in place."""


class AdamRule(UpdateRule):
    """Adam (arXiv 1412.6980, Algorithm 1), with PyTorch's fused kernels."""

    def __init__(self, parameters: Sequence[nn.Parameter], rate: float, betas: tuple[float, float]) -> None:
        device = parameters[0].device
        self.rate, self.rate_now = rate, torch.zeros((), device=device)
        is_cuda = device.type == "cuda"
        self.adam = torch.optim.Adam(parameters, lr=self.rate_now, betas=betas, fused=True, capturable=is_cuda)
        for p in parameters:
            moments = {name: torch.zeros_like(p) for name in ("exp_avg", "exp_avg_sq")}
            self.adam.state[p] = {"step": torch.zeros((), device=device), **moments}

    @torch.no_grad()
    def step(self, scale: Scalar, enabled: Scalar) -> None:
        """Updates the parameters; the fused kernel skips the step if `found_inf` is 1."""
        self.rate_now.copy_(self.rate * scale)
        self.adam.found_inf = 1 - enabled  # type: ignore[attr-defined]
        self.adam.step()

    def state(self) -> OptimizerState:
        """step, exp_avg and exp_avg_sq of each parameter."""
        return {p: self.adam.state[p] for group in self.adam.param_groups for p in group["params"]}


class MuonRule(UpdateRule):
    """Muon: momentum whose matrix is orthogonalized, so that every direction of a layer has the same step size.

    Keller Jordan, "Muon: an optimizer for hidden layers in neural networks" (2024): Nesterov's momentum, five
    Newton-Schulz steps, and the step of an (m, n) matrix scaled by sqrt(max(1, m / n)). A convolution is the matrix
    (out, in x height x width). Matrices of the same shape are orthogonalized together.

    Args:
        parameters: weights of linear layers and convolutions.
        rate: peak learning rate, in units of the largest singular value of an update.
        momentum: decay rate of the mean of the gradients.
    """

    def __init__(self, parameters: Sequence[nn.Parameter], rate: float, momentum: float) -> None:
        self.rate, self.decay = rate, momentum
        groups = defaultdict(list)
        for p in parameters:
            groups[to_matrix(p).shape].append(p)
        self.groups = [(same, torch.zeros(len(same), *shape, device=same[0].device)) for shape, same in groups.items()]

    @torch.no_grad()
    def step(self, scale: Scalar, enabled: Scalar) -> None:
        """Updates the parameters, one group of matrices of the same shape after the other."""
        for parameters, momentum in self.groups:
            gradients = torch.stack([to_matrix(torch.zeros_like(p) if p.grad is None else p.grad) for p in parameters])
            gradients = torch.where(enabled > 0, gradients, momentum)  # the momentum then does not change
            momentum.lerp_(gradients, 1 - self.decay)
            _, rows, columns = momentum.shape
            step_size = self.rate * max(1, rows / columns) ** 0.5
            updates = orthogonalize(gradients.lerp(momentum, self.decay)).float() * (-step_size * scale * enabled)
            torch._foreach_add_(list(parameters), [from_matrix(u, p) for u, p in zip(updates, parameters, strict=True)])

    def state(self) -> OptimizerState:
        """The momentum of each parameter, (rows, columns)."""
        return {p: {"momentum": momentum[i]} for parameters, momentum in self.groups for i, p in enumerate(parameters)}


def to_matrix(weight: Tensor) -> Float[Tensor, "rows columns"]:
    """A weight (out, in, height, width) as a matrix (out, height x width x in); a view if it is channels-last."""
    return weight.movedim(1, -1).flatten(1)


def from_matrix(matrix: Float[Tensor, "rows columns"], weight: Tensor) -> Tensor:
    """Inverse of `to_matrix`: a matrix in the shape of the weight."""
    out, inputs, *window = weight.shape
    return matrix.view(out, *window, inputs).movedim(-1, 1)


def orthogonalize(x: Float[Tensor, "k m n"], steps: int = 5) -> Float[Tensor, "k m n"]:
    """Replaces the singular values of matrices with values near 1, by a quintic Newton-Schulz iteration.

    After five steps, singular values of at least 0.002 of the Frobenius norm are between 0.68 and 1.21. Smaller
    ones grow by at most a factor of 485. Method and coefficients are those of Jordan's Muon. On a GPU it runs in
    bfloat16.
    """
    a, b, c = 3.4445, -4.7750, 2.0315
    is_tall = x.shape[1] > x.shape[2]
    x = (x.mT if is_tall else x).to(torch.bfloat16 if x.is_cuda else x.dtype)
    x = x / (x.float().norm(dim=(1, 2), keepdim=True) + 1e-7).to(x.dtype)
    for _ in range(steps):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.mT if is_tall else x


class Optimizer:
    """Updates every parameter of a network, each by one rule."""

    def __init__(self, *rules: UpdateRule) -> None:
        self.rules = rules

    def step(self, scale: Scalar, enabled: Scalar) -> None:
        """Updates the parameters without waiting for the device; arguments are those of `UpdateRule.step`."""
        for rule in self.rules:
            rule.step(scale, enabled)

    def state(self) -> OptimizerState:
        """State tensors of each parameter, which may be read and overwritten in place."""
        return {p: tensors for rule in self.rules for p, tensors in rule.state().items()}


class OptimizerConfig(ABC):
    """Settings of an optimizer."""

    @abstractmethod
    def built(self, network: nn.Module, learning_rate: float, inputs: Inputs) -> Optimizer:
        """Builds the optimizer."""


@dataclass(frozen=True)
class AdamConfig(OptimizerConfig):
    """Adam for all parameters.

    Args:
        beta1: decay rate of the mean of the gradients.
        beta2: decay rate of the mean of their squares.

    Raises:
        ConfigError: a decay rate outside [0, 1).
    """

    beta1: float = 0.9
    beta2: float = 0.999

    def __post_init__(self) -> None:
        _check_decays(self.beta1, self.beta2)

    def built(self, network: nn.Module, learning_rate: float, inputs: Inputs) -> Optimizer:
        """An optimizer with Adam for all parameters."""
        del inputs
        return Optimizer(AdamRule(list(network.parameters()), learning_rate, (self.beta1, self.beta2)))


@dataclass(frozen=True)
class MuonConfig(OptimizerConfig):
    """Muon for the hidden matrices; Adam for biases, gains, embeddings, and the input and output layers.

    Args:
        rate: peak learning rate of Muon; `learning_rate` is that of Adam.
        momentum: momentum of Muon.
        beta1: Adam's decay rate of the mean of the gradients.
        beta2: Adam's decay rate of the mean of their squares.

    Raises:
        ConfigError: a learning rate that is not positive, or a decay rate outside [0, 1).
    """

    rate: float = 0.02
    momentum: float = 0.95
    beta1: float = 0.9
    beta2: float = 0.99

    def __post_init__(self) -> None:
        if not self.rate > 0:
            raise ConfigError(f"the learning rate of Muon is {self.rate}", "Choose above 0; the default is 0.02.")
        _check_decays(self.momentum, self.beta1, self.beta2)

    def built(self, network: nn.Module, learning_rate: float, inputs: Inputs) -> Optimizer:
        """An optimizer with Muon for the hidden matrices, if there are any, and Adam for the other parameters."""
        matrices = hidden_matrices(network, inputs)
        chosen = set(matrices)
        rest = [p for p in network.parameters() if p not in chosen]
        adam = AdamRule(rest, learning_rate, (self.beta1, self.beta2))
        return Optimizer(adam, MuonRule(matrices, self.rate, self.momentum)) if matrices else Optimizer(adam)


def _check_decays(*decays: float) -> None:
    if not all(0 <= decay < 1 for decay in decays):
        raise ConfigError(f"decay rates {decays} are out of range", "Choose 0 or more, below 1.")


OPTIMIZERS: Registry[OptimizerConfig] = Registry("optimizer", ConfigError, {"adam": AdamConfig(), "muon": MuonConfig()})


def learning_rate_scale(settings: OptimizationConfig, start: float, end: float) -> float:
    """Learning rate schedule: the learning rate of a step as a share of its peak.

    Linear warm-up, constant, linear decay to 0. The warm-up is evaluated at the end of the step and the decay at its
    start, so that neither the first nor the last step has learning rate 0.

    Args:
        settings: shares of the run for warm-up and decay.
        start: completed share of the run at the start of the step.
        end: completed share of the run at its end.
    """
    risen = min(1.0, end / settings.warmup) if settings.warmup else 1.0
    left = min(1.0, (1 - start) / settings.decay) if settings.decay else 1.0
    return min(risen, left)
