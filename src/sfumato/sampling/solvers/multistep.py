"""Multistep solvers, which also use previous estimates: DPM-Solver++, DEIS and iPNDM.

With half of the log-SNR lambda = log(alpha / sigma), the exact solution of the probability-flow ODE is (DPM-Solver++)

    x_s / sigma_s = x_t / sigma_t + integral of x0_hat(lambda) d exp(lambda)

or, with rho = sigma / alpha = exp(-lambda) (DEIS),

    x_s / alpha_s = x_t / alpha_t + integral of noise_hat d rho

The estimates at k timesteps are extrapolated over the step and integrated, which gives order k.
"""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import ClassVar

import numpy as np
import torch

from sfumato.diffusion.denoiser import Denoiser
from sfumato.diffusion.schedules import Schedule
from sfumato.errors import SamplingError
from sfumato.sampling.solvers.base import NoiseSource, Solver, SolverState, Step, noise_in
from sfumato.sampling.solvers.single import check_eta
from sfumato.utils.shapes import Images, Times, over


@dataclass(frozen=True)
class Multistep(Solver):
    """Base class of multistep solvers: one evaluation per step, and the estimates at the last `order` timesteps.

    The first steps have a lower order. The step to t = 0 returns x0_hat.

    Args:
        order: number of estimates to combine.

    Raises:
        SamplingError: an order that the solver does not support.
    """

    order: int
    highest_order: ClassVar[int]
    """Maximum order."""

    def __post_init__(self) -> None:
        if not 1 <= self.order <= self.highest_order:
            raise SamplingError(
                f"{type(self).__name__} of order {self.order} does not exist",
                f"Choose an order from 1 to {self.highest_order}.",
            )

    @property
    def memory(self) -> int:
        """order - 1."""
        return self.order - 1

    @property
    def min_steps(self) -> int:
        """Steps needed to use the full order once; the step to t = 0 does not use it."""
        return self.order + 1 if self.order > 1 else 1

    def step(
        self, denoiser: Denoiser, x_t: Images, t: Times, s: Times, noise: NoiseSource, past: Sequence[SolverState]
    ) -> Step:
        """Evaluates the denoiser and combines the estimates; previous states with zero SNR are not used."""
        schedule = denoiser.schedule
        now = SolverState(t, x_t, denoiser(x_t, t))
        if s == 0:
            return Step(now, now.x0_hat)
        seen = takewhile(lambda state: schedule.alpha(state.t) > 0, past[: self.order - 1])
        return Step(now, self.combine(schedule, s, [now, *seen], noise))

    @abstractmethod
    def combine(self, schedule: Schedule, s: Times, timesteps: Sequence[SolverState], noise: NoiseSource) -> Images:
        """x_s for s > 0 from the last states, newest first."""


@dataclass(frozen=True)
class DPMSolver(Multistep):
    """Multistep DPM-Solver++ for the ODE or the SDE. arXiv 2211.01095; Algorithm 2 is 2M.

    Order 1 with eta 0 or 1 is DDIM with this eta. Order 3 uses the full second derivative; the authors' code and that
    of diffusers halve it, and therefore have order 2 (tests/sampling/test_solver_order.py).

    Args:
        order: 1, 2 (2M) or 3 (3M).
        eta: 0 for the probability-flow ODE, 1 for the reverse SDE, or a share of the noise in between.

    Raises:
        SamplingError: another order, or an eta out of range.
    """

    highest_order: ClassVar[int] = 3
    order: int = 2
    eta: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_eta(self.eta)

    @property
    def deterministic(self) -> bool:
        """True for eta 0."""
        return self.eta == 0

    def combine(self, schedule: Schedule, s: Times, timesteps: Sequence[SolverState], noise: NoiseSource) -> Images:
        """x_s = sigma_s / sigma_t e^(-eta h) x_t + alpha_s (integral of the extrapolated x0_hat) + deviation z."""
        now = timesteps[0]
        h = _half_logsnr(schedule, s) - _half_logsnr(schedule, now.t)
        replaced = _decayed(self.eta, h)
        kept = schedule.sigma(s) / schedule.sigma(now.t) * (1 - replaced)
        x_s = over(kept, now.x_t) * now.x_t
        for weight, term in zip(self._weights(h, len(timesteps)), _taylor(schedule, timesteps), strict=True):
            x_s = x_s + over(schedule.alpha(s) * weight, x_s) * term
        if self.eta:
            x_s = x_s + over(schedule.sigma(s) * _decayed(2 * self.eta, h).sqrt(), x_s) * noise()
        return x_s

    def _weights(self, h: Times, timesteps: int) -> tuple[Times, ...]:
        """Weights of the Taylor terms: the integral of r exp(-r (h - u)) u^j / j! over [0, h], r = 1 + eta.

        For order 2 the weight of the second term is h / 2 times that of the first, as in the paper (Algorithm 2).
        """
        rate = 1 + self.eta
        whole = _decayed(rate, h)
        if timesteps < 3:
            return (whole, whole * h / 2)[:timesteps]
        linear = h - whole / rate
        return whole, linear, h**2 / 2 - linear / rate


def _half_logsnr(schedule: Schedule, t: Times) -> Times:
    """lambda = log(alpha / sigma)."""
    return schedule.logsnr(t) / 2


def _decayed(rate: float, h: Times) -> Times:
    """1 - exp(-rate h); 0 for rate 0, also for infinite h."""
    return -torch.expm1(-rate * h) if rate else torch.zeros_like(h)


def _taylor(schedule: Schedule, timesteps: Sequence[SolverState]) -> list[Images]:
    """x0_hat and its first and second derivative in lambda at the newest state, as many as the states determine.

    Computed by Newton's divided differences.
    """
    half = [_half_logsnr(schedule, state.t) for state in timesteps]
    estimates = [state.x0_hat for state in timesteps]
    slopes = [
        (newer - older) / over(at - before, newer)
        for newer, older, at, before in zip(estimates, estimates[1:], half, half[1:], strict=False)
    ]
    if len(slopes) < 2:
        return [estimates[0], *slopes]
    curvature = (slopes[0] - slopes[1]) / over(half[0] - half[2], slopes[0])
    return [estimates[0], slopes[0] + over(half[0] - half[1], curvature) * curvature, 2 * curvature]


@dataclass(frozen=True)
class NoiseMultistep(Multistep):
    """Base class of solvers that extrapolate the noise in rho: DDIM plus weighted differences to previous noises."""

    highest_order: ClassVar[int] = 4

    def combine(self, schedule: Schedule, s: Times, timesteps: Sequence[SolverState], noise: NoiseSource) -> Images:
        """alpha_s x0_hat + sigma_s noise_hat + alpha_s sum of w_j (noise_hat_j - noise_hat)."""
        now = timesteps[0]
        noises = [
            noise_in(state.x_t, state.x0_hat, schedule.alpha(state.t), schedule.sigma(state.t)) for state in timesteps
        ]
        x_s = over(schedule.alpha(s), now.x_t) * now.x0_hat + over(schedule.sigma(s), now.x_t) * noises[0]
        if len(timesteps) == 1:
            return x_s
        weights = self.weights([_log_rho(schedule, state.t) for state in timesteps], _log_rho(schedule, s))
        for weight, earlier in zip(weights[1:], noises[1:], strict=True):
            x_s = x_s + over(schedule.alpha(s) * weight, x_s) * (earlier - noises[0])
        return x_s

    @abstractmethod
    def weights(self, log_rho: Sequence[Times], end: Times) -> Sequence[Times]:
        """Weight of each noise in the extrapolation, integrated over rho from the first of `log_rho` to `end`."""


ADAMS_BASHFORTH = {
    2: (3 / 2, -1 / 2),
    3: (23 / 12, -16 / 12, 5 / 12),
    4: (55 / 24, -59 / 24, 37 / 24, -9 / 24),
}
"""Coefficients for equal steps by order, newest first."""


@dataclass(frozen=True)
class IPNDM(NoiseMultistep):
    """iPNDM: fixed Adams-Bashforth coefficients. arXiv 2204.13902, after PNDM (arXiv 2202.09778).

    The coefficients are those of equal steps in rho, for any time grid.

    Args:
        order: 1 (DDIM) to 4.

    Raises:
        SamplingError: another order.
    """

    order: int = 4

    def weights(self, log_rho: Sequence[Times], end: Times) -> Sequence[Times]:
        """The coefficients times the step in rho."""
        stride = end.exp() - log_rho[0].exp()
        return [coefficient * stride for coefficient in ADAMS_BASHFORTH[len(log_rho)]]


NODES, NODE_WEIGHTS = (torch.from_numpy(part) for part in np.polynomial.legendre.leggauss(16))


@dataclass(frozen=True)
class DEIS(NoiseMultistep):
    """DEIS (arXiv 2204.13902) with polynomial extrapolation in log(rho), as in diffusers.

    Args:
        order: 1 (DDIM) to 4.

    Raises:
        SamplingError: another order.
    """

    order: int = 3

    def weights(self, log_rho: Sequence[Times], end: Times) -> Sequence[Times]:
        """Integrals of the Lagrange polynomials by Gauss-Legendre quadrature, exact up to rounding."""
        reach = (end - log_rho[0]) / 2
        nodes = log_rho[0] + reach * (1 + NODES)
        measure = reach * NODE_WEIGHTS * nodes.exp()
        weights = []
        for own in log_rho:
            shares = [(nodes - other) / (own - other) for other in log_rho if other != own]
            weights.append((measure * torch.stack(shares).prod(0)).sum())
        return weights


def _log_rho(schedule: Schedule, t: Times) -> Times:
    """log(sigma / alpha)."""
    return -_half_logsnr(schedule, t)
