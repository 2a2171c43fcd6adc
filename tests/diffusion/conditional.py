"""Analytic denoiser of one grey pixel that depends on a number and a category."""

import math

import torch

from sfumato.data.conditions import Category, Column, Number
from sfumato.diffusion.denoiser import Denoiser
from sfumato.diffusion.schedules import LinearBeta, Schedule
from sfumato.utils.shapes import Images, Labels, Times

COLUMNS: tuple[Column, ...] = (Number("age", 40.0, 10.0, 20.0, 60.0), Category("colour", ("blue", "red")))
SLOPE, CENTRES, VARIANCE = 0.2, (-0.4, 0.3), 0.01
"""x_0 = SLOPE age + CENTRES[colour] + noise of VARIANCE, where age, in deviations, is standard normal."""


class Conditional(Denoiser):
    """E[x_0 | x_t, what is known of age and colour], both colours being equally likely. Computed in float64."""

    def __init__(self, schedule: Schedule | None = None, columns: tuple[Column, ...] = COLUMNS) -> None:
        super().__init__(schedule or LinearBeta(), (1, 1, 1), columns=columns)

    def forward(self, x_t: Images, t: Times, labels: Labels | None = None) -> Images:
        """Of a Gaussian for each colour, as wide as an age that is not known makes it; Bayes weighs them."""
        rows = x_t.new_full((len(x_t), 2), math.nan) if labels is None else labels
        age, colour = rows.double()[:, :, None].unbind(1)
        means = SLOPE * age.nan_to_num(0) + torch.tensor(CENTRES, dtype=torch.float64)
        variance = VARIANCE + SLOPE**2 * age.isnan()
        alpha, sigma = (c.expand(len(x_t))[:, None] for c in (self.schedule.alpha(t), self.schedule.sigma(t)))
        total = alpha**2 * variance + sigma**2
        misfit = x_t.double().flatten(1) - alpha * means
        foreign = ~colour.isnan() & (colour != torch.arange(2))
        share = (-(misfit**2) / (2 * total)).masked_fill(foreign, -math.inf).softmax(1)
        clean = (share * (means + alpha * variance / total * misfit)).sum(1)
        return clean.reshape(x_t.shape).to(x_t.dtype)
