"""DPM-Solver++, UniPC and DEIS, step by step with those of diffusers."""

from dataclasses import dataclass
from typing import Literal

import pytest

from parity.peer import LINEAR, assert_same, ours, same_draws, scheduler, start, theirs
from sfumato.diffusion.denoiser import predict_edm
from sfumato.diffusion.schedules import VarianceExploding
from sfumato.sampling.solvers import DEIS, DPMSolver, UniPC
from sfumato.sampling.timesteps import Karras, Trailing
from sfumato.utils.shapes import Times

STEPS = 10
STOPS = Trailing()(LINEAR, STEPS)
TRAILING = {"timestep_spacing": "trailing", "lower_order_final": False}


def algorithm(eta: float) -> str:
    """DPM-Solver++ by diffusers' name."""
    return "sde-dpmsolver++" if eta else "dpmsolver++"


@dataclass(frozen=True)
class TheirCubicTerm(DPMSolver):
    """DPMSolver, but with the weight that diffusers has for x0_hat'': test_who_is_right.py shows that it is wrong."""

    def _weights(self, h: Times, timesteps: int) -> tuple[Times, ...]:
        """Halved; in the SDE, moreover, 1/2 is subtracted where it should be added."""
        weights = super()._weights(h, timesteps)
        if timesteps < 3:
            return weights
        return (*weights[:2], (weights[2] - self.eta * h**2) / 2)


@pytest.mark.parametrize("eta", [0.0, 1.0])
@pytest.mark.parametrize("solver", [DPMSolver(1), DPMSolver(2), TheirCubicTerm(3)])
def test_dpm_solver(solver: DPMSolver, eta: float) -> None:
    config = {"solver_order": solver.order, "algorithm_type": algorithm(eta), **TRAILING}
    peer = scheduler("DPMSolverMultistepScheduler", STEPS, **config)
    mine = ours(type(solver)(solver.order, eta), STOPS, start())
    assert_same(mine, theirs(peer, start(), generator=same_draws()))


@pytest.mark.parametrize("solver", [DPMSolver(2), DPMSolver(2, eta=1.0), TheirCubicTerm(3)])
def test_edms_dpm_solver(solver: DPMSolver) -> None:
    """Theirs has no SDE of order 3."""
    config = {"solver_order": solver.order, "algorithm_type": algorithm(solver.eta), "lower_order_final": False}
    peer = scheduler("EDMDPMSolverMultistepScheduler", STEPS, **config)
    schedule = VarianceExploding()
    timesteps = Karras()(schedule, STEPS)
    mine = ours(solver, timesteps, start(80), schedule=schedule, parametrization=predict_edm, unit=1)
    assert_same(mine, theirs(peer, start(80), unit=1, generator=same_draws()))


@pytest.mark.parametrize("variant", ["bh1", "bh2"])
@pytest.mark.parametrize("order", [1, 2, 3])
def test_unipc(order: int, variant: Literal["bh1", "bh2"]) -> None:
    """All but the result, which theirs has at sigma_1: of order 3 it would be infinite at 0."""
    config = {"solver_order": order, "solver_type": variant, "final_sigmas_type": "sigma_min", **TRAILING}
    peer = scheduler("UniPCMultistepScheduler", STEPS, **config)
    mine = ours(UniPC(order, variant), STOPS, start())
    assert_same(mine.without_result(), theirs(peer, start()).without_result())


@pytest.mark.parametrize("variant", ["bh1", "bh2"])
def test_unipc_equals_diffusers_including_the_last_step(variant: Literal["bh1", "bh2"]) -> None:
    """Of order 2, theirs lowers the order in the last step only, which is x0_hat for us too."""
    peer = scheduler("UniPCMultistepScheduler", STEPS, solver_type=variant, timestep_spacing="trailing")
    assert_same(ours(UniPC(2, variant), STOPS, start()), theirs(peer, start()))


@pytest.mark.parametrize("order", [1, 2, 3])
def test_deis(order: int) -> None:
    """All but the result, which theirs has at sigma_1."""
    peer = scheduler("DEISMultistepScheduler", STEPS, solver_order=order, **TRAILING)
    assert_same(ours(DEIS(order), STOPS, start()).without_result(), theirs(peer, start()).without_result())
