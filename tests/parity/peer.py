"""A network, walked along the same path by us and by one of diffusers' schedulers.

What is compared is every question that the network was asked, the time and the image of it, and the result.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn

from sfumato.diffusion.denoiser import Denoiser, Parametrization, PreconditionedDenoiser, Rescheduled, predict_noise
from sfumato.diffusion.schedules import LinearBeta, Schedule
from sfumato.sampling.sampler import trajectory
from sfumato.sampling.solvers import Solver
from sfumato.sampling.timesteps import Timesteps

LINEAR = LinearBeta()
SHAPE = (3, 8, 8)
SEED = 7


class Path(NamedTuple):
    """The times and images that a network was asked about, and the result."""

    times: list[Tensor]
    images: list[Tensor]

    def without_result(self) -> "Path":
        """The questions alone."""
        return Path(self.times, self.images[:-1])


class Network(nn.Module):
    """A small random network of image and time, nearly linear in the image, that remembers what it was asked.

    Args:
        unit: how much time is one; for EDM, whose time input is log(sigma) / 4, that is 1.
    """

    def __init__(self, unit: float = 1000) -> None:
        super().__init__()
        self.unit = unit
        self.asked: list[tuple[Tensor, Tensor]] = []
        generator = torch.Generator().manual_seed(1)
        self.first = torch.randn((8, 3, 3, 3), generator=generator) / 27**0.5
        self.last = torch.randn((3, 8, 3, 3), generator=generator) / 72**0.5

    def forward(self, x: Tensor, times: Tensor, labels: Tensor | None = None) -> Tensor:  # noqa: ARG002
        """As large as x."""
        self.asked.append((times[0], x))
        t = (times / self.unit)[:, None, None, None]
        hidden = torch.tanh(nn.functional.conv2d(x, self.first, padding=1) + t)
        return t * x + 0.5 * torch.cos(2 * t) * nn.functional.conv2d(hidden, self.last, padding=1)

    def path_to(self, result: Tensor) -> Path:
        """All that was asked, and the result."""
        times, images = zip(*self.asked, strict=True)
        return Path(list(times), [*images, result])


def start(size: float = 1.0) -> Tensor:
    """Two images of noise, of this standard deviation."""
    return size * torch.randn((2, *SHAPE), generator=torch.Generator().manual_seed(0))


def ours(
    solver: Solver,
    timesteps: Timesteps,
    x: Tensor,
    *,
    schedule: Schedule = LINEAR,
    parametrization: Parametrization = predict_noise,
    path: Schedule | None = None,
    unit: float = 1000,
) -> Path:
    """Our path from x through the stops, taken under the schedule `path` if it is not the network's."""
    network = Network(unit)
    model: Denoiser = PreconditionedDenoiser(network, schedule, parametrization, SHAPE)
    if path is not None:
        model, timesteps = (
            Rescheduled(model, path),
            torch.cat([path.time_at(schedule.logsnr(timesteps[:-1])), timesteps[-1:]]),
        )
    generator = same_draws()
    *_, result = trajectory(model, x, timesteps, solver, lambda: torch.randn(x.shape, generator=generator))
    return network.path_to(result.x_t)


def scheduler(name: str, steps: int, **config: Any) -> Any:  # noqa: ANN401
    """One of diffusers', ready to step."""
    import diffusers  # takes seconds

    with _numpy_warnings_ignored():
        one = getattr(diffusers, name)(**config)
        one.set_timesteps(steps)
    return one


def their_sample(scheduler: Any, x: Tensor, network: nn.Module, **step: Any) -> Tensor:  # noqa: ANN401
    """What diffusers' loop makes of x."""
    with _numpy_warnings_ignored():
        for t in scheduler.timesteps:
            scaled = scheduler.scale_model_input(x, t) if hasattr(scheduler, "scale_model_input") else x
            output = network(scaled, t.float().expand(len(x)))
            x = scheduler.step(output, t, x, **step).prev_sample
    return x


def theirs(scheduler: Any, x: Tensor, *, unit: float = 1000, **step: Any) -> Path:  # noqa: ANN401
    """Their path from x."""
    network = Network(unit)
    return network.path_to(their_sample(scheduler, x, network, **step))


@contextmanager
def _numpy_warnings_ignored() -> Iterator[None]:
    """Lets diffusers hand tensors to numpy in a way that numpy 2 deprecates."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="__array", category=DeprecationWarning)
        yield


def same_draws() -> torch.Generator:
    """A generator that draws for them what ours draws for us."""
    return torch.Generator().manual_seed(SEED)


def assert_same(one: Path, other: Path) -> None:
    """The same questions, and images within 1e-5 of their size, at every stop."""
    assert torch.stack(one.times).tolist() == pytest.approx(torch.stack(other.times).tolist(), rel=1e-5, abs=1e-3)
    gaps = [((a - b).norm() / b.norm()).item() for a, b in zip(one.images, other.images, strict=True)]
    assert max(gaps) < 1e-5, gaps
