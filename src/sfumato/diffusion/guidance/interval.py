"""Guidance limited to an interval of noise levels."""

import torch

from sfumato.diffusion.guidance.base import Wrapper
from sfumato.errors import SamplingError
from sfumato.utils.shapes import Images, Labels, Times


class WithinLevels(Wrapper):
    """Applies a wrapper in an interval of noise levels only; outside, uses its inner denoiser.

    With a limited interval, guidance reduces the diversity less, which is determined at high noise, and needs fewer
    evaluations. Kynkaanniemi et al. (arXiv 2404.07724).

    Args:
        wrapper: wrapper to limit, such as `ClassifierFree`.
        low: lowest noise level sigma / alpha, 0 or more.
        high: highest noise level; may be infinite.

    Raises:
        SamplingError: an empty interval, or a denoiser that is not a wrapper.
    """

    def __init__(self, wrapper: Wrapper, low: float, high: float) -> None:
        if not isinstance(wrapper, Wrapper):
            raise SamplingError(
                "a guidance interval was given for a model without guidance", "Wrap it in guidance first."
            )
        if not 0 <= low < high:
            raise SamplingError(
                f"noise levels from {low} to {high} are not an interval", "Choose 0 <= low < high, such as 0.3 and 5."
            )
        super().__init__(wrapper)
        self.outside = wrapper.inner
        self.low = low
        self.high = high

    def forward(self, x_t: Images, t: Times, labels: Labels | None = None) -> Images:
        """Estimate of the wrapper or of its inner denoiser, depending on the time of each image."""
        is_inside = self._is_inside(t)
        if is_inside.all():
            return self.inner(x_t, t, labels)  # type: ignore[no-any-return]  # a module's call has no types
        if not is_inside.any():
            return self.outside(x_t, t, labels)  # type: ignore[no-any-return]  # likewise
        denoised = torch.empty_like(x_t)
        for denoiser, these in ((self.inner, is_inside), (self.outside, ~is_inside)):
            denoised[these] = denoiser(x_t[these], t[these], None if labels is None else labels[these])
        return denoised

    def _is_inside(self, t: Times) -> torch.Tensor:
        """Whether sigma / alpha is in the interval, with the shape of t."""
        level = torch.exp(-self.schedule.logsnr(t) / 2)
        return (self.low <= level) & (level <= self.high)
