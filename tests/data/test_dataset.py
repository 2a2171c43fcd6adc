"""`ImageSet` and `split`."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from sfumato.data import ImageSet, split
from sfumato.data.conditions import Category, Number
from sfumato.data.sources import Notice
from sfumato.errors import ConfigError, DataError
from sfumato.utils.depth import SIXTEEN_BITS, Depth


def numbered(count: int) -> ImageSet:
    """Images whose pixels and labels are their index, modulo 256 and 2."""
    numbers = torch.arange(count)
    images = (numbers % 256).to(torch.uint8).reshape(-1, 1, 1, 1).repeat(1, 1, 2, 3)
    return ImageSet.of(images, numbers % 2, ("even", "odd"))


def with_images(images: ImageSet, pixels: torch.Tensor) -> ImageSet:
    """The set with other pixels."""
    return ImageSet.of(pixels, images.labels, images.label_names)


def conditioned() -> list[ImageSet]:
    """The same images with different rows instead of classes."""
    rows = torch.tensor([[0.5, 1], [float("nan"), 0], [0.5, 0], [1, 1]])
    columns = (Number("age", 30.0, 10.0, 18.0, 90.0), Category("odd", ("no", "yes")))
    images = replace(numbered(4), labels=rows, label_names=(), columns=columns)
    return [
        images,
        replace(images, labels=rows.flip(0)),
        replace(images, labels=rows.nan_to_num(0.5)),
        replace(images, columns=(replace(columns[0], mean=31.0), columns[1])),
        replace(images, columns=(columns[0], replace(columns[1], values=("no", "maybe")))),
    ]


def test_select_keeps_each_row_with_its_image() -> None:
    chosen = conditioned()[0].select(torch.tensor([3, 0]))
    assert chosen.labels is not None
    assert chosen.labels.tolist() == [[1, 1], [0.5, 1]]
    assert [column.name for column in chosen.columns] == ["age", "odd"]


def test_length_and_shape() -> None:
    images = numbered(5)
    assert len(images) == 5
    assert images.image_shape == (1, 2, 3)


def test_select_keeps_each_label_with_its_image() -> None:
    chosen = numbered(5).select(torch.tensor([3, 0, 1]))
    assert chosen.images[:, 0, 0, 0].tolist() == [3, 0, 1]
    assert chosen.labels is not None
    assert chosen.labels.tolist() == [1, 0, 1]
    assert chosen.label_names == ("even", "odd")


def test_select_works_without_labels() -> None:
    assert replace(numbered(3), labels=None).select(torch.tensor([2])).labels is None


def test_the_fingerprint_depends_on_images_and_labels() -> None:
    images = numbered(4)
    assert images.labels is not None
    others = [
        images.select(torch.tensor([1, 0, 2, 3])),
        with_images(images, images.images.transpose(2, 3)),
        with_images(images, images.images + 1),
        with_images(images, images.images.flip(0)),
        ImageSet.of(images.images.to(torch.uint16), images.labels, images.label_names, depth=SIXTEEN_BITS),
        replace(images, labels=images.labels.flip(0)),
        replace(images, labels=None),
        replace(images, label_names=("eve", "nodd")),
        *conditioned(),
    ]
    fingerprints = {other.fingerprint() for other in [images, *others]}
    assert len(fingerprints) == 1 + len(others)


def test_the_fingerprint_depends_on_the_value_range() -> None:
    four = ImageSet.of(torch.zeros(2, 4, 5, 6))
    depths = [Depth("float32", 0, 1), Depth("float32", 0, 1, opacity=True), Depth("float32", -3, 1)]
    assert len({replace(four, depth=depth).fingerprint() for depth in depths}) == 3


def test_the_fingerprint_ignores_notices_and_memory_layout() -> None:
    images = numbered(4)
    strided = images.images.permute(2, 3, 0, 1).contiguous().permute(2, 3, 0, 1)
    assert with_images(images, strided).fingerprint() == images.fingerprint()
    assert replace(images, notices=(Notice("range", "a notice"),)).fingerprint() == images.fingerprint()


def test_a_selection_has_the_fingerprint_of_its_images() -> None:
    chosen = numbered(9).select(torch.tensor([4, 2]))
    assert chosen.labels is not None
    assert chosen.fingerprint() == ImageSet.of(chosen.images, chosen.labels, chosen.label_names).fingerprint()


def test_a_selection_of_a_selection_uses_the_right_rows() -> None:
    chosen = numbered(9).select(torch.tensor([8, 4, 2])).select(torch.tensor([2, 0]))
    assert chosen.images[:, 0, 0, 0].tolist() == [2, 8]


def test_the_fingerprint_is_reproducible() -> None:
    assert numbered(4).fingerprint() == "2aaceeeaa5f34b0d906c82104500936be01d9b99aaaae63ce0f0d9700e564c22"


@pytest.mark.parametrize(
    ("count", "validation_share", "held_out"),
    [(100, 0.1, 10), (100, 0.096, 10), (10, 0.001, 1), (2, 0.99, 1), (10, 0.99, 9), (20_000, 0.5, 1024)],
)
def test_split_limits_the_number_of_validation_images(count: int, validation_share: float, held_out: int) -> None:
    train, held = split(numbered(count), validation_share, seed=0)
    assert (len(train), len(held)) == (count - held_out, held_out)


def test_split_is_a_random_partition() -> None:
    train, held = (part.images[:, 0, 0, 0].tolist() for part in split(numbered(100), 0.3, seed=1))
    assert sorted(train + held) == list(range(100))
    assert held not in (sorted(held), list(range(30)))


def test_split_depends_only_on_the_seed() -> None:
    first, again, other = (split(numbered(100), 0.3, seed)[1].fingerprint() for seed in (1, 1, 2))
    assert first == again
    assert first != other


@pytest.mark.parametrize("validation_share", [0.0, 1.0, -0.1, 7.0, float("nan")])
def test_split_rejects_an_invalid_fraction(validation_share: float) -> None:
    with pytest.raises(ConfigError, match="between 0 and 1"):
        split(numbered(10), validation_share, seed=0)


def test_split_rejects_a_single_image() -> None:
    with pytest.raises(DataError, match="at least 2"):
        split(numbered(1), 0.5, seed=0)
