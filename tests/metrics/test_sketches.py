"""Distances of sketches and boxes are tight lower bounds of the distances of images."""

import pytest
import torch
from torch import Tensor

from metrics.blobs import blobs, noise
from sfumato.metrics.memorization.shifts import shifts_within, window
from sfumato.metrics.memorization.sketches import Boxes, Sketcher, Sketches, bounds

BASE = blobs(300, 0)
QUERIES = torch.cat([BASE[:1], blobs(49, 1)])
SKETCHER = Sketcher(BASE[:100], 30)


def squared(one: Tensor, other: Tensor) -> Tensor:
    """All squared distances, in float64."""
    return (one.flatten(1).double()[:, None] - other.flatten(1).double()[None]).square().sum(2)


def bounds_of(one: Sketches, other: Sketches, flips: bool) -> Tensor:
    return bounds(one, other, other.numbers.square().sum(1), flips)


@pytest.mark.parametrize("flips", [False, True])
@pytest.mark.parametrize("width", [4, 30])
def test_distances_of_sketches_are_lower_bounds(width: int, flips: bool) -> None:
    found = bounds_of(SKETCHER(QUERIES).narrowed(width), SKETCHER(BASE).narrowed(width), flips)
    expected = squared(QUERIES, BASE)
    if flips:
        expected = torch.minimum(expected, squared(QUERIES.flip(3), BASE))
    assert (found <= expected).all()
    assert (found / expected)[1:].median() > (0.9 if width == 30 else 0.5)


@pytest.mark.parametrize("side", [15, 16])
def test_a_complete_sketch_preserves_distances(side: int) -> None:
    images = noise(torch.empty(700, 1, side, side), 1.0, 0)
    found = bounds_of(*(Sketcher(images, 200)(part) for part in (images[:20], images[20:])), flips=False)
    torch.testing.assert_close(found.double(), squared(images[:20], images[20:]), rtol=1e-3, atol=0)


def test_sketches_of_any_width_have_the_norms_of_the_images() -> None:
    sketches = SKETCHER(BASE)
    norms = (BASE - (BASE + BASE.flip(3))[:100].mean(0) / 2).square().sum((1, 2, 3))
    for each in (sketches, sketches.narrowed(12), sketches.narrowed(12).narrowed(1)):
        torch.testing.assert_close(each.numbers.square().sum(1), norms, rtol=1e-4, atol=1e-4)


def test_the_sketch_of_a_mirror_image_is_the_mirrored_sketch() -> None:
    torch.testing.assert_close(SKETCHER(BASE.flip(3)).numbers, SKETCHER(BASE).mirrored().numbers, atol=1e-4, rtol=0)


def test_a_sketch_contains_the_norm_of_its_remainder() -> None:
    """Images are equal in the components of the sketch and differ in the norm of their remainder."""
    learned = torch.zeros(10, 1, 5, 10)
    learned[:, 0, 0] = noise(torch.empty(10, 10), 1.0, 0)
    weak, strong = learned[:1].clone(), learned[:1].clone()
    weak[0, 0, 3, 7], strong[0, 0, 3, 7] = 1.0, 4.0
    sketcher = Sketcher(learned, 5)
    torch.testing.assert_close(
        bounds_of(sketcher(weak), sketcher(strong), flips=False), torch.tensor([[9.0]]), rtol=1e-2, atol=0
    )


def test_a_small_remainder_is_not_rounded_to_zero() -> None:
    """Images with a tiny remainder, and images with a large remainder in the same direction."""
    learned = torch.zeros(10, 1, 12, 12)
    learned[:, 0, :4] = noise(torch.empty(10, 4, 12), 1.0, 0)
    sketcher = Sketcher(learned, 10)
    near, far = learned.clone(), learned.clone()
    near[:, 0, 9, 5] = 1e-3 * torch.arange(1, 11)
    far[:, 0, 9, 5] = 10.0
    assert (bounds_of(sketcher(near), sketcher(far), flips=False) <= squared(near, far)).all()


def test_distances_of_boxes_are_lower_bounds() -> None:
    """The box of a query contains its 25 shifts."""
    shifts = [window(QUERIES, 2, move) for move in shifts_within(2, flips=False)]
    base = window(BASE, 2)
    sketcher = Sketcher(base[:100], 12)
    points = torch.stack([sketcher(shifted).numbers for shifted in shifts], 1)[:, None]
    coarse = sketcher(base).numbers
    boxes = Boxes.around(points)
    distances = torch.cdist(points[:, 0].double(), coarse.double()).amin(1)
    balls = torch.cdist(points.mean(2)[:, 0].double(), coarse.double())
    balls -= torch.linalg.vector_norm(points - points.mean(2, keepdim=True), dim=3).amax(2)
    lower = boxes.bounds(coarse, coarse.square().sum(1)).clamp(min=0).sqrt()[:, 0] - boxes.off
    assert (lower <= distances + 1e-6).all()
    assert ((distances - lower) / (distances - balls))[1:].median() < 0.6
