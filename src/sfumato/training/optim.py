"""How gradients change weights: Adam for all, or Muon for the matrices inside the network and Adam for the rest.

Both keep all their numbers on the device, so that a step can be part of a CUDA graph; a step whose gradient is not
finite changes nothing.
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
from sfumato.utils.registry import parse_part

Scalar = Float32[Tensor, ""]

Memory = dict[nn.Parameter, dict[str, Tensor]]
"""What an optimizer remembers of each parameter, by name; views of its own tensors."""


class UpdateRule(ABC):
    """An optimizer of some parameters, at a rate of its own."""

    @abstractmethod
    def step(self, scale: Scalar, sound: Scalar) -> None:
        """Changes the parameters by their gradients.

        Args:
            scale: share of the peak rate, on the device.
            sound: 1, or 0 if nothing is to change.
        """

    @abstractmethod
    def memory(self) -> Memory:
        """All that it remembers, to be written and overwritten in place."""


class AdamRule(UpdateRule):
    """Adam (arXiv 1412.6980, algorithm 1), by PyTorch's fused kernels.

    Args:
        parameters: to be changed.
        rate: the peak rate.
        betas: decay of the two moments.
    """

    def __init__(self, parameters: Sequence[nn.Parameter], rate: float, betas: tuple[float, float]) -> None:
        device = parameters[0].device
        self.rate, self.rate_now = rate, torch.zeros((), device=device)
        is_cuda = device.type == "cuda"
        self.adam = torch.optim.Adam(parameters, lr=self.rate_now, betas=betas, fused=True, capturable=is_cuda)
        for p in parameters:
            moments = {name: torch.zeros_like(p) for name in ("exp_avg", "exp_avg_sq")}
            self.adam.state[p] = {"step": torch.zeros((), device=device), **moments}

    @torch.no_grad()
    def step(self, scale: Scalar, sound: Scalar) -> None:
        """The fused kernel itself passes over a step that gradient scaling would call unsound."""
        self.rate_now.copy_(self.rate * scale)
        self.adam.found_inf = 1 - sound  # type: ignore[attr-defined]
        self.adam.step()

    def memory(self) -> Memory:
        """step, exp_avg and exp_avg_sq of each parameter."""
        return {p: self.adam.state[p] for group in self.adam.param_groups for p in group["params"]}


class MuonRule(UpdateRule):
    """Muon: momentum whose matrix is made orthogonal, so that every direction of a layer moves as far.

    Keller Jordan, "Muon: an optimizer for hidden layers in neural networks" (2024): Nesterov's momentum, five
    Newton-Schulz steps, and the step of an (m, n) matrix scaled by sqrt(max(1, m / n)). A convolution is the matrix
    (out, in x height x width). Matrices of one shape are orthogonalize together.

    Args:
        parameters: weights of linear layers and convolutions.
        rate: the peak rate, in units of a matrix's largest singular value.
        momentum: of the gradients.
    """

    def __init__(self, parameters: Sequence[nn.Parameter], rate: float, momentum: float) -> None:
        self.rate, self.decay = rate, momentum
        groups = defaultdict(list)
        for p in parameters:
            groups[to_matrix(p).shape].append(p)
        self.groups = [(same, torch.zeros(len(same), *shape, device=same[0].device)) for shape, same in groups.items()]

    @torch.no_grad()
    def step(self, scale: Scalar, sound: Scalar) -> None:
        """Each group of one shape."""
        for parameters, momentum in self.groups:
            gradients = torch.stack([to_matrix(p.grad) for p in parameters if p.grad is not None])
            gradients = torch.where(sound > 0, gradients, momentum)  # which then stays as it is
            momentum.lerp_(gradients, 1 - self.decay)
            _, rows, columns = momentum.shape
            reach = self.rate * max(1, rows / columns) ** 0.5
            updates = orthogonalize(gradients.lerp(momentum, self.decay)).float() * (-reach * scale * sound)
            torch._foreach_add_(list(parameters), [from_matrix(u, p) for u, p in zip(updates, parameters, strict=True)])

    def memory(self) -> Memory:
        """The momentum of each parameter, (out, the rest)."""
        return {p: {"momentum": momentum[i]} for parameters, momentum in self.groups for i, p in enumerate(parameters)}


def to_matrix(weight: Tensor) -> Float[Tensor, "rows columns"]:
    """A weight (out, in, ...) as (out, the rest), the channels last: a view of a channels-last convolution."""
    return weight.movedim(1, -1).flatten(1)


def from_matrix(matrix: Float[Tensor, "rows columns"], weight: Tensor) -> Tensor:
    """A matrix as `to_matrix` makes it, in the shape of the weight."""
    out, inputs, *window = weight.shape
    return matrix.view(out, *window, inputs).movedim(-1, 1)


def orthogonalize(x: Float[Tensor, "k m n"], steps: int = 5) -> Float[Tensor, "k m n"]:
    """Matrices with the same singular vectors and singular values near 1, by a quintic Newton-Schulz iteration.

    After five steps the singular values that were at least 0.002 of the Frobenius norm are between 0.68 and 1.21.
    Smaller ones may stay smaller: they grow by at most a factor of 485. Preconditioning and method as in Jordan's Muon;
    in bfloat16 on a GPU, whose precision suffices.
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
    """Rules that together change every parameter of a network.

    Args:
        rules: each for parameters of its own.
    """

    def __init__(self, *rules: UpdateRule) -> None:
        self.rules = rules

    def step(self, scale: Scalar, sound: Scalar) -> None:
        """Changes the parameters by their gradients, without waiting for the device; arguments of `UpdateRule.step`."""
        for rule in self.rules:
            rule.step(scale, sound)

    def memory(self) -> Memory:
        """All that is remembered of each parameter, to be written and overwritten in place."""
        return {p: remembered for rule in self.rules for p, remembered in rule.memory().items()}


class OptimizerConfig(ABC):
    """An optimizer by name, before it has parameters."""

    @abstractmethod
    def built(self, network: nn.Module, learning_rate: float) -> Optimizer:
        """The optimizer of a network, at a peak rate."""


@dataclass(frozen=True)
class AdamConfig(OptimizerConfig):
    """Adam for all parameters.

    Args:
        beta1: decay of the mean of the gradients.
        beta2: decay of the mean of their squares.

    Raises:
        ConfigError: decays outside [0, 1).
    """

    beta1: float = 0.9
    beta2: float = 0.999

    def __post_init__(self) -> None:
        _check_decays(self.beta1, self.beta2)

    def built(self, network: nn.Module, learning_rate: float) -> Optimizer:
        """One rule."""
        return Optimizer(AdamRule(list(network.parameters()), learning_rate, (self.beta1, self.beta2)))


@dataclass(frozen=True)
class MuonConfig(OptimizerConfig):
    """Muon for the matrices inside the network; Adam for biases, gains, embeddings, and what meets the image.

    Args:
        rate: Muon's peak rate; the learning rate is Adam's.
        momentum: Muon's.
        beta1: Adam's decay of the mean of the gradients.
        beta2: Adam's decay of the mean of their squares.

    Raises:
        ConfigError: a rate that is not positive, or decays outside [0, 1).
    """

    rate: float = 0.02
    momentum: float = 0.95
    beta1: float = 0.9
    beta2: float = 0.99

    def __post_init__(self) -> None:
        if not self.rate > 0:
            raise ConfigError(f"Muon learns nothing at rate {self.rate}", "Choose above 0; the usual one is 0.02.")
        _check_decays(self.momentum, self.beta1, self.beta2)

    def built(self, network: nn.Module, learning_rate: float) -> Optimizer:
        """Two rules; one, if the network has no matrices inside."""
        matrices = hidden_matrices(network)
        chosen = set(matrices)
        rest = [p for p in network.parameters() if p not in chosen]
        adam = AdamRule(rest, learning_rate, (self.beta1, self.beta2))
        return Optimizer(adam, MuonRule(matrices, self.rate, self.momentum)) if matrices else Optimizer(adam)


def _check_decays(*decays: float) -> None:
    if not all(0 <= decay < 1 for decay in decays):
        raise ConfigError(f"of {decays} some are not decays", "Choose 0 or more, below 1.")


OPTIMIZERS: dict[str, OptimizerConfig] = {"adam": AdamConfig(), "muon": MuonConfig()}


def optimizer_for(name: str) -> OptimizerConfig:
    """The optimizer of a name in `OPTIMIZERS`, possibly with settings.

    >>> optimizer_for("muon:rate=0.01").rate
    0.01

    Raises:
        ConfigError: an unknown name or setting; lists what is possible.
    """
    return parse_part(OPTIMIZERS, name, "optimizer", ConfigError)
