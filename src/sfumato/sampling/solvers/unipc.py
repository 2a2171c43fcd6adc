"""UniPC: a multistep predictor whose estimates also correct the current state. arXiv 2302.04867."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Literal

import torch
from jaxtyping import Float64
from torch import Tensor

from sfumato.diffusion.denoiser import Denoiser
from sfumato.diffusion.schedules import Schedule
from sfumato.errors import SamplingError
from sfumato.sampling.solvers.base import NoiseSource, Solver, SolverState, Step
from sfumato.utils.shapes import Images, Times, over


@dataclass(frozen=True)
class UniPC(Solver):
    """UniPC-p with data prediction: order p + 1 with one evaluation per step.

    The first steps have a lower order. The step to t = 0 returns x0_hat.

    Args:
        order: p, 1 to 3.
        variant: B(h) of the paper: "bh1" is h, "bh2" is exp(h) - 1. The difference is relevant for few steps.

    Raises:
        SamplingError: another order or variant.
    """

    order: int = 3
    variant: Literal["bh1", "bh2"] = "bh2"

    def __post_init__(self) -> None:
        if not 1 <= self.order <= 3:
            raise SamplingError(f"UniPC of order {self.order} does not exist", "Choose an order from 1 to 3.")
        if self.variant not in ("bh1", "bh2"):
            raise SamplingError(f"the variant {self.variant!r} of UniPC is unknown", "Choose bh1 or bh2.")

    @property
    def memory(self) -> int:
        """order, since the corrector starts one state before the predictor."""
        return self.order

    @property
    def min_steps(self) -> int:
        """Steps needed to use the full order once; the step to t = 0 does not use it."""
        return self.order + 1 if self.order > 1 else 1

    def step(
        self, denoiser: Denoiser, x_t: Images, t: Times, s: Times, noise: NoiseSource, past: Sequence[SolverState]
    ) -> Step:
        """Evaluates the denoiser, corrects x_t and predicts x_s; previous states with zero SNR are not used."""
        schedule = denoiser.schedule
        x0_hat: Images = denoiser(x_t, t)
        seen = list(takewhile(lambda stop: schedule.alpha(stop.t) > 0, past))
        corrected = self._advance(schedule, seen, t, x0_hat) if seen else x_t
        now = SolverState(t, corrected, x0_hat)
        if s == 0:
            return Step(now, x0_hat)
        return Step(now, self._advance(schedule, [now, *seen][: self.order], s))

    def _advance(
        self, schedule: Schedule, timesteps: Sequence[SolverState], s: Times, at_end: Images | None = None
    ) -> Images:
        """x_s from the states, newest first, and from the estimate at the end of the step, if it is known."""
        now = timesteps[0]
        half_logsnr = [schedule.logsnr(stop.t) / 2 for stop in timesteps]
        h = schedule.logsnr(s) / 2 - half_logsnr[0]
        x_s = over(schedule.sigma(s) / schedule.sigma(now.t), now.x_t) * now.x_t
        x_s = x_s - over(schedule.alpha(s) * torch.expm1(-h), x_s) * now.x0_hat
        places = [(at - half_logsnr[0]) / h for at in half_logsnr[1:]]
        differences = [
            (stop.x0_hat - now.x0_hat) / over(place, x_s) for stop, place in zip(timesteps[1:], places, strict=True)
        ]
        if at_end is not None:
            places.append(torch.ones_like(h))
            differences.append(at_end - now.x0_hat)
        if places:
            for weight, difference in zip(self._weights(torch.stack(places), h), differences, strict=True):
                x_s = x_s + over(schedule.alpha(s) * weight, x_s) * difference
        return x_s

    def _weights(self, places: Float64[Tensor, " k"], h: Times) -> Float64[Tensor, " k"]:
        """Weights of the differences divided by their places, exact for polynomials of degree k.

        Solves sum_i w_i place_i^(j-1) = integral over u in [0, 1] of h exp(-h (1 - u)) u^j, j = 1 ... k. For k = 1 the
        weight is B(h) / 2, as in the paper.
        """
        scale = h if self.variant == "bh1" else -torch.expm1(-h)
        if len(places) == 1:
            return scale / 2 * torch.ones_like(places)
        powers = torch.arange(len(places), dtype=torch.float64)
        moments, moment = [], -torch.expm1(-h)
        for power in range(1, len(places) + 1):
            moment = 1 - power * moment / h
            moments.append(moment)
        weights: Tensor = torch.linalg.solve(places ** powers[:, None], torch.stack(moments))
        return weights
