"""Samplers by noise level sigma / alpha (Heun, EDM, flow), step by step with those of diffusers."""

from itertools import pairwise
from typing import NamedTuple

import pytest
import torch
from torch import Tensor

from parity.peer import LINEAR, Network, Path, assert_same, ours, same_draws, scheduler, start, theirs
from sfumato.diffusion.denoiser import Parametrization, predict_edm, predict_flow, predict_noise, predict_velocity
from sfumato.diffusion.schedules import Flow, Shifted, VarianceExploding
from sfumato.sampling.solvers import Euler, Heun, Solver
from sfumato.sampling.timesteps import Karras, Trailing, Uniform

STEPS = 10
EXPLODING = VarianceExploding(sigma_max=200)
"""Reaches beyond DDPM's last noise level, 157."""

PREDICTIONS: dict[str, Parametrization] = {"epsilon": predict_noise, "v_prediction": predict_velocity}


class Churn(NamedTuple):
    """The paper's S_churn / N, S_tmin, S_tmax and S_noise."""

    share: float
    low: float
    high: float
    strength: float


@pytest.mark.parametrize("prediction", PREDICTIONS)
@pytest.mark.parametrize(("solver", "name"), [(Heun(), "HeunDiscreteScheduler"), (Euler(), "EulerDiscreteScheduler")])
def test_a_network_of_ddpm_where_x_is_data_plus_noise(solver: Solver, name: str, prediction: str) -> None:
    config = {"beta_start": 1e-4, "beta_end": 0.02, "timestep_spacing": "trailing", "prediction_type": prediction}
    timesteps = Trailing()(LINEAR, STEPS)
    x = start((LINEAR.sigma(timesteps[:1]) / LINEAR.alpha(timesteps[:1])).item())
    mine = ours(solver, timesteps, x, parametrization=PREDICTIONS[prediction], path=EXPLODING)
    assert_same(mine, theirs(scheduler(name, STEPS, **config), x))


def test_edms_euler() -> None:
    schedule = VarianceExploding()
    timesteps = Karras()(schedule, STEPS)
    mine = ours(Euler(), timesteps, start(80), schedule=schedule, parametrization=predict_edm, unit=1)
    assert_same(mine, theirs(scheduler("EDMEulerScheduler", STEPS), start(80), unit=1))


def algorithm_2(x: Tensor, levels: Tensor, churn: Churn, *, heun: bool) -> Path:
    """EDM's sampler as the paper writes it (arXiv 2206.00364), with its network (table 1)."""
    network, generator = Network(unit=1), same_draws()

    def denoised(x: Tensor, sigma: Tensor) -> Tensor:
        power = (sigma**2 + 0.25).sqrt()
        time_input = (sigma.log() / 4).float().expand(len(x))
        output: Tensor = network(x / power.float(), time_input)
        return (0.25 / power**2).float() * x + (0.5 * sigma / power).float() * output

    for sigma, end in pairwise(levels):
        noise = torch.randn(x.shape, generator=generator) if churn.low <= sigma <= churn.high else torch.zeros_like(x)
        raised = sigma * (1 + churn.share) if churn.low <= sigma <= churn.high else sigma
        x = x + (raised**2 - sigma**2).sqrt().float() * churn.strength * noise
        slope = (x - denoised(x, raised)) / raised.float()
        ahead = x + (end - raised).float() * slope
        if heun and end > 0:
            slope = (slope + (ahead - denoised(ahead, end)) / end.float()) / 2
        x = x + (end - raised).float() * slope
    return network.path_to(x)


@pytest.mark.parametrize("rule", [Euler, Heun])
def test_edms_churn(rule: type[Euler]) -> None:
    """Against the paper: diffusers' churn is wrong (test_who_is_right.py)."""
    schedule, churn = VarianceExploding(), Churn(share=0.3, low=0.05, high=50, strength=1.007)
    timesteps = Karras()(schedule, STEPS)
    solver = rule(churn.share, churn.low, churn.high, churn.strength)
    mine = ours(solver, timesteps, start(80), schedule=schedule, parametrization=predict_edm, unit=1)
    assert_same(mine, algorithm_2(start(80), schedule.sigma(timesteps), churn, heun=rule is Heun))


@pytest.mark.parametrize("shift", [1.0, 3.0])
def test_euler_along_the_flow(shift: float) -> None:
    """The noise levels of equal strides in the time of a shifted schedule."""
    peer = scheduler("FlowMatchEulerDiscreteScheduler", STEPS, shift=shift)
    peer.set_timesteps(sigmas=[1 - i / STEPS for i in range(STEPS)])
    schedule, shifted = Flow(), Shifted(Flow(), shift)
    timesteps = schedule.time_at(shifted.logsnr(Uniform()(shifted, STEPS)))
    mine = ours(Euler(), timesteps, start(), schedule=schedule, parametrization=predict_flow)
    assert_same(mine, theirs(peer, start()))


def test_heun_along_the_flow() -> None:
    """Where the data's amplitude changes too; on the noise levels of theirs."""
    peer = scheduler("FlowMatchHeunDiscreteScheduler", STEPS)
    timesteps = torch.cat([peer.sigmas[:1], peer.sigmas[1::2]]).double()
    mine = ours(Heun(), timesteps, start(), schedule=Flow(), parametrization=predict_flow)
    assert_same(mine, theirs(peer, start()))
