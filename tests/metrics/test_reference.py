"""Features and moments of a set are read from the cache if valid, and computed otherwise."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from jaxtyping import Float32
from torch import Tensor

from metrics.features.networks import images
from sfumato.data import ImageSet
from sfumato.errors import DataError
from sfumato.metrics import Features, Moments, NetworkOutput, features_for, features_of, reference, reference_moments
from sfumato.utils.depth import EIGHT_BITS


class Counting(Features):
    """Channel means; counts the images."""

    name, width = "counting", 3

    def __init__(self) -> None:
        self.seen = 0

    def _outputs(self, images: Float32[Tensor, "n c h w"]) -> NetworkOutput:
        self.seen += len(images)
        return NetworkOutput(images.mean((2, 3)), None)


def image_set(count: int, seed: int = 0) -> ImageSet:
    return ImageSet.of(EIGHT_BITS.to_pixels(images(count, 3, 8, seed)))


def rows(some: ImageSet, features: Features, cache: Path) -> Tensor:
    """Cached features of a set, as one tensor."""
    return features_of(some, features, cache=cache)


def moments(some: ImageSet, features: Features, cache: Path) -> Tensor:
    """Cached moments of a set, as one tensor."""
    found = reference_moments(some, features, cache=cache)
    return torch.cat([torch.tensor([found.count]).double(), found.mean, found.scatter.flatten()])


KINDS = pytest.mark.parametrize("kept", [rows, moments])
Kept = Callable[[ImageSet, Features, Path], Tensor]


def test_features_and_moments_are_those_of_all_images_in_order(tmp_path: Path) -> None:
    some = image_set(600)
    found = features_of(some, Counting(), cache=tmp_path)
    torch.testing.assert_close(found, some.floats().mean((2, 3)))
    right = Moments.of(some.floats().mean((2, 3)))
    streamed = reference_moments(some, Counting(), cache=tmp_path)
    torch.testing.assert_close(streamed.covariance, right.covariance, rtol=1e-6, atol=1e-9)
    torch.testing.assert_close(streamed.mean, right.mean, rtol=1e-6, atol=1e-7)


@KINDS
def test_a_second_call_computes_nothing(tmp_path: Path, kept: Kept) -> None:
    features = Counting()
    first = kept(image_set(300), features, tmp_path)
    assert (kept(image_set(300), features, tmp_path) == first).all()
    assert features.seen == 300


@KINDS
def test_other_images_and_other_features_are_not_confused(tmp_path: Path, kept: Kept) -> None:
    features = Counting()
    first = kept(image_set(300), features, tmp_path)
    assert (kept(image_set(300, seed=1), features, tmp_path) != first).any()
    assert kept(image_set(300), features_for("pixels"), tmp_path).shape != first.shape
    assert features.seen == 600


@KINDS
@pytest.mark.parametrize("harm", [lambda whole: whole[:-9], lambda _: b"", lambda whole: whole[:-1] + b"!"])
def test_an_invalid_file_is_replaced(tmp_path: Path, kept: Kept, harm: Callable[[bytes], bytes]) -> None:
    features = Counting()
    first = kept(image_set(300), features, tmp_path)
    (file,) = tmp_path.rglob("*.safetensors")
    file.write_bytes(harm(file.read_bytes()))
    for _ in range(2):
        assert (kept(image_set(300), features, tmp_path) == first).all()
    assert features.seen == 600


@KINDS
def test_files_of_earlier_versions_are_not_used(tmp_path: Path, kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    features = Counting()
    kept(image_set(300), features, tmp_path)
    monkeypatch.setattr(reference, "CACHE_FORMAT", "sfumato features 2")
    kept(image_set(300), features, tmp_path)
    assert features.seen == 600


def test_progress_counts_computed_and_cached_images(tmp_path: Path) -> None:
    for _ in range(2):
        counts: list[int] = []
        features_of(image_set(300), Counting(), cache=tmp_path, on_images=counts.append)
        assert sum(counts) == 300


def test_an_empty_set_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no images to compute features of"):
        features_of(image_set(3).select(torch.arange(0)), Counting(), cache=tmp_path)
