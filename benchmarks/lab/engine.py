"""One training step as one CUDA graph: gather, flip, noise, forward, backward, clip, optimizer; beside it the averages.

The host launches two or three kernels a step (the rates, the graph) and waits for nothing; time is read from events
that lie a few steps back. On a CPU the same functions run eagerly.
"""

import time
from collections import deque
from contextlib import AbstractContextManager, nullcontext
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lab.networks import REGIONS
from lab.optimizers import MuonAdamW
from sfumato.utils.cuda_graphs import captured

SIGMA_DATA = 0.5


@dataclass(frozen=True)
class Objective:
    """What is predicted and which noise levels are drawn; log sigma is normal (EDM, arXiv 2206.00364, table 1).

    `flow` is rectified flow on x_t = x_sigma / (1 + sigma), t = sigma / (1 + sigma): log sigma is the logit of t.
    """

    predicts: Literal["edm", "flow"] = "edm"
    mean: float = -1.2
    std: float = 1.2

    def coefficients(self, sigma: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """c_skip, c_out and c_in of x_sigma = x_0 + sigma noise, shaped like sigma."""
        if self.predicts == "flow":
            return 1 / (1 + sigma), -sigma / (1 + sigma), 1 / (1 + sigma)
        power = sigma**2 + SIGMA_DATA**2
        return SIGMA_DATA**2 / power, sigma * SIGMA_DATA * power.rsqrt(), power.rsqrt()

    def draw(self, count: int, device: torch.device) -> Tensor:
        """(count, 1, 1, 1) noise levels, one in each of `count` equally likely parts."""
        shares = (torch.arange(count, device=device) + torch.rand(count, device=device)) / count
        return (self.mean + self.std * torch.special.ndtri(shares.clamp(1e-6, 1 - 1e-6))).exp().view(-1, 1, 1, 1)

    def denoised(self, network: nn.Module, x: Tensor, sigma: Tensor, labels: Tensor | None) -> Tensor:
        """E[x_0 | x_sigma] of images (n, 3, h, w) at levels (n, 1, 1, 1), float32."""
        skip, out, scale = self.coefficients(sigma)
        return skip * x + out * network(scale * x, sigma.log().flatten() / 4, labels).float()


def autocast(device: torch.device) -> AbstractContextManager[object]:
    """bfloat16 on a GPU. Without the cache of cast weights, which a graph would read stale."""
    return torch.autocast("cuda", torch.bfloat16, cache_enabled=False) if device.type == "cuda" else nullcontext()


def compile_regions(network: nn.Module) -> None:
    """Compiles each block in place; blocks of one shape share the code."""
    for module in network.modules():
        if isinstance(module, REGIONS):
            module.compile(dynamic=False)


@dataclass(frozen=True)
class Recipe:
    """How to learn.

    Attributes:
        batch: images a step.
        muon: Muon's rate; 0 for AdamW alone.
        adam: AdamW's rate.
        warmup: share of the budget over which the rates rise.
        clip: largest gradient norm.
        averages: powers of the averages, weights t^power (EDM2, arXiv 2312.02696, eq. 2): 6.94 is 10 % of the run.
        average_every: steps between two updates of the averages.
        label_dropout: share of the labels hidden.
    """

    batch: int = 512
    muon: float = 0.02
    adam: float = 2e-3
    warmup: float = 0.02
    clip: float = 1.0
    averages: tuple[float, ...] = (6.94, 16.97, 40.0)
    average_every: int = 4
    label_dropout: float = 0.1
    objective: Objective = field(default_factory=Objective)

    def scale(self, progress: float) -> float:
        """The share of the peak rate after a share of the budget: a short rise, then a line to zero at its end."""
        return max(0.0, min((1 - progress) / (1 - self.warmup), progress / self.warmup))


class Engine:
    """A network in training.

    Args:
        network: on its device, in channels-last.
        images: uint8 (N, 3, H, W), on the device.
        labels: (N,) on the device, or None.
        recipe: how to learn.
        compile: whether to compile blocks and the noise.
    """

    def __init__(
        self, network: nn.Module, images: Tensor, labels: Tensor | None, recipe: Recipe, compile: bool = True
    ) -> None:
        self.network, self.images, self.labels, self.recipe = network, images, labels, recipe
        self.device = images.device
        self.parameters = list(network.parameters())
        self.optimizer = MuonAdamW(network, recipe.muon, recipe.adam)
        self.averages = [[p.detach().clone() for p in self.parameters] for _ in recipe.averages]
        self.pulls = [torch.ones((), device=self.device) for _ in recipe.averages]
        self.loss = torch.zeros((), device=self.device)
        self.steps = 0
        self._make_noisy = torch.compile(self._noisy, dynamic=False) if compile else self._noisy
        if compile:
            compile_regions(network)
        self._replay_step = captured(self._step, self.device)
        self._replay_average = captured(self._average, self.device)

    def step(self, progress: float) -> None:
        """Learns from one batch, at a share of the budget. Does not wait for the device."""
        self.optimizer.set_scale(self.recipe.scale(progress))
        self._replay_step()
        self.steps += 1
        if self.steps % self.recipe.average_every == 0:
            for pull, power in zip(self.pulls, self.recipe.averages, strict=True):
                pull.fill_(1 - (1 - self.recipe.average_every / self.steps) ** (power + 1))
            self._replay_average()

    def _noisy(self) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
        """A batch: clean images, noisy images, levels and labels."""
        n = self.recipe.batch
        rows = torch.randint(len(self.images), (n,), device=self.device)
        x = self.images[rows].float() / 127.5 - 1
        flip = torch.rand(n, 1, 1, 1, device=self.device) < 0.5
        x = torch.where(flip, x.flip(-1), x)
        sigma = self.recipe.objective.draw(n, self.device)
        labels = None
        if self.labels is not None:
            hidden = torch.rand(n, device=self.device) < self.recipe.label_dropout
            labels = torch.where(hidden, -1, self.labels[rows])
        return x, x + sigma * torch.randn_like(x), sigma, labels

    def _step(self) -> None:
        objective = self.recipe.objective
        for p in self.parameters:
            p.grad = None
        x_0, x, sigma, labels = self._make_noisy()
        skip, out, scale = objective.coefficients(sigma)
        with autocast(self.device):
            output = self.network(scale * x, sigma.log().flatten() / 4, labels).float()
        loss = F.mse_loss(output, (x_0 - skip * x) / out)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.parameters, self.recipe.clip, foreach=True)
        self.optimizer.step()
        self.loss.copy_(loss.detach())

    @torch.no_grad()
    def _average(self) -> None:
        for average, pull in zip(self.averages, self.pulls, strict=True):
            change = torch._foreach_sub(self.parameters, average)
            torch._foreach_mul_(change, pull)
            torch._foreach_add_(average, change)

    def snapshot(self, average: int | None) -> nn.Module:
        """A copy of the network with averaged weights, or the present ones."""
        copy = deepcopy(self.network).eval().requires_grad_(False)
        if average is not None:
            torch._foreach_copy_(list(copy.parameters()), self.averages[average])
        return copy


class Clock:
    """Device time since the start, read a few steps late so that the device never idles.

    Args:
        device: whose time.
        behind: steps that the host may run ahead.
    """

    def __init__(self, device: torch.device, behind: int = 4) -> None:
        self.is_cuda = device.type == "cuda"
        self.behind, self.events = behind, deque()
        self.finish()
        self.begun = time.perf_counter()

    def tick(self) -> float:
        """Marks the end of a step; seconds until the end of the step `behind` steps ago."""
        if self.is_cuda:
            event = torch.cuda.Event(blocking=True)
            event.record()
            self.events.append(event)
            if len(self.events) > self.behind:
                self.events.popleft().synchronize()
        return time.perf_counter() - self.begun

    def finish(self) -> None:
        """Waits for all that was launched."""
        if self.is_cuda:
            torch.cuda.synchronize()


def train(engine: Engine, seconds: float, marks: tuple[float, ...] = ()) -> tuple[float, list[Tensor], list[nn.Module]]:
    """Trains for some seconds, the rates falling to zero at their end.

    Args:
        engine: ready to step.
        seconds: the budget.
        marks: shares of the budget after which the first average is kept.

    Returns:
        The seconds taken, the loss of every hundredth step, and the networks kept.
    """
    losses, kept = [], []
    clock, now = Clock(engine.device), 0.0
    while now < seconds:
        engine.step(now / seconds)
        if engine.steps % 100 == 0:
            losses.append(engine.loss.clone())
        now = clock.tick()
        if len(kept) < len(marks) and now >= marks[len(kept)] * seconds:
            kept.append(engine.snapshot(0))
    clock.finish()
    return time.perf_counter() - clock.begun, losses, kept
