"""Features of networks in .pt2 files, and errors for invalid files."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from metrics.features.networks import classifier, corner, exported, images, means
from sfumato.errors import DataError, RunError
from sfumato.metrics.features import features_for


def test_the_only_output_is_the_features(tmp_path: Path) -> None:
    features = features_for(exported(means, tmp_path / "means.pt2", images(2, 3, 8)))
    several = images(70, 3, 8)
    assert (features.width, features.classes) == (3, 0)
    torch.testing.assert_close(features(several), several.mean((2, 3)))
    assert features.outputs(several).logits is None


def test_two_outputs_are_logits_and_features(tmp_path: Path) -> None:
    features = features_for(exported(classifier, tmp_path / "judge.pt2", images(2, 3, 8)))
    several = images(70, 3, 8)
    found = features.outputs(several)
    assert (features.width, features.classes) == (3, 2)
    assert found.logits is not None
    torch.testing.assert_close(found.features, several.mean((2, 3)))
    torch.testing.assert_close(found.logits, 2 * several.mean((2, 3))[:, :2])
    assert (features(several) == found.features).all()


@pytest.mark.parametrize("count", [1, 64, 65])
def test_any_number_of_images_is_supported(tmp_path: Path, count: int) -> None:
    features = features_for(exported(classifier, tmp_path / "judge.pt2", images(4, 3, 8)))
    assert features(images(count, 3, 8)).shape == (count, 3)


def test_images_are_converted_to_rgb_and_the_size_of_the_network(tmp_path: Path) -> None:
    features = features_for(exported(corner, tmp_path / "corner.pt2", images(2, 3, 4)))
    halves = torch.tensor([-1.0, 1.0]).repeat(4).expand(2, 1, 8, 8)
    found = features(halves)
    assert found.shape == (2, 3)
    assert found.abs().max() < 0.5  # an average of pixels


def test_images_are_not_resized_for_a_network_of_any_size(tmp_path: Path) -> None:
    features = features_for(exported(corner, tmp_path / "corner.pt2", images(2, 3, 8), free=(0, 2, 3)))
    for side in (8, 16):
        several = images(3, 3, side)
        assert (features(several) == several[:, :, 0, 0]).all()


def test_the_name_depends_on_the_file_name_and_content(tmp_path: Path) -> None:
    first = features_for(exported(means, tmp_path / "net.pt2", images(2, 3, 8))).name
    again = features_for(tmp_path / "net.pt2").name
    other = features_for(exported(corner, tmp_path / "net.pt2", images(2, 3, 8))).name
    assert first == again != other
    assert first.startswith("net-")


class Two(nn.Module):
    """A network with two inputs."""

    def forward(self, images: Tensor, others: Tensor) -> Tensor:
        """Channel means of the sum."""
        return means(images + others)


def test_nan_features_are_rejected(tmp_path: Path) -> None:
    features = features_for(exported(lambda images: means(images / 0), tmp_path / "net.pt2", images(2, 3, 8)))
    with pytest.raises(DataError, match=r"net-\w+ of 5 of 5 images are NaN.*check the weights"):
        features(images(5, 3, 8))


def test_a_network_with_other_inputs_or_outputs_is_rejected(tmp_path: Path) -> None:
    two = tmp_path / "two.pt2"
    torch.export.save(torch.export.export(Two(), (images(2, 3, 8), images(2, 3, 8))), two)
    for file, message in (
        (exported(means, tmp_path / "grey.pt2", images(2, 1, 8)), r"has the input \(\?, 1, 8, 8\) instead of images"),
        (exported(means, tmp_path / "flat.pt2", images(2, 3, 8), free=()), r"only supports batches of 2 images"),
        (
            exported(lambda images: images * 2, tmp_path / "picture.pt2", images(2, 3, 8)),
            r"has the outputs \(\?, 3, 8, 8\)",
        ),
        (
            exported(lambda images: (means(images),) * 3, tmp_path / "three.pt2", images(2, 3, 8)),
            r"(\(\?, 3\)(, )?){3}",
        ),
        (two, r"has the input \(\) instead"),
    ):
        with pytest.raises(RunError, match=message):
            features_for(file)


def test_the_failure_of_a_network_is_reported_with_the_image_size(tmp_path: Path) -> None:
    def picky(images: Tensor) -> Tensor:
        torch._check(images.shape[2] <= 16)
        return means(images)

    features = features_for(exported(picky, tmp_path / "picky.pt2", images(2, 3, 8), free=(0, 2, 3)))
    with pytest.raises(RunError, match=r"picky.pt2 fails on 2 RGB images of 32 x 32 pixels: .*Export a network"):
        features(images(2, 3, 32))


def test_an_invalid_file_is_rejected(tmp_path: Path) -> None:
    (tmp_path / "text.pt2").write_text("hello")
    torch.save({"a": torch.ones(2)}, tmp_path / "weights.pt2")
    whole = exported(means, tmp_path / "whole.pt2", images(2, 3, 8)).read_bytes()
    (tmp_path / "half.pt2").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "folder.pt2").mkdir()
    for name, message in (
        ("text", "is not a network from torch.export.save"),
        ("weights", "is not a network from torch.export.save"),
        ("half", "is not a network from torch.export.save"),
        ("folder", "does not exist"),
        ("missing", "does not exist"),
    ):
        with pytest.raises(RunError, match=message):
            features_for(tmp_path / f"{name}.pt2")


def test_an_invalid_file_prints_no_traceback(tmp_path: Path) -> None:
    torch.save({"a": torch.ones(2)}, tmp_path / "weights.pt2")
    code = (
        "import sys\nfrom sfumato.errors import RunError\nfrom sfumato.metrics.features import features_for\n"
        "try:\n    features_for(sys.argv[1])\nexcept RunError:\n    pass\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "weights.pt2")], capture_output=True, text=True, check=True
    )
    assert done.stdout + done.stderr == ""
