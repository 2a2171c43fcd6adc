"""Samplers over a denoiser that is one CUDA graph: the host only launches it and the arithmetic between."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from lab.engine import Objective, autocast, compile_regions
from sfumato.utils.cuda_graphs import captured

Denoise = Callable[[Tensor, Tensor], Tensor]
"""(x (n, 3, h, w), sigma ()) to E[x_0 | x]."""

Solver = Callable[[Denoise, Tensor, Tensor], Tensor]
"""(denoiser, noise (n, 3, h, w), levels (steps + 1,)) to images (n, 3, h, w)."""


class CapturedDenoiser:
    """A network's denoiser at a fixed batch; what it returns is overwritten by the next call.

    Args:
        network: without gradients; compiled in place.
        objective: what it predicts.
        labels: (n,) for all calls, or None.
        shape: (n, 3, h, w).
        compile: whether to compile the blocks.
    """

    def __init__(
        self, network: nn.Module, objective: Objective, labels: Tensor | None, shape: torch.Size, compile: bool = True
    ) -> None:
        device = next(network.parameters()).device
        self.network, self.objective, self.labels = network, objective, labels
        self.x, self.sigma = torch.randn(shape, device=device), torch.ones((), device=device)
        self.output = torch.empty_like(self.x)
        if compile:
            compile_regions(network)
        self._replay = captured(self._denoise, device)

    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
        """E[x_0 | x]."""
        self.x.copy_(x)
        self.sigma.copy_(sigma)
        self._replay()
        return self.output

    @torch.no_grad()
    def _denoise(self) -> None:
        levels = self.sigma.expand(len(self.x)).view(-1, 1, 1, 1)
        with autocast(self.x.device):
            self.output.copy_(self.objective.denoised(self.network, self.x, levels, self.labels))


def karras(steps: int, device: torch.device, least: float = 0.002, most: float = 80.0, rho: float = 7.0) -> Tensor:
    """Noise levels from the most down to 0, (steps + 1,). EDM, eq. 5."""
    along = torch.linspace(0, 1, steps, device=device, dtype=torch.float64)
    levels = (most ** (1 / rho) + along * (least ** (1 / rho) - most ** (1 / rho))) ** rho
    return torch.cat([levels, levels.new_zeros(1)]).float()


def heun(denoise: Denoise, noise: Tensor, levels: Tensor) -> Tensor:
    """EDM's algorithm 1: 2 * steps - 1 evaluations. noise (n, 3, h, w) to images."""
    x = noise * levels[0]
    for i in range(len(levels) - 1):
        now, then = levels[i], levels[i + 1]
        slope = (x - denoise(x, now)) / now
        ahead = x + (then - now) * slope
        if i < len(levels) - 2:
            slope = (slope + (ahead - denoise(ahead, then)) / then) / 2
        x = x + (then - now) * slope
    return x


def dpm_2m(denoise: Denoise, noise: Tensor, levels: Tensor) -> Tensor:
    """DPM-Solver++(2M), arXiv 2211.01095, algorithm 2, for alpha = 1: an evaluation a step."""
    x, before = noise * levels[0], None
    for i in range(len(levels) - 1):
        denoised = denoise(x, levels[i]).clone()
        ahead = denoised
        if before is not None and i < len(levels) - 2:
            ratio = (levels[i - 1] / levels[i]).log() / (levels[i] / levels[i + 1]).log()
            ahead = denoised + (denoised - before) / (2 * ratio)
        shrink = levels[i + 1] / levels[i]
        x, before = shrink * x + (1 - shrink) * ahead, denoised
    return x


def to_bytes(x: Tensor) -> Tensor:
    """[-1, 1] to uint8."""
    return (x * 127.5 + 128).clamp(0, 255).to(torch.uint8)


def batches(solver: Solver, denoise: Denoise, shape: torch.Size, count: int, levels: Tensor) -> Iterator[Tensor]:
    """`count` images as uint8 batches; the noise is the same for every network."""
    generator = torch.Generator(levels.device).manual_seed(1)
    for _ in range(0, count, shape[0]):
        noise = torch.randn(shape, generator=generator, device=levels.device)
        yield to_bytes(solver(denoise, noise, levels))
