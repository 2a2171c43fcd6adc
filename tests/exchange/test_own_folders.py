"""Folders with their own pipeline: networks, noise levels, conditions and guidance are those of sfumato."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from sfumato.data import ImageSet
from sfumato.data.conditions import as_classes, requested_rows
from sfumato.diffusion.denoiser import PARAMETRIZATIONS, Denoiser
from sfumato.diffusion.guidance import AutoGuided, ClassifierFree, Labelled
from sfumato.diffusion.guidance.autoguidance import AUTOGUIDANCE_SCALE, CONDITIONAL_AUTOGUIDANCE_SCALE
from sfumato.diffusion.schedules import SCHEDULES
from sfumato.exchange.export import export
from sfumato.models import Model
from sfumato.networks.architectures import Architecture
from sfumato.sampling.sampler import default_sampler, trajectory
from sfumato.training.architecture import model_for
from sfumato.training.presets import PRESETS, config_for

from .conftest import build, convnet, unet

COUNT = 3


def exported(model: Model, folder: Path, weaker: Model | None = None) -> Any:  # noqa: ANN401 (diffusers)
    """The exported model as a pipeline of its own code."""
    from diffusers import DiffusionPipeline  # takes seconds to import

    export(model, folder, guidance_checkpoint=weaker)
    pipeline = DiffusionPipeline.from_pretrained(folder, trust_remote_code=True)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def our_images(denoiser: Denoiser, *, steps: int | None = 5, **settings: Any) -> Tensor:  # noqa: ANN401
    """Images in [0, 1] by the default sampler with these settings, with the noise of torch's generator of seed 3."""
    sampler = default_sampler(denoiser, steps=steps, **settings)
    generator = torch.Generator().manual_seed(3)

    def noise() -> Tensor:
        return torch.randn(COUNT, *denoiser.image_shape, generator=generator)

    x = denoiser.schedule.sigma(sampler.timesteps[0]).item() * noise()
    with torch.no_grad():
        *_, last = trajectory(sampler.clip(denoiser), x, sampler.timesteps, sampler.solver, noise)
    return (last.x_t / 2 + 0.5).clamp(0, 1)


def their_images(pipeline: Any, *, steps: int | None = 5, **arguments: Any) -> Tensor:  # noqa: ANN401
    """Images of the pipeline, with the same noise."""
    generator = torch.Generator().manual_seed(3)
    arguments |= {} if steps is None else {"num_inference_steps": steps}
    images: Tensor = pipeline(COUNT, generator=generator, output_type="pt", **arguments).images
    return images


def assert_same(theirs: Tensor, ours: Tensor) -> None:
    """Equal within 1e-4, and no constant images."""
    assert ours.std() > 0.01
    torch.testing.assert_close(theirs, ours, atol=1e-4, rtol=0)


def weaker_than(model: Model) -> Model:
    """A model of the same configuration with other weights."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        weaker = Model(model.config)
    for weight, other in zip(weaker.network.parameters(), model.network.parameters(), strict=True):
        weight.data = other.detach().flip(0)
    weaker.images_seen = 64
    return weaker.eval()


def assert_pipeline_is_ours(model: Model, folder: Path) -> None:
    """The same images by default, with autoguidance and without, and by a deterministic solver on another grid."""
    weaker = weaker_than(model)
    pipeline = exported(model, folder, weaker)
    labels = torch.arange(COUNT) % len(model.label_names) if model.label_names else None
    scale = AUTOGUIDANCE_SCALE if labels is None else CONDITIONAL_AUTOGUIDANCE_SCALE
    plain, guided = (Labelled(each, labels) for each in (model, AutoGuided(model, weaker, scale)))
    assert_same(their_images(pipeline), our_images(guided))
    assert_same(their_images(pipeline, guidance_scale=1), our_images(plain))
    theirs = their_images(pipeline, guidance_scale=1, eta=0, spacing="uniform")
    assert_same(theirs, our_images(plain, solver="dpm-2m", time_grid="uniform"))


@pytest.mark.parametrize("schedule", [*SCHEDULES, "linear:timesteps=100", "edm:sigma_max=50,rho=5"])
@pytest.mark.parametrize("parametrization", PARAMETRIZATIONS)
def test_images_are_the_same_for_all_schedules(schedule: str, parametrization: str, tmp_path: Path) -> None:
    if (schedule, parametrization) == ("flow", "noise"):
        pytest.skip("flow has zero terminal SNR, which noise does not support")
    network, shift = (convnet(), 2.0) if parametrization in ("edm", "flow") else (unet(), 1.0)
    assert_pipeline_is_ours(build(network, schedule, parametrization, shift=shift), tmp_path / "out")


@pytest.mark.parametrize("guided", [False, True])
def test_the_defaults_are_those_of_sfumato(guided: bool, tmp_path: Path) -> None:
    model = build(convnet(), "edm", "edm")
    weaker = weaker_than(model)
    pipeline = exported(model, tmp_path / "out", weaker if guided else None)
    ours = our_images(AutoGuided(model, weaker, AUTOGUIDANCE_SCALE) if guided else model, steps=None)
    assert_same(their_images(pipeline, steps=None), ours)


@pytest.mark.parametrize("classes", [False, True])
@pytest.mark.parametrize("preset", PRESETS)
def test_images_of_all_presets_are_the_same(preset: str, classes: bool, tmp_path: Path) -> None:
    settings = {"width": 16, "multipliers": (1, 2), "blocks": (1,), "patch": PRESETS[preset].network.patch or 1}
    labels, names = (torch.tensor([0, 1]), ("cat", "dog")) if classes else (None, ())
    images = ImageSet.of(torch.zeros(2, 3, 16, 16, dtype=torch.uint8), labels, names)
    config = model_for(config_for("", settings, preset=preset), images)
    model = build(config.network, config.schedule, config.parametrization, size=(16, 16))
    assert (model.config.zero_terminal_snr, model.config.shift) == (config.zero_terminal_snr, config.shift)
    assert_pipeline_is_ours(model, tmp_path / "out")


@pytest.mark.parametrize("parametrization", ["data", "velocity", "flow", "edm"])
@pytest.mark.parametrize("schedule", ["linear", "cosine"])
def test_zero_terminal_snr_is_kept(schedule: str, parametrization: str, tmp_path: Path) -> None:
    model = build(unet(), schedule, parametrization, zero_terminal_snr=True)
    assert_pipeline_is_ours(model, tmp_path / "out")


@pytest.mark.parametrize(
    "network",
    [
        unet(image_channels=1, multipliers=(1, 1, 2), blocks=2, attention_levels=(0, 2)),
        unet(20, multipliers=(1,), attention_levels=()),
        convnet(image_channels=5, patch=2),
        convnet(multipliers=(1, 2, 1), blocks=(1, 2, 1), attention_levels=(0,), patch=3),
        unet(augmentation=3),
        convnet(augmentation=3),
    ],
)
@pytest.mark.parametrize("size", [(7, 10), (8, 8)])
def test_networks_of_any_architecture_and_size_are_the_same(
    network: Architecture, size: tuple[int, int], tmp_path: Path
) -> None:
    model = build(network, "edm", "edm", size=size)
    assert_same(their_images(exported(model, tmp_path / "out")), our_images(model))


@pytest.mark.parametrize("network", [unet(classes=3), convnet(classes=3)], ids=["unet", "convnet"])
@pytest.mark.parametrize("guidance", [1.0, 2.5, 0.0])
def test_classes_are_the_same(network: Architecture, guidance: float, tmp_path: Path) -> None:
    model = build(network, "edm", "edm")
    pipeline = exported(model, tmp_path / "out")

    def ours(*indices: int) -> Tensor:
        return our_images(Labelled(ClassifierFree(model, guidance), torch.tensor(indices)))

    assert_same(their_images(pipeline, guidance_scale=guidance), ours(0, 1, 2))
    assert_same(their_images(pipeline, guidance_scale=guidance, class_labels="class 1"), ours(1, 1, 1))
    assert_same(their_images(pipeline, guidance_scale=guidance, class_labels=["class 2", 0]), ours(2, 0, 2))


@pytest.mark.parametrize("network", [unet(columns=(2, 0)), convnet(columns=(2, 0))], ids=["unet", "convnet"])
@pytest.mark.parametrize("conditions", [None, {"age": 42}, {"colour": ["red", "blue"], "age": (20, 70, 30.5)}])
def test_conditions_are_the_same(network: Architecture, conditions: dict[str, Any] | None, tmp_path: Path) -> None:
    model = build(network, "flow", "flow")
    pipeline = exported(model, tmp_path / "out")
    rows = requested_rows(model.columns, conditions or {}, COUNT)
    guided = Labelled(ClassifierFree(model, 2.0), rows)
    assert_same(their_images(pipeline, guidance_scale=2.0, conditions=conditions), our_images(guided))


@pytest.mark.parametrize("network", [unet(classes=3), convnet(columns=(2, 0))], ids=["classes", "conditions"])
def test_autoguidance_has_the_labels_of_both_networks(network: Architecture, tmp_path: Path) -> None:
    model = build(network, "flow", "flow")
    weaker = weaker_than(model)
    pipeline = exported(model, tmp_path / "out", weaker)
    requested: dict[str, Any] = {"label": "class 2"} if model.label_names else {"age": 42}
    rows = requested_rows(model.known_columns, requested, COUNT)
    labels = as_classes(rows) if model.label_names else rows
    given = {"class_labels": "class 2"} if model.label_names else {"conditions": requested}
    for scale in (CONDITIONAL_AUTOGUIDANCE_SCALE, 3.0, 0.0):
        expected = our_images(Labelled(AutoGuided(model, weaker, scale), labels))
        assert_same(their_images(pipeline, guidance_scale=scale, **given), expected)
    assert_same(their_images(pipeline, **given), our_images(Labelled(AutoGuided(model, weaker, 1.5), labels)))


def test_images_of_the_stochastic_solver_have_the_share_of_noise(tmp_path: Path) -> None:
    model = build(convnet(), "edm", "edm")
    theirs = their_images(exported(model, tmp_path / "out"), eta=0.3)
    assert_same(theirs, our_images(model, solver="dpm-2m-sde:eta=0.3"))


def test_the_ddpm_network_with_classes_is_the_same(tmp_path: Path) -> None:
    model = build(unet(128, multipliers=(1,), attention_levels=(), classes=2), size=(4, 4))
    pipeline = exported(model, tmp_path / "out")
    labelled = Labelled(model, as_classes(requested_rows(model.known_columns, {"label": ["class 0", "class 1"]}, 3)))
    assert_same(their_images(pipeline), our_images(labelled))
