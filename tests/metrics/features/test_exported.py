"""Networks from files: what they say of images, and what is said of files that are none."""

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
    assert features.look(several).logits is None


def test_of_two_outputs_the_first_is_logits_and_the_second_features(tmp_path: Path) -> None:
    features = features_for(exported(classifier, tmp_path / "judge.pt2", images(2, 3, 8)))
    several = images(70, 3, 8)
    look = features.look(several)
    assert (features.width, features.classes) == (3, 2)
    assert look.logits is not None
    torch.testing.assert_close(look.features, several.mean((2, 3)))
    torch.testing.assert_close(look.logits, 2 * several.mean((2, 3))[:, :2])
    assert (features(several) == look.features).all()


@pytest.mark.parametrize("count", [1, 64, 65])
def test_any_number_of_images_is_looked_at(tmp_path: Path, count: int) -> None:
    features = features_for(exported(classifier, tmp_path / "judge.pt2", images(4, 3, 8)))
    assert features(images(count, 3, 8)).shape == (count, 3)


def test_images_are_brought_to_the_networks_size_and_to_rgb(tmp_path: Path) -> None:
    features = features_for(exported(corner, tmp_path / "corner.pt2", images(2, 3, 4)))
    halves = torch.tensor([-1.0, 1.0]).repeat(4).expand(2, 1, 8, 8)
    found = features(halves)
    assert found.shape == (2, 3)
    assert found.abs().max() < 0.5  # an average, not a pixel


def test_a_network_of_any_size_sees_images_as_they_are(tmp_path: Path) -> None:
    features = features_for(exported(corner, tmp_path / "corner.pt2", images(2, 3, 8), free=(0, 2, 3)))
    for side in (8, 16):
        several = images(3, 3, side)
        assert (features(several) == several[:, :, 0, 0]).all()


def test_a_name_is_of_the_file_and_its_content(tmp_path: Path) -> None:
    first = features_for(exported(means, tmp_path / "net.pt2", images(2, 3, 8))).name
    again = features_for(tmp_path / "net.pt2").name
    other = features_for(exported(corner, tmp_path / "net.pt2", images(2, 3, 8))).name
    assert first == again != other
    assert first.startswith("net-")


class Two(nn.Module):
    """Wants two inputs."""

    def forward(self, images: Tensor, others: Tensor) -> Tensor:
        """The means of both."""
        return means(images + others)


def test_a_network_whose_features_are_nan_is_blamed(tmp_path: Path) -> None:
    features = features_for(exported(lambda images: means(images / 0), tmp_path / "net.pt2", images(2, 3, 8)))
    with pytest.raises(DataError, match=r"net-\w+ of 5 of 5 images are NaN.*look at the network"):
        features(images(5, 3, 8))


def test_a_network_that_takes_or_gives_something_else_is_refused(tmp_path: Path) -> None:
    two = tmp_path / "two.pt2"
    torch.export.save(torch.export.export(Two(), (images(2, 3, 8), images(2, 3, 8))), two)
    for file, message in (
        (exported(means, tmp_path / "grey.pt2", images(2, 1, 8)), r"takes \(\?, 1, 8, 8\) instead of images"),
        (exported(means, tmp_path / "flat.pt2", images(2, 3, 8), free=()), r"only batches of 2 images"),
        (exported(lambda images: images * 2, tmp_path / "picture.pt2", images(2, 3, 8)), r"gives \(\?, 3, 8, 8\)"),
        (
            exported(lambda images: (means(images),) * 3, tmp_path / "three.pt2", images(2, 3, 8)),
            r"(\(\?, 3\)(, )?){3}",
        ),
        (two, r"takes \(\) instead"),
    ):
        with pytest.raises(RunError, match=message):
            features_for(file)


def test_a_network_that_fails_says_on_what(tmp_path: Path) -> None:
    def picky(images: Tensor) -> Tensor:
        torch._check(images.shape[2] <= 16)
        return means(images)

    features = features_for(exported(picky, tmp_path / "picky.pt2", images(2, 3, 8), free=(0, 2, 3)))
    with pytest.raises(RunError, match=r"picky.pt2 fails on 2 RGB images of 32 x 32 pixels: .*Export one that"):
        features(images(2, 3, 32))


def test_a_file_that_is_no_network_is_refused_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "text.pt2").write_text("hello")
    torch.save({"a": torch.ones(2)}, tmp_path / "weights.pt2")
    whole = exported(means, tmp_path / "whole.pt2", images(2, 3, 8)).read_bytes()
    (tmp_path / "half.pt2").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "folder.pt2").mkdir()
    for name, message in (
        ("text", "is not a network that torch.export.save wrote"),
        ("weights", "is not a network that torch.export.save wrote"),
        ("half", "is not a network that torch.export.save wrote"),
        ("folder", "is not there"),
        ("missing", "is not there"),
    ):
        with pytest.raises(RunError, match=message):
            features_for(tmp_path / f"{name}.pt2")


def test_a_foreign_file_prints_no_traceback(tmp_path: Path) -> None:
    torch.save({"a": torch.ones(2)}, tmp_path / "weights.pt2")
    code = (
        "import sys\nfrom sfumato.errors import RunError\nfrom sfumato.metrics.features import features_for\n"
        "try:\n    features_for(sys.argv[1])\nexcept RunError:\n    pass\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "weights.pt2")], capture_output=True, text=True, check=True
    )
    assert done.stdout + done.stderr == ""
