"""Writing of folders of diffusers: the kind of the folder, the checks of the model, and a full disk."""

from __future__ import annotations

import os
import subprocess
import sys
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from sfumato.data import ImageSet
from sfumato.errors import ConfigError
from sfumato.exchange.export import export
from sfumato.exchange.to_diffusers import VERSION, write_diffusers
from sfumato.models import Model, ModelConfig, save
from sfumato.networks.custom import BUILDERS, CustomConfig, register_network
from sfumato.training.architecture import model_for
from sfumato.training.presets import config_for
from sfumato.utils.depth import SIXTEEN_BITS, Depth

from .conftest import build, convnet, unet
from .test_own_folders import weaker_than

STOCK = unet(128, multipliers=(1,), attention_levels=())
ROOT = Path(__file__).parents[2]


def loaded_by(text: str, folder: Path) -> Any:  # noqa: ANN401 (diffusers)
    """The result of the line of Python at the end of a text of `write_diffusers`."""
    from diffusers import DDPMPipeline, DiffusionPipeline

    line = text.rpartition("Load it with: ")[2].replace("{out}", str(folder))
    return eval(line, {"DDPMPipeline": DDPMPipeline, "DiffusionPipeline": DiffusionPipeline})


def test_the_preset_ddpm_without_classes_has_stock_classes(tmp_path: Path) -> None:
    """With the network of the preset, whose estimates are the same."""
    images = ImageSet.of(torch.zeros(1, 3, 8, 8, dtype=torch.uint8))
    config = model_for(config_for("", preset="ddpm"), images)
    model = build(config.network, config.schedule, config.parametrization)
    assert model.config == config
    text = write_diffusers(model, None, tmp_path)
    assert text.startswith("Pipeline of stock classes of diffusers (UNet2DModel, DDPMScheduler). Load it with: DDPMP")
    pipeline = loaded_by(text, tmp_path)
    assert type(pipeline).__name__ == "DDPMPipeline"
    steps = torch.arange(0, 1000, 111)
    x = torch.randn(len(steps), 3, 8, 8, generator=torch.Generator().manual_seed(1))
    times = model.schedule.network_time((steps.double() + 1) / 1000).float()
    with torch.no_grad():
        torch.testing.assert_close(pipeline.unet(x, steps).sample, model.network(x, times), atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (build(replace(STOCK, classes=2)), "classes"),
        (build(replace(STOCK, columns=(2, 0))), "conditions"),
        (build(STOCK, depth=SIXTEEN_BITS), "uint16 images"),
        (build(replace(STOCK, image_channels=4), depth=Depth(opacity=True)), "uint8 images with opacity"),
        (build(STOCK, "linear", "edm"), "the parametrization edm"),
        (build(STOCK, shift=2.0), "a shift of the schedule"),
        (build(unet(128), size=(8, 7)), "8x7 pixels, which 2 levels cannot halve exactly"),
        (build(unet(64)), "group norms with different numbers of groups"),
        (build(convnet(), "edm", "edm"), "the ConvNet, the schedule edm, the parametrization edm"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_the_text_names_why_there_is_a_pipeline_of_its_own(model: Model, reason: str, tmp_path: Path) -> None:
    text = write_diffusers(model, None, tmp_path)
    assert text.startswith(f"Pipeline with its own code, because DDPMPipeline does not support {reason}. Load it with:")
    assert type(loaded_by(text, tmp_path)).__name__ == "SfumatoPipeline"


def test_a_guidance_checkpoint_has_a_pipeline_of_its_own(tmp_path: Path) -> None:
    model = build(STOCK)
    text = write_diffusers(model, weaker_than(model), tmp_path)
    assert "because DDPMPipeline does not support a guidance checkpoint. " in text


def not_finite(model: Model) -> Model:
    """The model with a NaN."""
    next(model.network.parameters()).data.view(-1)[0] = torch.nan
    return model


def double(model: Model) -> Model:
    """The model in float64."""
    return deepcopy(model).double()


def replaced(model: Model) -> Model:
    """The model with another network."""
    model.network = nn.Conv2d(3, 3, 1)
    return model


@pytest.mark.parametrize("changed", [not_finite, double, replaced])
@pytest.mark.parametrize("network", [STOCK, unet()], ids=["stock", "own"])
def test_changed_models_are_not_exported(network: Any, changed: Any, tmp_path: Path) -> None:  # noqa: ANN401
    """Such folders could not be imported, or compute something else."""
    message = r"^the model .*\. Export the model from sf\.load or sf\.train, without changes of its network\.$"
    with pytest.raises(ConfigError, match=message):
        export(changed(build(network)), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_changed_guidance_checkpoint_is_not_exported(tmp_path: Path) -> None:
    model = build(unet())
    with pytest.raises(ConfigError, match=r"^the guidance checkpoint contains values in .* not finite"):
        export(model, tmp_path / "out", guidance_checkpoint=not_finite(weaker_than(model)))


@pytest.mark.parametrize(
    "weaker", [build(convnet()), build(unet(16)), build(unet(), "cosine"), build(unet(), parametrization="data")]
)
def test_a_guidance_checkpoint_of_another_model_is_not_exported(weaker: Model, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="guidance checkpoint has another configuration than the model"):
        export(build(unet()), tmp_path / "out", guidance_checkpoint=weaker)


def test_a_custom_network_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(BUILDERS, "named", {})
    network = CustomConfig(register_network(lambda channels: nn.Conv2d(channels, channels, 1)), 3, (8, 8))
    model = Model(ModelConfig(network, "linear", False, 1.0, "noise", (3, 8, 8), ()))
    with pytest.raises(ConfigError, match=r"not part of sfumato and .*\. Export it with --to onnx or --to web"):
        write_diffusers(model, None, tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(sys.platform == "win32", reason="needs ulimit")
def test_a_full_disk_is_an_error_with_a_remedy(tmp_path: Path) -> None:
    """With a limit of the operating system, because safetensors has errors of its own."""
    save(build(unet(64)), tmp_path / "model")
    command = 'ulimit -f 200; exec "$@"'
    sfumato = [sys.executable, "-m", "sfumato", "export", str(tmp_path / "model"), str(tmp_path / "out")]
    done = subprocess.run(
        ["bash", "-c", command, "bash", *sfumato], capture_output=True, text=True, env=dict(os.environ)
    )
    assert done.returncode == 2, done.stderr
    assert "out could not be written: File too large. Free disk space" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_the_version_is_the_one_of_the_tests() -> None:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    assert f"diffusers=={VERSION}" in lines
