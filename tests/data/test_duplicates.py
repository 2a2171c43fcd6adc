"""Near-duplicates are found after typical changes; different images are not reported."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance
from sklearn.datasets import load_sample_images

from sfumato.data import ImageSet, duplicates
from sfumato.data import perceptual_hashes as room
from sfumato.data.duplicates import exact_duplicates, near_duplicates
from sfumato.data.perceptual_hashes import perceptual_hashes, thumbnails

Change = Callable[[Image.Image], Image.Image]
SIDE = 48


def scenes() -> list[Image.Image]:
    """Forty different crops of two photographs."""
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
def test_a_changed_copy_is_a_near_duplicate(change: Change) -> None:
    pictures = scenes()
    copies = [change(picture) for picture in pictures[:5]]
    assert near_duplicates(set_of([*pictures, *copies])) == [[i, 40 + i] for i in range(5)]


def test_different_images_are_not_near_duplicates() -> None:
    assert near_duplicates(set_of(scenes())) == []


def test_images_with_equal_pixels_are_duplicates() -> None:
    pictures = scenes()
    images = set_of([*pictures, pictures[3], pictures[7], pictures[3]])
    assert exact_duplicates(images) == near_duplicates(images) == [[3, 40, 42], [7, 41]]


def test_images_that_differ_in_one_pixel_are_near_duplicates() -> None:
    pictures = scenes()[:2]
    other = pictures[0].copy()
    red, green, blue = np.asarray(other)[0, 0].tolist()
    other.putpixel((0, 0), (red, green ^ 1, blue))
    images = set_of([*pictures, other])
    assert exact_duplicates(images) == []
    assert near_duplicates(images) == [[0, 2]]


def test_flat_images_are_not_near_duplicates() -> None:
    random = np.random.default_rng(1)
    faint = [Image.fromarray((128 + random.integers(0, 6, (SIDE, SIDE, 3))).astype(np.uint8)) for _ in range(20)]
    assert near_duplicates(set_of(faint)) == []


def test_indices_refer_to_the_set() -> None:
    pictures = scenes()[:6]
    chosen = set_of([*pictures, pictures[5]]).select(torch.tensor([5, 0, 6]))
    assert exact_duplicates(chosen) == near_duplicates(chosen) == [[0, 2]]


def by_all_pairs(images: ImageSet) -> list[list[int]]:
    """Reference implementation: compares all pairs of thumbnails and hashes in float64."""
    thumbs = thumbnails(images)
    bits = np.unpackbits(perceptual_hashes(thumbs).view(np.uint8).reshape(-1, 8), axis=1).astype(int)
    flat = (thumbs - thumbs.mean(1, keepdim=True)).double().numpy()
    contrast = np.sqrt((flat**2).mean(1))
    groups = list(range(len(flat)))
    for one in range(len(flat)):
        for other in range(one):
            difference = np.sqrt(((flat[one] - flat[other]) ** 2).mean())
            is_alike = difference <= min(0.05, 0.3 * min(contrast[one], contrast[other]) + 1e-6)
            if is_alike and (bits[one] != bits[other]).sum() <= 10:
                groups = [groups[one] if group == groups[other] else group for group in groups]
    places = [[i for i, group in enumerate(groups) if group == each] for each in sorted(set(groups))]
    return sorted((each for each in places if len(each) > 1), key=lambda each: (-len(each), each))


@pytest.mark.parametrize("piece", [7, 1024])
@pytest.mark.parametrize("kind", ["noisy copies", "steps of one scene", "flat", "equal"])
def test_groups_equal_those_of_comparing_all_pairs(kind: str, piece: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Includes pairs near both limits, groups that are chains, and hashes that many images share."""
    monkeypatch.setattr(duplicates, "COMPARED", piece)
    random = np.random.default_rng(2)
    coarse = random.integers(0, 256, (60, 3, 4, 4))
    base = np.repeat(np.repeat(coarse, 4, 2), 4, 3)
    noise = random.integers(-60, 61, (200, 3, 16, 16))
    pixels = {
        "noisy copies": base[random.integers(0, 60, 200)] + noise * random.integers(0, 4, (200, 1, 1, 1)) // 3,
        "steps of one scene": base[0] + np.linspace(0, 1, 200)[:, None, None, None] * (base[1] - base[0]),
        "flat": 128 + random.integers(0, 2, (200, 3, 16, 16)) * random.integers(0, 3, (200, 1, 1, 1)),
        "equal": base[random.integers(0, 5, 200)],
    }[kind]
    images = ImageSet.of(torch.from_numpy(pixels.clip(0, 255).astype(np.uint8)))
    expected = by_all_pairs(images)
    assert near_duplicates(images) == expected
    assert expected


def test_images_with_one_hash_can_be_in_several_groups() -> None:
    """Uses the same pattern with high and low contrast."""
    pattern = np.random.default_rng(3).integers(-100, 101, (3, 16, 16))
    strong, weak = (128 + pattern).astype(np.uint8), (128 + pattern // 3).astype(np.uint8)
    images = ImageSet.of(torch.from_numpy(np.stack([strong, strong, weak, weak, strong])))
    assert len(set(perceptual_hashes(thumbnails(images)).tolist())) == 1
    assert near_duplicates(images) == by_all_pairs(images) == [[0, 1, 4], [2, 3]]


def test_the_progress_counts_all_hashed_images(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(duplicates, "HASHED", 16)
    counts: list[int] = []
    near_duplicates(set_of(scenes()), counts.append)
    assert counts == [16, 16, 8]


def test_equal_images_are_only_compared_with_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    compared = 0

    def counted(ones: torch.Tensor, others: torch.Tensor) -> np.ndarray:
        nonlocal compared
        compared += len(others)
        return nearly_equal(ones, others)

    nearly_equal = duplicates._nearly_equal
    monkeypatch.setattr(duplicates, "_nearly_equal", counted)
    assert near_duplicates(set_of([scenes()[0]] * 1000)) == [[*range(1000)]]
    assert compared == 999


def test_thumbnails_are_computed_in_small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """The batch size depends on the size of the images."""
    read: list[int] = []
    floats = ImageSet.floats

    def counted(images: ImageSet) -> torch.Tensor:
        read.append(len(images))
        return floats(images)

    images = set_of(scenes())
    expected = thumbnails(images)
    monkeypatch.setattr(ImageSet, "floats", counted)
    monkeypatch.setattr(room, "MOST_PIXELS", 3 * SIDE * SIDE * 7)
    torch.testing.assert_close(thumbnails(images), expected, rtol=0, atol=0)
    assert read == [7] * 5 + [5]
