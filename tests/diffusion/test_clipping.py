"""Static clipping, and dynamic thresholding (Imagen)."""

import math
from collections.abc import Callable

import pytest
import torch

from diffusion.constant import Constant, T, answer
from sfumato.diffusion.denoiser import Denoiser
from sfumato.diffusion.guidance import CLIPS, Clipped, DynamicThreshold
from sfumato.errors import SamplingError
from sfumato.utils.shapes import Images, Labels, Times


def test_clipping_keeps_estimates_in_range_and_leaves_the_others() -> None:
    assert answer(Clipped(Constant(-3.0, 0.25, 3.0))) == [-1, 0.25, 1]


def test_the_dynamic_threshold_scales_an_image_by_its_quantile() -> None:
    """The quantile 0.75 of 0, 1, 2, 3, 4 is 3: what is beyond is cut off, and all is divided by 3."""
    assert answer(DynamicThreshold(Constant(0, -1, 2, 3, -4), 0.75)) == pytest.approx([0, -1 / 3, 2 / 3, 1, -1])


def test_the_dynamic_threshold_scales_only_images_out_of_range() -> None:
    images = torch.tensor([[0.1, -0.2, 0.3], [4.0, 4.0, -4.0], [0.5, -1.0, 1.0]], dtype=torch.float64)

    class Given(Constant):
        def forward(self, x_t: Images, t: Times, labels: Labels | None = None) -> Images:  # noqa: ARG002
            """The three images."""
            return images[:, None, None]

    thresholded = DynamicThreshold(Given(0, 0, 0))(torch.zeros(3, 1, 1, 3, dtype=torch.float64), T)
    expected = images.clone()
    expected[1] /= 4
    torch.testing.assert_close(thresholded[:, 0, 0], expected, rtol=0, atol=0)


def test_the_dynamic_threshold_has_the_quantile_of_imagen() -> None:
    """995 of 1001 values, 0 to 10 in equal steps, are at most 9.95."""
    values = torch.linspace(0, 10, 1001, dtype=torch.float64).tolist()
    assert answer(DynamicThreshold(Constant(*values)))[500] == pytest.approx(5 / 9.95, rel=1e-6)


@pytest.mark.parametrize("clip", CLIPS.values())
def test_clipping_keeps_nan(clip: Callable[[Denoiser], Denoiser]) -> None:
    assert math.isnan(answer(clip(Constant(math.nan, 0.5, 0.5)))[0])


@pytest.mark.parametrize("quantile", [0.0, -0.5, 1.01, math.nan])
def test_a_quantile_out_of_range_is_rejected(quantile: float) -> None:
    with pytest.raises(SamplingError, match=rf"the quantile {quantile} is out of range"):
        DynamicThreshold(Constant(0), quantile)


def test_the_quantile_1_is_the_largest_value() -> None:
    assert answer(DynamicThreshold(Constant(1, -5), 1.0)) == pytest.approx([0.2, -1])


def test_clipping_is_selected_by_name() -> None:
    wild = Constant(-3.0, 0.25, 3.0)
    answers = {name: answer(CLIPS.parse(name)(wild)) for name in CLIPS}
    assert answers["none"] == [-3, 0.25, 3]
    assert answers["static"] == [-1, 0.25, 1]
    assert answers["dynamic"] == pytest.approx([-1, 0.25 / 3, 1])
    with pytest.raises(SamplingError, match=r"'hard' is unknown.*static, dynamic, none"):
        CLIPS.parse("hard")
