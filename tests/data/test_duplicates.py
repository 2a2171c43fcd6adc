"""The same picture is known again, whatever was done to its file; other pictures are not."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance
from sklearn.datasets import load_sample_images

from sfumato import duplicates
from sfumato.data import ImageSet
from sfumato.duplicates import nearly_same, same_pixels

Change = Callable[[Image.Image], Image.Image]
SIDE = 48


def scenes() -> list[Image.Image]:
    """Forty different parts of two photographs."""
    random = np.random.default_rng(0)
    photos = [Image.fromarray(photo) for photo in load_sample_images().images]
    corners = zip(random.integers(0, 500, 40).tolist(), random.integers(0, 280, 40).tolist(), strict=True)
    return [photos[i % 2].crop((x, y, x + 140, y + 140)).resize((SIDE, SIDE)) for i, (x, y) in enumerate(corners)]


def set_of(pictures: list[Image.Image]) -> ImageSet:
    return ImageSet.of(torch.from_numpy(np.stack([np.asarray(picture) for picture in pictures])).permute(0, 3, 1, 2))


def compressed(image: Image.Image) -> Image.Image:
    content = io.BytesIO()
    image.save(content, "JPEG", quality=40)
    return Image.open(content).convert("RGB")


CHANGES: dict[str, Change] = {
    "compressed": compressed,
    "shrunk and enlarged": lambda image: image.resize((24, 24)).resize((SIDE, SIDE)),
    "brighter": lambda image: ImageEnhance.Brightness(image).enhance(1.1),
    "with less colour": lambda image: ImageEnhance.Color(image).enhance(0.5),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_a_changed_copy_is_nearly_the_same(change: Change) -> None:
    pictures = scenes()
    copies = [change(picture) for picture in pictures[:5]]
    assert nearly_same(set_of([*pictures, *copies])) == [[i, 40 + i] for i in range(5)]


def test_different_pictures_are_not_the_same() -> None:
    assert nearly_same(set_of(scenes())) == []


def test_equal_pixels_are_the_same_and_nearly_so() -> None:
    pictures = scenes()
    images = set_of([*pictures, pictures[3], pictures[7], pictures[3]])
    assert same_pixels(images) == nearly_same(images) == [[3, 40, 42], [7, 41]]


def test_one_level_of_one_pixel_is_not_the_same_but_nearly_so() -> None:
    pictures = scenes()[:2]
    other = pictures[0].copy()
    red, green, blue = np.asarray(other)[0, 0].tolist()
    other.putpixel((0, 0), (red, green ^ 1, blue))
    images = set_of([*pictures, other])
    assert same_pixels(images) == []
    assert nearly_same(images) == [[0, 2]]


def test_flat_images_are_the_same_only_if_they_are() -> None:
    random = np.random.default_rng(1)
    faint = [Image.fromarray((128 + random.integers(0, 6, (SIDE, SIDE, 3))).astype(np.uint8)) for _ in range(20)]
    assert nearly_same(set_of(faint)) == []


def test_places_are_those_of_the_set_not_of_its_store() -> None:
    pictures = scenes()[:6]
    chosen = set_of([*pictures, pictures[5]]).select(torch.tensor([5, 0, 6]))
    assert same_pixels(chosen) == nearly_same(chosen) == [[0, 2]]


def test_the_count_of_compared_images_adds_up() -> None:
    told: list[int] = []
    nearly_same(set_of(scenes()), told.append)
    assert sum(told) == 40


def test_a_thousand_equal_images_are_compared_with_the_first_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    looks = 0

    def counted(thumb: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
        nonlocal looks
        looks += len(others)
        return look_alike(thumb, others)

    look_alike = duplicates._look_alike
    monkeypatch.setattr(duplicates, "_look_alike", counted)
    assert nearly_same(set_of([scenes()[0]] * 1000)) == [[*range(1000)]]
    assert looks == 999
