"""DDPM's sampler and DDIM, step by step with those of diffusers."""

from typing import Literal

import pytest

from parity.peer import assert_same, ours, same_draws, scheduler, start, theirs
from sfumato.diffusion.denoiser import Parametrization, predict_data, predict_noise, predict_velocity
from sfumato.diffusion.schedules import LinearBeta, ZeroTerminal
from sfumato.sampling.solvers import DDIM, DDPM
from sfumato.sampling.timesteps import Leading, Trailing

TIME_GRIDS = {"leading": Leading(), "trailing": Trailing()}
PREDICTIONS: dict[str, Parametrization] = {
    "epsilon": predict_noise,
    "sample": predict_data,
    "v_prediction": predict_velocity,
}


@pytest.mark.parametrize("variance", ["small", "large"])
@pytest.mark.parametrize("spacing", TIME_GRIDS)
@pytest.mark.parametrize("steps", [50, 7])
def test_ddpm(variance: Literal["small", "large"], spacing: str, steps: int) -> None:
    peer = scheduler(
        "DDPMScheduler", steps, variance_type=f"fixed_{variance}", timestep_spacing=spacing, clip_sample=False
    )
    mine = ours(DDPM(variance), TIME_GRIDS[spacing](LinearBeta(), steps), start())
    other = theirs(peer, start(), generator=same_draws())
    if (variance, spacing) == ("large", "trailing"):  # theirs adds noise in the last step: test_who_is_right.py
        mine, other = mine.without_result(), other.without_result()
    assert_same(mine, other)


@pytest.mark.parametrize("eta", [0.0, 0.4, 1.0])
@pytest.mark.parametrize(("spacing", "steps"), [("leading", 50), ("leading", 7), ("trailing", 50), ("trailing", 8)])
def test_ddim(eta: float, spacing: str, steps: int) -> None:
    """Where the steps divide 1000, or the grid has strides of their rounded-down ratio."""
    peer = scheduler("DDIMScheduler", steps, timestep_spacing=spacing, clip_sample=False)
    mine = ours(DDIM(eta), TIME_GRIDS[spacing](LinearBeta(), steps), start())
    assert_same(mine, theirs(peer, start(), eta=eta, generator=same_draws()))


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_predictions_of_noise_data_and_velocity_equal_diffusers(prediction: str) -> None:
    peer = scheduler("DDIMScheduler", 20, timestep_spacing="trailing", clip_sample=False, prediction_type=prediction)
    mine = ours(DDIM(), Trailing()(LinearBeta(), 20), start(), parametrization=PREDICTIONS[prediction])
    assert_same(mine, theirs(peer, start()))


def test_a_schedule_that_ends_without_signal() -> None:
    config = {"rescale_betas_zero_snr": True, "prediction_type": "v_prediction", "timestep_spacing": "trailing"}
    schedule = ZeroTerminal(LinearBeta())
    timesteps = Trailing()(schedule, 20)
    mine = ours(DDIM(), timesteps, start(), schedule=schedule, parametrization=predict_velocity)
    assert_same(mine, theirs(scheduler("DDIMScheduler", 20, clip_sample=False, **config), start()))
