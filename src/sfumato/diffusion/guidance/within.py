"""A wrapper that makes another act at some noise levels only."""

import torch

from sfumato.diffusion.guidance.base import Wrapper
from sfumato.errors import SamplingError
from sfumato.utils.shapes import Images, Labels, Times


class WithinLevels(Wrapper):
    """Acts as a wrapper at the noise levels of an interval, and as the denoiser inside that wrapper at all others.

    Limited so, guidance neither thins out the variety of images, which is decided at high noise, nor pays for a second
    estimate where it changes little. Kynkaanniemi et al. (arXiv 2404.07724).

    Args:
        wrapper: what to limit, such as `ClassifierFree`.
        low: the least sigma / alpha at which it acts.
        high: the greatest; may be infinite.

    Raises:
        SamplingError: unless 0 <= low < high; something that is no wrapper.
    """

    def __init__(self, wrapper: Wrapper, low: float, high: float) -> None:
        if not isinstance(wrapper, Wrapper):
            raise SamplingError("an interval of guidance was asked of a model without any", "Guide the model first.")
        if not 0 <= low < high:
            raise SamplingError(
                f"noise levels from {low} to {high} are no interval", "Choose 0 <= low < high, such as 0.3 and 5."
            )
        super().__init__(wrapper)
        self.outside = wrapper.inner
        self.low = low
        self.high = high

    def forward(self, x_t: Images, t: Times, labels: Labels | None = None) -> Images:
        """The wrapper's estimate or its inner denoiser's; where times differ, each image goes to one of them."""
        acts = self._acts(t)
        if acts.all():
            return self.inner(x_t, t, labels)  # type: ignore[no-any-return]  # a module's call has no types
        if not acts.any():
            return self.outside(x_t, t, labels)  # type: ignore[no-any-return]  # likewise
        denoised = torch.empty_like(x_t)
        for denoiser, these in ((self.inner, acts), (self.outside, ~acts)):
            denoised[these] = denoiser(x_t[these], t[these], None if labels is None else labels[these])
        return denoised

    def _acts(self, t: Times) -> torch.Tensor:
        """Whether sigma / alpha lies in the interval, of the shape of t."""
        level = torch.exp(-self.schedule.logsnr(t) / 2)
        return (self.low <= level) & (level <= self.high)
