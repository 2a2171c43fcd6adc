"""Weights of Inception and DINOv2: their location, and errors if they are missing."""

import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import Tensor, nn

from metrics.features.networks import images
from sfumato.errors import RunError
from sfumato.metrics.features import features_for, inception
from sfumato.metrics.features.inception import FILE


class Extractor(nn.Module):
    """Replacement of the extractor of torch-fidelity: reads weights, and maps uint8 images to a tuple."""

    def __init__(self, name: str, features_list: list[str], feature_extractor_weights_path: str) -> None:
        super().__init__()
        assert (name, features_list) == ("inception-v3-compat", ["2048"])
        self.scale = nn.Parameter(torch.zeros(1), requires_grad=False)
        self.load_state_dict(torch.load(feature_extractor_weights_path, weights_only=True))

    def forward(self, pixels: Tensor) -> tuple[Tensor]:
        """Mean of each image."""
        assert pixels.dtype == torch.uint8
        assert pixels.shape[1] == 3
        return (self.scale * pixels.float().mean((1, 2, 3))[:, None].expand(-1, 2048),)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Cache folder of torch, and a replacement of torch-fidelity."""
    module = ModuleType("torch_fidelity.feature_extractor_inceptionv3")
    module.FeatureExtractorInceptionV3 = Extractor  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torch_fidelity", ModuleType("torch_fidelity"))
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    (tmp_path / "checkpoints").mkdir()
    return tmp_path / "checkpoints"


def test_images_are_rounded_to_eight_bits_for_inception(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.save({"scale": torch.ones(1)}, cache / FILE)
    monkeypatch.setattr(inception, "content_digest", lambda _: "6726825d")
    features = features_for("inception")
    assert features.name == "inception"
    found = features(torch.tensor([-1.0, 1.0, -0.5]).reshape(3, 1, 1, 1).expand(3, 1, 8, 8))
    assert found[:, 0].tolist() == [0, 255, 64]  # 0.25 * 255 = 63.75


def test_other_weights_have_another_name(cache: Path) -> None:
    torch.save({"scale": torch.ones(1)}, cache / "mine.pth")
    assert features_for("inception", cache / "mine.pth").name.startswith("inception-")


def test_missing_weights_are_reported_with_url_and_path(cache: Path) -> None:
    with pytest.raises(RunError, match=rf"not in {cache / FILE}\. Download https://\S+ to this path.*--weights"):
        features_for("inception")


class Trap:
    """Creates a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return (Path.touch, (self.path,))


def test_files_without_weights_are_rejected_and_not_executed(cache: Path) -> None:
    (cache / "text.pth").write_text("hello")
    torch.save({"scale": torch.ones(3)}, cache / "other.pth")
    torch.save(Trap(cache / "ran"), cache / "trap.pth")
    for name, message in (
        ("text", "is not a file of weights"),
        ("trap", "is not a file of weights"),
        ("other", "does not hold the weights of Inception"),
    ):
        with pytest.raises(RunError, match=message):
            features_for("inception", cache / f"{name}.pth")
    assert not (cache / "ran").exists()


@pytest.mark.parametrize("name", ["inception", "dinov2"])
def test_a_missing_library_is_reported_with_the_install_command(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("torch_fidelity", "torch_fidelity.feature_extractor_inceptionv3", "transformers"):
        monkeypatch.setitem(sys.modules, module, None)
    (tmp_path / "weights.pth").touch()
    with pytest.raises(RunError, match=r"need.* pip install 'sfumato\["):
        features_for(name, tmp_path / "weights.pth")


def test_dinov2_is_read_from_a_folder(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    config = transformers.Dinov2Config(hidden_size=8, num_hidden_layers=1, num_attention_heads=2, image_size=28)
    network = transformers.Dinov2Model(config).eval()
    network.save_pretrained(tmp_path)
    features = features_for("dinov2", tmp_path)
    several = images(3, 3, 224)
    found = features(several)
    assert features.name.startswith("dinov2-")
    assert found.shape == (3, 8)
    normal = ((several + 1) / 2 - torch.tensor([0.485, 0.456, 0.406]).reshape(3, 1, 1)) / torch.tensor(
        [0.229, 0.224, 0.225]
    ).reshape(3, 1, 1)
    with torch.no_grad():
        expected = network(normal).last_hidden_state[:, 0]
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_missing_dinov2_weights_suggest_the_download_command(tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    with pytest.raises(RunError, match=rf"not in {tmp_path}\. Download them with: hf download"):
        features_for("dinov2", tmp_path)
