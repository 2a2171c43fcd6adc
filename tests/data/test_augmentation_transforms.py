"""EDM's augmentation: exact flips, accurate resampling, and unambiguous augmentation labels."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from sfumato.data import Purpose, augmentation, uniform
from sfumato.data.augmentation import (
    AUGMENTATION_FEATURES,
    DRAWS,
    Transforms,
    apply_transforms,
    augmentation_labels,
    draw_transforms,
)

MANY = 40_000


def transforms(**given: float) -> Transforms:
    """Transforms of one image."""
    nothing = torch.zeros(1, dtype=torch.float64)
    return Transforms(*(nothing + given.get(name, 0.0) for name in Transforms._fields))


def some(count: int, probability: float, start: int = 0) -> Transforms:
    """Random transforms as in a run."""
    return draw_transforms(uniform(1, Purpose.NONLEAKING, start, count, DRAWS), probability)


def at(x: Tensor, y: Tensor) -> Tensor:
    """An asymmetric pattern with wavelengths of at least ten pixels, at (x, y) from its centre in pixels."""
    return 0.5 * torch.cos(2 * math.pi * (x / 16 + 0.1)) * torch.cos(2 * math.pi * (y / 24 - 0.2)) + 0.4 * torch.sin(
        2 * math.pi * (x / 14 + y / 30)
    )


def places(height: int, width: int) -> tuple[Tensor, Tensor]:
    """(x, y) of every pixel from the centre."""
    x = torch.arange(width, dtype=torch.float64) + (1 - width) / 2
    y = torch.arange(height, dtype=torch.float64) + (1 - height) / 2
    return x.expand(height, width), y[:, None].expand(height, width)


def picture(height: int = 48, width: int = 48) -> Tensor:
    """One image, (1, 2, height, width); the second channel is the negative of the first."""
    image = at(*places(height, width)).float()
    return torch.stack([image, -image])[None]


def test_identity_transforms_change_nothing() -> None:
    noise = 2 * torch.rand(3, 1, 8, 8) - 1
    assert torch.equal(
        apply_transforms(noise, Transforms(*(torch.zeros(3, dtype=torch.float64) for _ in range(8)))), noise
    )
    assert (augmentation_labels(transforms()) == 0).all()


@pytest.mark.parametrize(("flips", "axes"), [({"flip_x": 1}, [3]), ({"flip_y": 1}, [2])])
def test_flips_are_exact(flips: dict[str, float], axes: list[int]) -> None:
    noise = 2 * torch.rand(1, 3, 6, 9) - 1
    assert torch.equal(apply_transforms(noise, transforms(**flips)), noise.flip(axes))


@pytest.mark.parametrize("quarters", [-1, 1, 2, 4])
def test_quarter_turns_equal_rot90(quarters: int) -> None:
    found = apply_transforms(picture(), transforms(turn=quarters * math.pi / 2))
    torch.testing.assert_close(found, picture().rot90(-quarters, (2, 3)), rtol=0, atol=0.003)


@pytest.mark.parametrize(("pixels", "axis"), [(3, 3), (-5, 3), (4, 2), (-1, 2)])
def test_shifts_by_whole_pixels_reflect_the_border(pixels: int, axis: int) -> None:
    image = picture(40, 56)
    size = image.shape[axis]
    shift = {("shift_x" if axis == 3 else "shift_y"): pixels / size * 8}
    twice = torch.cat([image, image.flip(axis)], dim=axis)  # reflected; periodic beyond
    expected = twice.roll(pixels, axis).narrow(axis, 0, size)
    torch.testing.assert_close(apply_transforms(image, transforms(**shift)), expected, rtol=0, atol=0.003)


TURN, AXIS = 0.7, 2.4


@pytest.mark.parametrize(
    "given",
    [
        {"turn": TURN},
        {"scale": 1.5},
        {"scale": -1.5},
        {"stretch": 1.5, "axis": AXIS},
        {"stretch": -1.5, "axis": AXIS},
        {"shift_x": 0.37, "shift_y": -0.21},
        {"scale": 0.5, "turn": TURN, "stretch": -1.0, "axis": AXIS, "shift_x": 0.2, "shift_y": -0.3},
    ],
)
def test_transforms_equal_the_matrices_of_the_paper(given: dict[str, float]) -> None:
    """Table 6: scale, rotate, stretch along an axis, translate; the pattern is known at every point."""
    image, t = picture(48, 64), transforms(**given)

    def rotation(angle: float) -> Tensor:
        c, s = math.cos(angle), math.sin(angle)
        return torch.tensor([[c, -s, 0], [s, c, 0], [0, 0, 1]], dtype=torch.float64)

    def scaling(x: float, y: float) -> Tensor:
        return torch.diag(torch.tensor([x, y, 1], dtype=torch.float64))

    size, length = 2 ** (0.2 * t.scale.item()), 2 ** (0.2 * t.stretch.item())
    moved = torch.eye(3, dtype=torch.float64)
    moved[:2, 2] = torch.tensor([64 / 8 * t.shift_x.item(), 48 / 8 * t.shift_y.item()])
    axis = t.axis.item()
    stretched = rotation(axis) @ scaling(length, 1 / length) @ rotation(-axis)
    to_goal = moved @ stretched @ rotation(t.turn.item()) @ scaling(size, size)
    x, y = places(48, 64)
    from_x, from_y, _ = torch.einsum("ij,jhw->ihw", to_goal.inverse(), torch.stack([x, y, torch.ones_like(x)]))
    inside = (from_x.abs() < 32 - 6) & (from_y.abs() < 24 - 6)
    assert inside.double().mean() > 0.3
    found = apply_transforms(image, t)
    torch.testing.assert_close(found[0, 0][inside], at(from_x, from_y).float()[inside], rtol=0, atol=0.003)
    assert torch.equal(found[0, 1], -found[0, 0])


def test_fine_detail_is_kept_and_aliasing_is_avoided() -> None:
    """Waves of 3 pixels keep 95 % of their amplitude after a shift by half a pixel, and vanish when shrunk to 1.6."""
    x, _ = places(64, 64)
    waves = torch.cos(2 * math.pi * x / 3).float()[None, None]
    shifted = apply_transforms(waves, transforms(shift_x=0.5 / 64 * 8))
    expected = torch.cos(2 * math.pi * (x - 0.5) / 3).float()
    assert (shifted[0, 0] - expected)[24:-24, 24:-24].abs().max() < 0.05
    shrunk = apply_transforms(waves, transforms(scale=math.log2(1.6 / 3) / 0.2))
    assert shrunk[..., 24:-24, 24:-24].abs().max() < 0.05


def test_a_constant_image_has_no_visible_borders() -> None:
    images = torch.full((64, 1, 12, 10), 0.6)
    torch.testing.assert_close(apply_transforms(images, some(64, 1.0)), images, rtol=0, atol=1e-5)


def test_values_stay_in_the_range_of_the_images() -> None:
    edges = torch.ones(32, 1, 16, 16)
    edges[..., ::5] = -1
    found = apply_transforms(edges, some(32, 1.0))
    assert (found.min(), found.max()) == (-1, 1)


def test_an_image_smaller_than_the_filter_is_transformed() -> None:
    found = apply_transforms(torch.rand(8, 1, 1, 3), some(8, 1.0))
    assert found.shape == (8, 1, 1, 3)
    assert found.isfinite().all()


def test_each_image_of_a_batch_has_its_own_transform() -> None:
    """Of different images, the second is rotated, the third flipped, the fifth shifted, and the others unchanged."""
    images = torch.cat([picture(12, 16)[:, :1] * share for share in (1.0, -0.8, 0.6, -0.4, 0.2, 0.9)])
    each = [{}, {"turn": 0.4}, {"flip_x": 1.0}, {}, {"shift_x": 1.0, "scale": 0.5}, {}]
    alone = [apply_transforms(image[None], transforms(**given)) for image, given in zip(images, each, strict=True)]
    together = Transforms(*(torch.cat(columns) for columns in zip(*(transforms(**one) for one in each), strict=True)))
    torch.testing.assert_close(apply_transforms(images, together), torch.cat(alone), rtol=0, atol=1e-6)
    assert [torch.equal(one[0], image) for one, image in zip(alone, images, strict=True)] == [not one for one in each]


def test_transforms_do_not_depend_on_the_batch() -> None:
    images, count = torch.rand(12, 3, 10, 14), 5
    first, rest = some(count, 0.3), some(12 - count, 0.3, start=count)
    parts = [apply_transforms(images[:count], first), apply_transforms(images[count:], rest)]
    assert torch.equal(torch.cat(parts), apply_transforms(images, some(12, 0.3)))


@pytest.mark.parametrize("probability", [0.0, 0.12, 1.0])
def test_transforms_have_the_distributions_of_the_paper(probability: float) -> None:
    t = some(MANY, probability)
    noise = 4 / MANY**0.5
    assert (t.flip_x.mean() - 0.5).abs() < noise
    assert (t.flip_y.mean() - probability / 2).abs() < noise
    for value in (t.scale, t.turn, t.stretch, t.shift_x, t.shift_y):
        assert ((value != 0).double().mean() - probability).abs() < noise
    if probability == 0:
        return
    for value in (t.scale, t.stretch, t.shift_x, t.shift_y):
        done = value[value != 0]
        normal = torch.special.ndtr(done).sort().values  # uniform for normal values
        steps = torch.linspace(0, 1, len(done), dtype=torch.float64)
        assert (normal - steps).abs().max() < 1.7 / len(done) ** 0.5  # Kolmogorov-Smirnov test, at 0.6 %
    for angle, low, high in ((t.turn, -math.pi, math.pi), (t.axis, 0, math.pi)):
        done = (angle[angle != 0].sort().values - low) / (high - low)
        steps = torch.linspace(0, 1, len(done), dtype=torch.float64)
        assert (done - steps).abs().max() < 1.7 / len(done) ** 0.5
    assert torch.equal(t.shift_x != 0, t.shift_y != 0)
    assert torch.equal(t.stretch != 0, t.axis != 0)


def test_transforms_are_independent() -> None:
    done = torch.stack([value != 0 for value in some(MANY, 0.5)]).double()
    kept = [i for i, name in enumerate(Transforms._fields) if name not in ("axis", "shift_y")]
    correlations = torch.corrcoef(done[kept]) - torch.eye(len(kept), dtype=torch.float64)
    assert correlations.abs().max() < 4 / MANY**0.5


def test_augmentation_labels_are_those_of_table_6() -> None:
    given = transforms(flip_x=1, flip_y=1, scale=0.3, turn=0.4, stretch=-0.5, axis=0.6, shift_x=0.7, shift_y=-0.8)
    expected = [1, 1, 0.3, math.cos(0.4) - 1, math.sin(0.4), -0.5 * math.cos(1.2), -0.5 * math.sin(1.2), 0.7, -0.8]
    torch.testing.assert_close(augmentation_labels(given), torch.tensor([expected]))
    assert augmentation_labels(some(4, 0.5)).shape == (4, AUGMENTATION_FEATURES)
    untouched = augmentation_labels(some(200, 0.0))[:, 1:]
    assert (untouched == 0).all()


def test_augmentation_labels_of_stretch_and_its_inverse_differ() -> None:
    """EDM uses stretch * (cos, sin) of the axis, which is the same for the inverse stretch along the axis plus pi."""
    stretch, squeeze = transforms(stretch=1.0, axis=0.3), transforms(stretch=-1.0, axis=0.3 + math.pi)
    across = transforms(stretch=-1.0, axis=0.3 + math.pi / 2)
    images = [apply_transforms(picture(), t) for t in (stretch, squeeze, across)]
    assert (images[0] - images[1]).abs().max() > 0.1
    assert (augmentation_labels(stretch) - augmentation_labels(squeeze)).abs().max() > 1
    torch.testing.assert_close(images[0], images[2], rtol=0, atol=1e-5)
    torch.testing.assert_close(augmentation_labels(stretch), augmentation_labels(across))


def test_only_images_that_need_it_are_resampled(monkeypatch: pytest.MonkeyPatch) -> None:
    counts: list[int] = []

    def counted(images: Tensor, sources: Tensor) -> Tensor:
        counts.append(len(sources))
        return images

    monkeypatch.setattr(augmentation, "affine_resample", counted)
    apply_transforms(
        torch.rand(4, 1, 8, 8), Transforms(*torch.diag(torch.ones(8, dtype=torch.float64))[:, :4].unbind(0))
    )
    assert counts == [2]  # the third is scaled, the fourth rotated; the first two are only flipped
