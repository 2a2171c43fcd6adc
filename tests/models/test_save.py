"""`sf.save` is the inverse of `sf.load`."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import sfumato as sf
from sfumato.diffusion.denoiser import Denoiser, PreconditionedDenoiser, predict_noise
from sfumato.errors import ConfigError, RunError
from sfumato.models import Model, images_seen
from sfumato.networks.custom import BUILDERS

pytestmark = pytest.mark.usefixtures("nothing_named")


@pytest.fixture
def nothing_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """No network is registered when a test begins."""
    monkeypatch.setattr(BUILDERS, "named", {})


class Net(nn.Module):
    """A network with statistics, a shared weight and a buffer."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.first, self.norm = nn.Conv2d(channels, 4, 1), nn.BatchNorm2d(4)
        self.last = nn.Conv2d(4, channels, 1)
        self.labels = nn.Embedding(classes + 1, 4)
        self.tied = self.labels
        self.register_buffer("scale", torch.tensor([1.5]))

    def forward(self, x: Tensor, time: Tensor, labels: Tensor | None) -> Tensor:
        """Three layers."""
        hidden = self.norm(self.first(x)) + (time / 1000)[:, None, None, None]
        if labels is not None:
            hidden = hidden + self.tied(labels + 1)[:, :, None, None]
        output: Tensor = self.last(torch.tanh(hidden)) * self.scale
        return output


SETTINGS = {
    "images": 32,
    "batch": 8,
    "width": 8,
    "multipliers": (1,),
    "blocks": (1,),
    "attention": (),
    "schedule": "linear:timesteps=50",
    "preview_count": 1,
    "preview_steps": 3,
    "validation_count": 10,
}


def trained(out: Path, network: type[nn.Module] | None = None, settings: dict[str, object] | None = None) -> Model:
    images = np.random.default_rng(0).integers(0, 256, (24, 8, 8, 3), dtype=np.uint8)
    labels = ["cat", "dog"] * 12
    result = sf.train(
        images, out, SETTINGS | (settings or {}), labels=labels, network=network, preset="tiny", device="cpu"
    )
    assert isinstance(result.model, Model)
    return result.model


def assert_same(one: Denoiser, other: Denoiser) -> None:
    """Equal weights, descriptions and samples."""
    assert isinstance(one, Model)
    assert isinstance(other, Model)
    assert one.config == other.config
    torch.testing.assert_close(one.state_dict(), other.state_dict(), rtol=0, atol=0)
    samples = [sf.sample(model, 3, labels=["cat", "dog", "cat"], steps=3, seed=4) for model in (one, other)]
    assert torch.equal(*samples)


@pytest.mark.parametrize("network", [None, Net])
def test_a_loaded_model_equals_the_saved_one(network: type[nn.Module] | None, tmp_path: Path) -> None:
    """From training, from a run, from where it was saved and from a copy."""
    model = trained(tmp_path / "run", network)
    loaded = sf.load(tmp_path / "run", network=network)
    assert_same(model, loaded)
    assert (loaded.training, loaded.images_seen) == (False, 32)
    sf.save(loaded, tmp_path / "saved")
    assert sorted(path.name for path in (tmp_path / "saved").iterdir()) == ["config.json", "model.safetensors"]
    for name in ("config.json", "model.safetensors"):
        assert (tmp_path / "saved" / name).read_bytes() == (tmp_path / "run" / "model" / name).read_bytes()
    shutil.copytree(tmp_path / "saved", tmp_path / "copy")
    shutil.rmtree(tmp_path / "saved")
    again = sf.load(tmp_path / "copy", network=network)
    assert_same(again, model)
    assert (images_seen(tmp_path / "copy"), again.images_seen) == (32, 32)
    sf.save(again, tmp_path / "a" / "b" / "c")
    assert_same(sf.load(tmp_path / "a" / "b" / "c", network=network), model)


def test_a_training_result_is_saved_with_its_images_seen(tmp_path: Path) -> None:
    sf.save(trained(tmp_path / "run"), tmp_path / "saved")
    assert images_seen(tmp_path / "saved") == 32
    assert_same(sf.load(tmp_path / "saved"), sf.load(tmp_path / "run"))


def test_saving_uses_no_random_numbers(tmp_path: Path) -> None:
    model = trained(tmp_path / "run", Net)
    before = torch.get_rng_state()
    sf.save(model, tmp_path / "model")
    sf.save(model, tmp_path / "model")
    assert torch.equal(torch.get_rng_state(), before)


def test_the_weights_of_a_changed_model_are_saved(tmp_path: Path) -> None:
    model = sf.load(trained_run(tmp_path))
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(0.5)
    model.network.to(memory_format=torch.channels_last)
    sf.save(model.train(), tmp_path / "saved")
    assert_same(sf.load(tmp_path / "saved"), model.eval())
    assert not sf.load(tmp_path / "saved").training


def trained_run(tmp_path: Path) -> Path:
    trained(tmp_path / "run", settings={"images": 8})
    return tmp_path / "run"


def test_a_saved_custom_network_must_be_named_to_be_loaded(tmp_path: Path) -> None:
    sf.save(trained(tmp_path / "run", Net), tmp_path / "saved")
    BUILDERS.named.clear()
    with pytest.raises(ConfigError, match=r"test_save:Net, whose code is not part of sfumato\. Read that code first"):
        sf.load(tmp_path / "saved")


def test_an_existing_model_is_replaced_and_other_files_are_kept(tmp_path: Path) -> None:
    first = trained(tmp_path / "first", settings={"images": 8})
    second = trained(tmp_path / "second", settings={"images": 8, "width": 16})
    for model in (first, second, first):
        sf.save(model, tmp_path / "saved")
        (tmp_path / "saved" / "README.md").touch()
        assert_same(sf.load(tmp_path / "saved"), model)
    assert (tmp_path / "saved" / "README.md").is_file()


WRAPPED: dict[str, Callable[[Model], Denoiser]] = {
    "ClassifierFree": lambda model: sf.guidance.ClassifierFree(model, 2.0),
    "AutoGuided": lambda model: sf.guidance.AutoGuided(model, model, 2.0),
    "Mixture": lambda _: sf.analytic.gaussian(sf.schedules.LinearBeta(50), torch.zeros(3, 8, 8), 1.0),
    "PreconditionedDenoiser": lambda model: PreconditionedDenoiser(
        model.network, model.schedule, predict_noise, model.image_shape
    ),
}


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("kind", WRAPPED)
def test_wrapped_and_hand_built_models_are_rejected(kind: str, tmp_path: Path) -> None:
    denoiser = WRAPPED[kind](sf.load(trained_run(tmp_path)))
    with pytest.raises(
        ConfigError, match=rf"a {kind} cannot be saved\. Save the model from sf\.load or sf\.train, without"
    ):
        sf.save(denoiser, tmp_path / "saved")  # type: ignore[arg-type]
    assert not (tmp_path / "saved").exists()


def test_accelerated_and_converted_models_are_rejected(tmp_path: Path) -> None:
    model = sf.load(trained_run(tmp_path))
    fast = sf.accelerated(model, 2, precision="bfloat16")
    message = r"the model (has|lacks) .*\. Save the model from sf\.load or sf\.train, without changes of its network"
    for changed in (fast, deepcopy(model).double()):
        with pytest.raises(ConfigError, match=message):
            sf.save(changed, tmp_path / "saved")  # type: ignore[arg-type]
        assert not (tmp_path / "saved").exists()


@pytest.mark.parametrize("part", [".", "model", "best"])
def test_saving_into_a_run_directory_is_rejected(part: str, tmp_path: Path) -> None:
    run = trained_run(tmp_path)
    model = sf.load(run)
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    with torch.no_grad():
        next(model.parameters()).add_(1)
    with pytest.raises(RunError, match=r"is a run directory or part of one, .*Choose another folder"):
        sf.save(model, run / part)
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before


def test_a_folder_that_cannot_be_created_is_reported(tmp_path: Path) -> None:
    model = sf.load(trained_run(tmp_path))
    (tmp_path / "file").write_text("kept")
    with pytest.raises(RunError, match="file"):
        sf.save(model, tmp_path / "file")
    with pytest.raises(RunError, match="file"):
        sf.save(model, tmp_path / "file" / "inside")
    assert (tmp_path / "file").read_text() == "kept"


def test_weights_that_are_not_finite_replace_nothing(tmp_path: Path) -> None:
    model = sf.load(trained_run(tmp_path))
    sf.save(model, tmp_path / "saved")
    other = trained(tmp_path / "other", settings={"images": 8, "width": 16})
    with torch.no_grad():
        next(other.parameters()).fill_(torch.nan)
    with pytest.raises(ConfigError, match=r"the model contains values in .* that are not finite"):
        sf.save(other, tmp_path / "saved")
    assert_same(sf.load(tmp_path / "saved"), model)
