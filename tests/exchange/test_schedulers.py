"""Noise levels of the schedulers of diffusers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch

from sfumato.diffusion.schedules import BetaSchedule, LinearBeta, Sigmoid
from sfumato.exchange.schedulers import DISCRETE, EDM, FLOW, noise_of

FILE = Path("scheduler_config.json")


def scheduler_of(name: str, **settings: Any) -> Any:  # noqa: ANN401
    """A scheduler of diffusers; skips the test if it needs a package that is missing."""
    try:
        return getattr(diffusers, name)(**settings)
    except ImportError as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("name", sorted(DISCRETE))
@pytest.mark.parametrize(
    "settings",
    [{}, {"num_train_timesteps": 400, "beta_schedule": "squaredcos_cap_v2", "prediction_type": "v_prediction"}],
    ids=["defaults", "settings"],
)
def test_discrete_noise_levels_are_those_of_diffusers(name: str, settings: dict[str, Any]) -> None:
    scheduler = scheduler_of(name, **settings)
    noise = noise_of({"_class_name": name} | settings, FILE)
    assert noise == noise_of(dict(scheduler.config) | {"_class_name": name}, FILE)
    schedule = noise.built_schedule()
    assert isinstance(schedule, BetaSchedule)
    torch.testing.assert_close(scheduler.alphas_cumprod, schedule.alpha_bar[1:].float(), rtol=1e-3, atol=1e-7)
    assert noise.parametrization == ("velocity" if settings else "noise")


@pytest.mark.parametrize("name", sorted(EDM | FLOW))
def test_other_noise_levels_are_those_of_diffusers(name: str) -> None:
    scheduler = scheduler_of(name)
    scheduler.set_timesteps(5)
    noise = noise_of(dict(scheduler.config) | {"_class_name": name}, FILE)
    schedule = noise.built_schedule()
    sigmas = scheduler.sigmas[scheduler.sigmas > 0].double()
    logsnr = -2 * sigmas.log() if name in EDM else 2 * ((1 - sigmas) / sigmas).log()
    torch.testing.assert_close(schedule.logsnr(schedule.time_at(logsnr)), logsnr, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("schedule", [LinearBeta(), Sigmoid(200), Sigmoid(5)])
def test_trained_betas_of_a_known_schedule_are_recognized(schedule: BetaSchedule) -> None:
    """In float32, as some programs write them."""
    betas = schedule.betas.float().tolist()
    config = {"_class_name": "DDPMScheduler", "num_train_timesteps": len(betas), "trained_betas": betas}
    assert noise_of(config, FILE).built_schedule() == schedule
