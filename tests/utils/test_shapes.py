"""Tensor shapes in signatures are checked in tests, and coefficients have the dtype of the images."""

import pytest
import torch
from jaxtyping import TypeCheckError

from sfumato.diffusion.gaussian import Gaussian
from sfumato.diffusion.losses import drop_labels
from sfumato.diffusion.schedules import LinearBeta
from sfumato.utils.shapes import over


def test_an_image_without_its_batch_is_rejected() -> None:
    with pytest.raises(TypeCheckError, match="x_0"):
        LinearBeta().marginal(torch.zeros(3, 8, 8), torch.tensor(0.5, dtype=torch.float64))


def test_images_of_two_shapes_are_rejected() -> None:
    t, s = torch.tensor([0.5, 0.25], dtype=torch.float64)
    with pytest.raises(TypeCheckError, match="x_0"):
        LinearBeta().posterior(torch.zeros(2, 1, 8, 8), torch.zeros(2, 1, 8, 1), t, s)


def test_a_time_in_single_precision_is_rejected() -> None:
    with pytest.raises(TypeCheckError, match="LinearBeta"):
        LinearBeta().alpha(torch.tensor(0.5))


def test_a_field_of_a_dataclass_is_checked() -> None:
    with pytest.raises(TypeCheckError, match="variance"):
        Gaussian(torch.zeros(1), 1.0)  # type: ignore[arg-type]


def test_labels_that_are_not_integers_are_rejected() -> None:
    with pytest.raises(TypeCheckError, match="labels"):
        drop_labels(torch.zeros(3), 0.5)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_a_coefficient_has_the_dtype_of_the_images(dtype: torch.dtype) -> None:
    images = torch.ones(2, 3, 4, 5, dtype=dtype)
    assert over(torch.tensor(0.5, dtype=torch.float64), images).dtype == dtype
    assert (over(torch.tensor(0.5, dtype=torch.float64), images) * images == 0.5).all()


def test_a_coefficient_per_image_multiplies_its_image() -> None:
    images = torch.ones(
        2, 3, 2, 2
    )  # as many images as rows and columns: broadcasting on the wrong side would go unseen
    scaled = over(torch.tensor([2.0, 3.0], dtype=torch.float64), images) * images
    assert (scaled[0] == 2).all()
    assert (scaled[1] == 3).all()
