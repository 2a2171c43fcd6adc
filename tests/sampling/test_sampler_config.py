"""Sampler configurations: solver, time grid, steps and clipping, by name or as objects."""

import pytest
import torch
from torch import Tensor

from sfumato.diffusion import analytic
from sfumato.diffusion.denoiser import Denoiser
from sfumato.diffusion.guidance import AutoGuided, DynamicThreshold
from sfumato.diffusion.schedules import Cosine, Flow, LinearBeta
from sfumato.errors import SamplingError
from sfumato.sampling import timesteps as time_grids
from sfumato.sampling.sampler import ImageNoise, sample, sampler_config, trajectory
from sfumato.sampling.solvers import DDIM, SOLVERS, DPMSolver, Solver, UniPC

LINEAR = LinearBeta()


def plain() -> Denoiser:
    """The exact denoiser of a Gaussian."""
    return analytic.gaussian(LINEAR, torch.full((1, 2, 2), 0.2), 0.04)


def test_in_continuous_time_a_solver_takes_its_default_steps() -> None:
    for name, steps in [("ddpm", 1000), ("ddim", 20), ("heun", 10), ("unipc-3", 20), ("adaptive", 1)]:
        assert len(sampler_config(Flow(), solver=name, time_grid="uniform").timesteps) == steps + 1


def test_a_sampler_is_built_from_names() -> None:
    sampler = sampler_config(LINEAR, solver="ddim:eta=0.5", time_grid="karras:rho=5", steps=9, clip="none")
    assert sampler.solver == DDIM(0.5)
    assert (sampler.timesteps == time_grids.Karras(5.0)(LINEAR, 9)).all()
    model = plain()
    assert sampler.clip(model) is model
    parts = sampler_config(LINEAR, solver=DDIM(0.5), time_grid=time_grids.Karras(5.0), steps=9)
    assert parts.solver == sampler.solver
    assert (parts.timesteps == sampler.timesteps).all()


@pytest.mark.parametrize("name", SOLVERS)
def test_a_solver_accepts_its_minimum_of_steps_and_rejects_fewer(name: str) -> None:
    least = SOLVERS[name].min_steps
    assert sample(plain(), 2, solver=name, steps=least).isfinite().all()
    with pytest.raises(SamplingError):
        sample(plain(), 2, solver=name, steps=least - 1)


@pytest.mark.parametrize("solver", [UniPC(3), UniPC(2), DPMSolver(3), DPMSolver(2)], ids=str)
def test_min_steps_is_the_fewest_that_use_the_order(solver: UniPC | DPMSolver) -> None:
    """In one step less, a rule of lower order draws the same predictions at every stop."""
    lower = type(solver)(solver.order - 1)
    noise = ImageNoise(0, [0], (1, 2, 2))
    x = noise()

    def predictions(rule: Solver, steps: int) -> Tensor:
        return torch.stack(
            [moment.x0_hat for moment in trajectory(plain(), x, time_grids.Trailing()(LINEAR, steps), rule, noise)]
        )

    least = solver.min_steps
    assert (predictions(solver, least) != predictions(lower, least)).any()
    assert (predictions(solver, least - 1) == predictions(lower, least - 1)).all()


def test_an_autoguided_model_is_sampled_without_noise_by_default() -> None:
    by_itself = plain()
    guided = AutoGuided(by_itself, analytic.gaussian(LINEAR, torch.zeros(1, 2, 2), 0.09), 2.0)
    usual = sample(guided, 2, steps=5)
    assert torch.equal(usual, sample(guided, 2, steps=5, solver="dpm-2m", time_grid="karras"))
    assert torch.equal(
        sample(guided, 2, steps=5, solver="dpm-2m-sde"),
        sample(guided, 2, steps=5, solver="dpm-2m-sde", time_grid="logsnr"),
    )
    assert torch.equal(sample(guided, 2, steps=5, time_grid="logsnr"), sample(guided, 2, steps=5, solver="dpm-2m"))
    assert torch.equal(sample(by_itself, 2, steps=5), sample(by_itself, 2, steps=5, solver="dpm-2m-sde"))


def test_ddpm_takes_all_steps_of_its_schedule_by_default() -> None:
    timesteps = sampler_config(LINEAR, solver="ddpm").timesteps
    torch.testing.assert_close(timesteps, time_grids.Trailing()(LINEAR, 1000), rtol=1e-12, atol=1e-15)


def test_a_schedule_with_too_few_steps_for_the_solver_is_sampled() -> None:
    model = analytic.gaussian(Cosine(2), torch.zeros(1, 2, 2), 0.04)
    assert sample(model, 2).isfinite().all()


def test_too_few_steps_are_rejected_with_solvers_that_need_fewer() -> None:
    with pytest.raises(
        SamplingError,
        match=r"2 sampling steps .* unipc-3. Choose at least 4 steps, or .*: ddpm, ddim, ",
    ):
        sampler_config(LINEAR, solver="unipc-3", steps=2)
    with pytest.raises(SamplingError, match=r"3 sampling steps.*dpm-2m, "):  # which needs just as many
        sampler_config(LINEAR, solver="unipc-3", steps=3)
    with pytest.raises(
        SamplingError,
        match=r"3 sampling steps .* Choose at least 4 steps, or .*: .*dpm-2m, .*unipc-2",
    ):
        sampler_config(LINEAR, solver="unipc-3", steps=3)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"solver": 5}, "5 is not a solver.*ddpm, ddim"),
        ({"time_grid": torch.linspace(1, 0, 5)}, "is not a time grid.*uniform, trailing"),
        ({"clip": 3}, "3 is not a clipping.*static, dynamic, none"),
    ],
)
def test_unknown_components_are_rejected_with_the_valid_names(parts: dict[str, object], message: str) -> None:
    with pytest.raises(SamplingError, match=message):
        sampler_config(LINEAR, **parts)  # type: ignore[arg-type]


def test_a_wrapper_class_can_be_given_as_clip() -> None:
    assert isinstance(sampler_config(LINEAR, clip=DynamicThreshold).clip(plain()), DynamicThreshold)
