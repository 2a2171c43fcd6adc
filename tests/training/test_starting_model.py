"""Fine-tuning with `--from`: network and weights of another model, other data, classes and budget."""

from __future__ import annotations

import gc
import re
import shutil
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import sfumato as sf
from sfumato.cli import parse
from sfumato.cli.train import Train
from sfumato.data.in_memory import from_arrays
from sfumato.errors import ConfigError, RunError
from sfumato.models import Model
from sfumato.networks.unet import UNetConfig
from sfumato.training import loop
from sfumato.training.presets import config_for
from sfumato.training.run_directory import read_record
from sfumato.training.starting_model import starting_model
from sfumato.training.validation import Validation

SMALL: dict[str, Any] = {"batch": 4, "preview_count": 2, "preview_steps": 5, "validation_count": 10}
UNET = SMALL | {"width": 8, "multipliers": (1, 2), "blocks": (1,), "attention": (4,), "schedule": "flow"}
UNET |= {"parametrization": "velocity"}
CONVNET = SMALL | {"backbone": "convnet", "width": 8, "multipliers": (1, 2), "blocks": (1, 1), "attention": (8,)}
CONVNET |= {"schedule": "edm", "parametrization": "edm", "patch": 1}


def pixels(count: int = 12, size: int = 8, channels: int = 3) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, size, size, channels), dtype=np.uint8)


def trained(out: Path, settings: dict[str, Any], labels: Any = None, images: int = 8, **data: int) -> Model:  # noqa: ANN401
    """A run of few steps, and its model."""
    source = from_arrays(pixels(**data), labels)
    sf.train(source, out, {"images": images, **settings}, preset="tiny", device="cpu", progress=False)
    model = sf.load(out)
    assert isinstance(model, Model)
    return model


@pytest.fixture(scope="module", params=["unet", "convnet"])
def origin(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with the classes a and b; read only."""
    out = tmp_path_factory.mktemp("origin") / "run"
    trained(out, UNET if request.param == "unet" else CONVNET, ["a", "b"] * 6)
    return out


def initial(out: Path, settings: dict[str, Any], *arguments: Any, **data: Any) -> Model:  # noqa: ANN401
    """The model of a run that was stopped before its first step."""
    source = from_arrays(pixels(**data), *arguments)
    result = sf.train(
        source,
        out,
        {"images": 8, **settings},
        preset="tiny",
        device="cpu",
        progress=False,
        should_stop=lambda: True,
    )
    assert isinstance(result.model, Model)
    return result.model


def estimates(model: Model, label: int | None) -> Tensor:
    """Estimates at three times."""
    x = torch.randn(3, *model.image_shape, generator=torch.Generator().manual_seed(0))
    times = torch.tensor([0.2, 0.5, 0.9], dtype=torch.float64)
    labels = None if label is None else torch.full((3,), label)
    with torch.no_grad():
        found: Tensor = model(x, times, labels)
    return found


def test_a_run_starts_with_the_weights_of_the_model(origin: Path, tmp_path: Path) -> None:
    before = sf.load(origin)
    model = initial(tmp_path / "run", SMALL | {"from": str(origin)}, ["a", "b"] * 6)
    assert model.config == before.config
    for label in (None, 0, 1):
        torch.testing.assert_close(estimates(model, label), estimates(before, label))


def test_the_patch_size_is_that_of_the_model(tmp_path: Path) -> None:
    """And not that of the preset."""
    before = trained(tmp_path / "one", CONVNET | {"patch": 2, "attention": (4,)})
    assert initial(tmp_path / "two", SMALL | {"from": tmp_path / "one"}).config == before.config


def test_known_classes_are_kept_and_new_ones_begin_without_a_class(origin: Path, tmp_path: Path) -> None:
    before = sf.load(origin)
    model = initial(tmp_path / "run", SMALL | {"from": str(origin)}, ["b", "c", "d"] * 4)
    torch.testing.assert_close(estimates(model, 0), estimates(before, 1))
    torch.testing.assert_close(estimates(model, 2), estimates(before, None))
    assert "New, without an embedding in the model: c, d." in (tmp_path / "run" / "log.txt").read_text(encoding="utf-8")


def test_classes_may_be_left_out(origin: Path, tmp_path: Path) -> None:
    model = initial(tmp_path / "run", SMALL | {"from": str(origin)})
    torch.testing.assert_close(estimates(model, None), estimates(sf.load(origin), None), atol=1e-5, rtol=1e-5)


def test_columns_may_replace_classes(origin: Path, tmp_path: Path) -> None:
    columns = {"age": [1.5, 2.5, 3.5] * 4, "kind": ["x", "y"] * 6}
    model = initial(tmp_path / "one", SMALL | {"from": str(origin)}, columns)
    torch.testing.assert_close(estimates(model, None), estimates(sf.load(origin), None), atol=1e-5, rtol=1e-5)
    trained(tmp_path / "two", SMALL | {"from": str(origin)}, columns)
    others = {"kind": ["x", "y"] * 6, "mass": [0.5, 1.5] * 6}
    again = initial(tmp_path / "three", SMALL | {"from": str(tmp_path / "two")}, others)
    two = sf.load(tmp_path / "two")
    assert [column.name for column in again.columns] == ["kind", "mass"]
    torch.testing.assert_close(estimates(again, None), estimates(two, None), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("augment", [0.0, 0.2])
def test_size_augmentation_and_budget_may_differ(origin: Path, augment: float, tmp_path: Path) -> None:
    settings = SMALL | {"from": str(origin), "augment": augment}
    model = trained(tmp_path / "run", settings, ["a", "b"] * 6, size=16)
    assert model.image_shape == (3, 16, 16)
    assert (model.config.network.augmentation > 0) == (augment > 0)  # type: ignore[union-attr]
    assert read_record(tmp_path / "run").config.network.start == str(origin)


def test_augmented_images_begin_as_images_without_augmentation(origin: Path, tmp_path: Path) -> None:
    model = initial(tmp_path / "run", SMALL | {"from": origin, "augment": 0.2})
    (weight,) = (weight for name, weight in model.named_parameters() if name.endswith("augmentation.weight"))
    assert not weight.any()


def test_images_may_have_other_channels(origin: Path, tmp_path: Path) -> None:
    """The ConvNet pads channels to eight, so that its first layer fits any image."""
    model = trained(tmp_path / "run", SMALL | {"from": str(origin)}, channels=1)
    log = (tmp_path / "run" / "log.txt").read_text(encoding="utf-8")
    is_unet = isinstance(model.config.network, UNetConfig)
    assert ("Initialized, because their shapes differ from those in the model: head, stem." in log) == is_unet


def test_the_first_message_names_the_model_of_the_network(origin: Path, tmp_path: Path) -> None:
    """A preset, whose network is not used, and one that is."""
    initial(tmp_path / "run", SMALL | {"from": str(origin)})
    log = (tmp_path / "run" / "log.txt").read_text(encoding="utf-8")
    assert f"; preset tiny with the network of {origin}, 0.0 M parameters in" in log
    assert "preset tiny, " in (origin / "log.txt").read_text(encoding="utf-8")


def test_a_run_resumes_without_the_model(origin: Path, tmp_path: Path) -> None:
    shutil.copytree(origin, tmp_path / "origin")
    settings = SMALL | {"from": str(tmp_path / "origin")}
    trained(tmp_path / "run", settings, images=8)
    shutil.rmtree(tmp_path / "origin")
    assert trained(tmp_path / "run", settings, images=16).images_seen == 16


def test_a_run_without_a_checkpoint_starts_again_from_the_model(origin: Path, tmp_path: Path) -> None:
    """A process that is killed at the start leaves a configuration without a checkpoint."""
    settings = SMALL | {"from": str(origin)}
    first = initial(tmp_path / "run", settings, ["a", "b"] * 6)
    shutil.rmtree(tmp_path / "run" / "checkpoints")
    second = initial(tmp_path / "run", settings, ["a", "b"] * 6)
    torch.testing.assert_close(estimates(first, 0), estimates(second, 0))


def test_another_model_needs_another_run(origin: Path, tmp_path: Path) -> None:
    trained(tmp_path / "run", SMALL | {"from": str(origin)})
    other = str(origin / "model")
    with pytest.raises(RunError, match=re.escape(f"(--from: {origin} -> {other})")):
        trained(tmp_path / "run", SMALL | {"from": other}, images=16)
    with pytest.raises(RunError, match=re.escape(f"(--from: None -> {origin})")):
        trained(origin, SMALL | {"from": origin}, labels=["a", "b"] * 6, images=16)


def test_a_folder_of_diffusers_is_a_start(origin: Path, tmp_path: Path) -> None:
    sf.export(origin, tmp_path / "exported")
    model = initial(tmp_path / "run", SMALL | {"from": str(tmp_path / "exported")}, ["a", "b"] * 6)
    torch.testing.assert_close(estimates(model, 1), estimates(sf.load(origin), 1))


@pytest.mark.parametrize(
    "setting",
    [
        {"width": 8},
        {"attention": (2,)},
        {"schedule": "cosine"},
        {"zero_terminal_snr": False},
        {"parametrization": "noise"},
        {"backbone": "unet"},
    ],
)
def test_settings_of_the_network_are_rejected(origin: Path, setting: dict[str, Any], tmp_path: Path) -> None:
    """Also those that the model or the preset has, which are not needed."""
    (name,) = setting
    flag = re.escape(f"--{name.replace('_', '-')} cannot be combined with --from {origin}. Leave it out")
    with pytest.raises(ConfigError, match=flag):
        initial(tmp_path / "run", SMALL | {"from": str(origin)} | setting)
    assert not (tmp_path / "run").exists()
    trained(tmp_path / "run", SMALL | {"from": str(origin)})
    with pytest.raises(ConfigError, match=flag):
        trained(tmp_path / "run", SMALL | {"from": str(origin)} | setting, images=16)


def test_other_settings_of_a_resumed_run_are_named(origin: Path, tmp_path: Path) -> None:
    given = SMALL | {"from": str(origin), "times": "uniform"}
    trained(tmp_path / "run", given)
    assert read_record(tmp_path / "run").config.diffusion.times == "uniform"
    with pytest.raises(RunError, match=r"--times: uniform -> logit-normal\)"):
        trained(tmp_path / "run", given | {"times": "logit-normal"}, images=16)


def test_the_training_times_are_chosen_for_the_noise_schedule(origin: Path, tmp_path: Path) -> None:
    initial(tmp_path / "run", SMALL | {"from": str(origin)})
    diffusion = read_record(tmp_path / "run").config.diffusion
    expected = {"flow": "uniform", "edm": "log-normal:mean=-0.5"}
    assert diffusion.times == expected[diffusion.schedule]


@pytest.mark.parametrize("flag", ["--width=8", "--attention 2", "--no-zero-terminal-snr", "--zero_terminal_snr"])
def test_flags_of_the_network_are_rejected(flag: str) -> None:
    with pytest.raises(ConfigError, match=r"-snr|--width|--attention cannot be combined with --from runs/other"):
        parse(["train", "photos", "--from", "runs/other", *flag.split()])


@pytest.mark.usefixtures("unchecked")
def test_flags_of_a_custom_network_and_of_training_are_accepted() -> None:
    flags = ["--backbone", "nets.py:Net", "--times", "logit-normal", "--batch", "8"]
    verb = parse(["train", "photos", "--from=runs/other", *flags])
    assert isinstance(verb, Train)
    config = verb.config
    assert (config.network.start, config.network.backbone) == ("runs/other", "nets.py:Net")
    assert (config.diffusion.times, config.optimization.batch) == ("logit-normal", 8)


def test_a_path_is_a_start_and_may_be_spelled_in_another_way(
    origin: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained(tmp_path / "run", SMALL | {"from": origin})
    monkeypatch.chdir(origin.parent)
    assert trained(tmp_path / "run", SMALL | {"from": f"{origin.name}/"}, images=16).images_seen == 16
    assert read_record(tmp_path / "run").config.network.start == str(origin)


def test_a_loaded_model_is_not_a_path(origin: Path) -> None:
    with pytest.raises(ConfigError, match=r"from is a Model, not a path. Give the path .* sf.save\(model, FOLDER\)"):
        config_for("photos", {"from": sf.load(origin)})


def test_the_setting_is_called_from() -> None:
    with pytest.raises(ConfigError, match="the setting 'start' is unknown"):
        config_for("photos", {"start": "runs/other"})
    assert config_for("photos", {"from": None}) == config_for("photos")


def test_a_missing_model_is_rejected_before_the_images_are_read(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="none is not a folder"):
        sf.train(tmp_path / "images", tmp_path / "run", {"from": tmp_path / "none"}, device="cpu", progress=False)
    assert not (tmp_path / "run").exists()


def test_a_run_that_has_not_trained_may_start_from_another_model(origin: Path, tmp_path: Path) -> None:
    """Its initial checkpoint is not that of the new settings."""
    shutil.copytree(origin / "model", tmp_path / "copy")
    initial(tmp_path / "run", SMALL | {"width": 8})
    for settings in ({"from": tmp_path / "copy"}, {"from": origin}, {"from": origin, "seed": 1}):
        model = initial(tmp_path / "run", SMALL | settings, ["a", "b"] * 6)
        torch.testing.assert_close(estimates(model, 0), estimates(sf.load(origin), 0))


def test_the_first_model_is_freed_before_the_first_step(
    origin: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models: list[weakref.ref[Model]] = []

    def watched(*arguments: Any) -> Model | None:  # noqa: ANN401
        model = starting_model(*arguments)
        assert model is not None
        models.append(weakref.ref(model))
        return model

    def stop() -> bool:
        gc.collect()
        assert models[0]() is None
        return True

    monkeypatch.setattr(loop, "starting_model", watched)
    settings = SMALL | {"images": 8, "from": origin}
    source = from_arrays(pixels())
    sf.train(source, tmp_path / "run", settings, preset="tiny", device="cpu", progress=False, should_stop=stop)
    assert models


def test_a_run_starts_at_the_validation_loss_of_the_model(origin: Path, tmp_path: Path) -> None:
    """And not at that of a new network."""
    source = from_arrays(np.full((40, 8, 8, 3), 250, np.uint8))

    def run(name: str, settings: dict[str, Any], stops: bool) -> float:
        model = sf.train(
            source,
            tmp_path / name,
            SMALL | {"images": 400} | settings,
            preset="tiny",
            device="cpu",
            progress=False,
            should_stop=lambda: stops,
        ).model
        loss = Validation(source, 200, 0).loss(model).mean
        assert loss is not None
        return loss

    learned = run("learned", {"from": origin}, False)
    assert run("start", {"from": tmp_path / "learned"}, True) == pytest.approx(learned, rel=1e-5)
    assert run("first", {"from": origin}, True) > 1.5 * learned


def test_a_custom_network_defined_in_python_is_a_start(tmp_path: Path) -> None:
    """The code of a script or a notebook cannot be imported again."""

    class Own(nn.Module):
        def __init__(self, channels: int, classes: int) -> None:
            super().__init__()
            self.conv = nn.Conv2d(channels, channels, 3, padding=1)
            self.labels = nn.Embedding(classes + 1, channels)

        def forward(self, x: Tensor, time: Tensor, labels: Tensor | None = None) -> Tensor:
            rows = torch.zeros_like(time, dtype=torch.int64) if labels is None else labels + 1
            output: Tensor = self.conv(x) + self.labels(rows)[:, :, None, None]
            return output

    sf.train(from_arrays(pixels(), ["a", "b"] * 6), tmp_path / "one", SMALL | {"images": 8}, preset="tiny", network=Own)
    settings = SMALL | {"images": 8, "from": tmp_path / "one"}
    sf.train(
        from_arrays(pixels(), ["b", "c"] * 6), tmp_path / "two", settings, preset="tiny", network=Own, device="cpu"
    )
    log = (tmp_path / "two" / "log.txt").read_text(encoding="utf-8")
    assert "Started from" in log
    assert "embeddings of other classes or columns are kept by order, not by name" in log
