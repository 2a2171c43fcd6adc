"""Analytic denoisers: E[x_0 | x_t] in closed form for known data distributions.

Tests compare solvers, schedules and guidance with them. `images` is the exact denoiser of a data set; its samples are
copies of the images.
"""

import math

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from sfumato.diffusion.denoiser import Denoiser
from sfumato.diffusion.schedules import Schedule
from sfumato.errors import LabelError
from sfumato.utils.shapes import UNLABELLED, Classes, Images, Labels, Times


class Mixture(Denoiser):
    """The exact denoiser of a mixture of K isotropic Gaussians, computed in float64.

    With v_k = alpha^2 variance_k + sigma^2, component k of x_t is N(alpha mean_k, v_k), with
    E[x_0 | x_t, k] = mean_k + alpha variance_k / v_k (x_t - alpha mean_k). The result is the mean over the components,
    weighted by p(k | x_t).

    Args:
        schedule: noise schedule.
        means: (K, C, H, W) means of the components.
        variances: (K,) variance of each pixel of a component; 0 for a point.
        weights: (K,) weights of the components, which need not sum to 1.
        labels: (K,) class index of each component, or None.
        label_names: names of the classes.
    """

    def __init__(
        self,
        schedule: Schedule,
        means: Images,
        variances: Float[Tensor, " k"],
        weights: Float[Tensor, " k"],
        labels: Classes | None = None,
        label_names: tuple[str, ...] = (),
    ) -> None:
        channels, height, width = means.shape[1:]
        super().__init__(schedule, (channels, height, width), label_names)
        self.register_buffer("means", means.double().flatten(1))
        self.register_buffer("squares", self.means.square().sum(1))
        self.register_buffer("variances", variances.double())
        self.register_buffer("log_weights", weights.double().log())
        self.register_buffer("labels", torch.full((len(means),), UNLABELLED) if labels is None else labels)

    means: Tensor
    squares: Tensor
    variances: Tensor
    log_weights: Tensor
    labels: Tensor

    def forward(self, x_t: Images, t: Times, labels: Labels | None = None) -> Images:
        """E[x_0 | x_t], computed in float64 and cast to the dtype of x_t. With points, t must be above 0.

        Raises:
            LabelError: a class that no component has, or rows of conditions instead of classes.
        """
        self._check_labels(labels)
        x = x_t.double().flatten(1)
        alpha, sigma = (
            c.to(x.device).expand(len(x))[:, None] for c in (self.schedule.alpha(t), self.schedule.sigma(t))
        )
        total = alpha**2 * self.variances + sigma**2
        gain = alpha * self.variances / total
        share = self._responsibility(x, alpha, total, labels)
        clean = (share * (1 - gain * alpha)) @ self.means + (share * gain).sum(1, keepdim=True) * x
        return clean.reshape(x_t.shape).to(x_t.dtype)

    def _check_labels(self, labels: Labels | None) -> None:
        if labels is not None and labels.ndim > 1:
            raise LabelError("analytic denoisers do not take rows of conditions", "Give class indices, or no labels.")
        unknown = [] if labels is None else sorted(set(labels.tolist()) - {UNLABELLED, *self.labels.tolist()})
        if unknown:
            known = sorted(set(self.labels.tolist()) - {UNLABELLED})
            raise LabelError(
                f"no component has the class {unknown[0]}", f"Choose among {known or 'none'}, or give no labels."
            )

    def _responsibility(
        self, x: Float64[Tensor, "n d"], alpha: Tensor, total: Float64[Tensor, "n k"], labels: Classes | None
    ) -> Float64[Tensor, "n k"]:
        """p(k | x_t) among the components of the requested class."""
        distance = x.square().sum(1, keepdim=True) - 2 * alpha * (x @ self.means.T) + alpha**2 * self.squares
        dimensions = self.means.shape[1]
        log_joint = self.log_weights - distance / (2 * total) - dimensions / 2 * torch.log(2 * math.pi * total)
        if labels is not None:
            other = (labels[:, None] != UNLABELLED) & (labels[:, None] != self.labels)
            log_joint = log_joint.masked_fill(other, -math.inf)
        return log_joint.softmax(1)


def gaussian(schedule: Schedule, mean: Float[Tensor, "c h w"], variance: float) -> Mixture:
    """The exact denoiser of the distribution N(mean, variance I).

    >>> from sfumato.diffusion.schedules import LinearBeta
    >>> model = gaussian(LinearBeta(), torch.zeros(1, 2, 2), variance=1.0)
    >>> model(torch.full((1, 1, 2, 2), 3.0), torch.tensor(0.0, dtype=torch.float64)).mean()
    tensor(3.)
    """
    one = torch.ones(1, dtype=torch.float64)
    return Mixture(schedule, mean[None], variance * one, one)


def images(
    schedule: Schedule, data: Images, labels: Classes | None = None, label_names: tuple[str, ...] = ()
) -> Mixture:
    """The exact denoiser of a finite data set with equally likely images: a model that has memorized it."""
    count = len(data)
    return Mixture(schedule, data, torch.zeros(count), torch.ones(count), labels, label_names)
