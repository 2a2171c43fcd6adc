"""The noise of a sampler: a separate stream per image, new numbers at each step."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pytest
import torch
from torch import Tensor

from sfumato.diffusion import analytic
from sfumato.diffusion.denoiser import Denoiser
from sfumato.diffusion.schedules import LinearBeta, VarianceExploding
from sfumato.sampling.sampler import ImageNoise, default_sampler, sample, sample_batches, trajectory
from sfumato.sampling.solvers import DDIM, NoiseSource, Solver, SolverState
from sfumato.sampling.solvers.base import Step
from sfumato.utils.shapes import Images, Times

SHAPE = (2, 3, 4)
COUNT, STEPS = 7, 5


@dataclass(frozen=True)
class Recording(Solver):
    """Draws noise at every step and keeps it, and the images that the first step begins with."""

    draws: list[Tensor] = field(default_factory=list)
    begun: list[Tensor] = field(default_factory=list)

    def step(
        self, denoiser: Denoiser, x_t: Images, t: Times, s: Times, noise: NoiseSource, past: Sequence[SolverState]
    ) -> Step:
        """Nothing but the draw."""
        del denoiser, s, past
        if t == 1:
            self.begun.append(x_t)
        self.draws.append(noise())
        return Step(SolverState(t, x_t, x_t), x_t)


def streams(batch: int, seed: int = 9) -> Tensor:
    """All that each image met, (COUNT, 1 + STEPS, ...): what it began with as a multiple of sigma, and each draw."""
    schedule = VarianceExploding()
    recording = Recording()
    model = analytic.gaussian(schedule, torch.zeros(SHAPE), 1.0)
    sample(model, COUNT, solver=recording, time_grid="karras", steps=STEPS, seed=seed, batch=batch)
    sigma = schedule.sigma(torch.ones((), dtype=torch.float64)).item()
    parts = []
    for number, begun in enumerate(recording.begun):
        draws = recording.draws[STEPS * number : STEPS * (number + 1)]
        parts.append(torch.stack([begun / sigma, *draws], 1))
    return torch.cat(parts)


@pytest.mark.parametrize("batch", [1, 3, 64])
def test_the_noise_is_numpys_stream_of_seed_and_index(batch: int) -> None:
    """Whatever the batch; golden in the sense that numpy keeps its streams."""
    for index, met in enumerate(streams(batch)):
        generator = np.random.Generator(np.random.Philox(key=np.array([9, index], dtype=np.uint64)))
        expected = torch.from_numpy(generator.standard_normal((1 + STEPS, *SHAPE), dtype=np.float32))
        torch.testing.assert_close(met, expected, rtol=1e-5, atol=1e-6)


def test_no_random_number_is_repeated() -> None:
    numbers = torch.cat([streams(4), streams(4, seed=10)]).flatten()
    assert len(numbers.unique()) > 0.999 * len(numbers)


def test_seed_and_index_are_not_exchangeable() -> None:
    assert not (ImageNoise(3, [5], SHAPE)() == ImageNoise(5, [3], SHAPE)()).any()


@pytest.mark.parametrize("solver", ["ddpm", "ddim:eta=1", "dpm-2m-sde", "euler:churn=0.3"])
def test_stochastic_noise_differs_between_steps_and_images(solver: str) -> None:
    """Of two images at the same place, and of one at successive steps, no two have the same noise."""
    model = analytic.gaussian(LinearBeta(), torch.zeros(SHAPE), 1.0)
    drawn: list[Tensor] = []
    draw = ImageNoise.__call__

    def kept(self: ImageNoise) -> Images:
        drawn.append(draw(self))
        return drawn[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ImageNoise, "__call__", kept)
        sample(model, 3, solver=solver, steps=6)
    assert 4 <= len(drawn) - 1 <= 6
    assert torch.stack(drawn).flatten().unique().numel() > 0.99 * torch.stack(drawn).numel()


@pytest.mark.parametrize(("first", "batch"), [(0, 3), (3, 2), (4, 64), (6, 1)])
def test_sampling_from_an_index_gives_that_image_and_the_rest(first: int, batch: int) -> None:
    model = analytic.gaussian(LinearBeta(), torch.zeros(SHAPE), 0.1)
    sampler = default_sampler(model, steps=4)
    whole = sample(model, COUNT, steps=4)
    rest = torch.cat([images for images, _ in sample_batches(model, COUNT, sampler, batch=batch, first=first)])
    torch.testing.assert_close(rest, whole[first:], rtol=0, atol=1e-6)


def test_a_trajectory_ends_with_the_result_of_its_last_step() -> None:
    """At t = 0 that is the estimate too; a way that ends among noise, as encoding does, is where they differ."""
    model = analytic.gaussian(LinearBeta(), torch.zeros(SHAPE), 0.5)
    x, time_grid = ImageNoise(0, range(2), SHAPE)().double(), torch.tensor([1.0, 0.6, 0.3], dtype=torch.float64)
    solver = DDIM()
    between = solver.step(model, x, time_grid[0], time_grid[1], lambda: x, ()).x_s
    then = solver.step(model, between, time_grid[1], time_grid[2], lambda: x, ())
    *_, last = trajectory(model, x, time_grid, solver, lambda: x)
    assert last.t == 0.3
    assert torch.equal(last.x_t, then.x_s)
    assert torch.equal(last.x0_hat, then.now.x0_hat)
