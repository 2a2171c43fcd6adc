"""Folders of stock diffusers classes: the same network, noise levels and images."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from sfumato.diffusion.guidance import Clipped
from sfumato.exchange.export import export
from sfumato.models import Model
from sfumato.sampling.sampler import trajectory
from sfumato.sampling.solvers import SOLVERS
from sfumato.sampling.timesteps import TIME_GRIDS

from .conftest import build, unet

SMALL = unet(128, multipliers=(1,), attention_levels=())
SCHEDULES = ["linear", "scaled-linear", "cosine", "sigmoid", "linear:timesteps=250", "cosine:offset=0.02"]


def exported(model: Model, folder: Path) -> Any:  # noqa: ANN401 (diffusers)
    """The exported model as a pipeline of diffusers."""
    from diffusers import DDPMPipeline  # takes seconds to import

    export(model, folder)
    pipeline = DDPMPipeline.from_pretrained(folder)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def our_images(model: Model, steps: int) -> Tensor:
    """Two images of the ancestral sampler in [0, 1], with the noise of torch's generator of seed 3."""
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(2, *model.image_shape, generator=generator)
    grid = TIME_GRIDS["trailing"](model.schedule, steps)
    with torch.no_grad():
        path = trajectory(Clipped(model), x, grid, SOLVERS["ddpm"], lambda: torch.randn(x.shape, generator=generator))
        *_, last = path
    return (last.x_t / 2 + 0.5).clamp(0, 1)


def their_images(pipeline: Any, steps: int) -> Tensor:  # noqa: ANN401
    """Two images of the pipeline, with the same noise."""
    generator = torch.Generator().manual_seed(3)
    images: Tensor = pipeline(2, generator=generator, num_inference_steps=steps, output_type="pt").images
    return images


def test_a_network_estimates_the_same_at_all_timesteps(tmp_path: Path) -> None:
    model = build(unet(128, image_channels=1))
    pipeline = exported(model, tmp_path / "out")
    x = torch.randn(100, 1, 4, 4, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        for steps in torch.arange(1000).split(100):
            times = model.schedule.network_time((steps.double() + 1) / 1000).float()
            theirs = pipeline.unet(x, steps).sample
            torch.testing.assert_close(model.network(x, times), theirs, atol=1e-4, rtol=0)


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("parametrization", ["noise", "data", "velocity"])
def test_noise_levels_and_images_are_the_same(schedule: str, parametrization: str, tmp_path: Path) -> None:
    model = build(SMALL, schedule, parametrization, size=(4, 4))
    pipeline = exported(model, tmp_path / "out")
    expected = model.schedule.alpha_bar[1:].float()  # type: ignore[attr-defined]
    torch.testing.assert_close(pipeline.scheduler.alphas_cumprod, expected, atol=1e-6, rtol=1e-3)
    torch.testing.assert_close(their_images(pipeline, 10), our_images(model, 10), atol=1e-4, rtol=0)


@pytest.mark.parametrize("schedule", ["linear", "cosine", "sigmoid"])
def test_zero_terminal_snr_is_kept(schedule: str, tmp_path: Path) -> None:
    model = build(SMALL, schedule, "velocity", size=(4, 4), zero_terminal_snr=True)
    pipeline = exported(model, tmp_path / "out")
    assert pipeline.scheduler.alphas_cumprod[-1] == 0
    torch.testing.assert_close(their_images(pipeline, 10), our_images(model, 10), atol=1e-4, rtol=0)


def test_all_timesteps_give_the_same_images(tmp_path: Path) -> None:
    model = build(SMALL, "linear:timesteps=200", size=(4, 4))
    pipeline = exported(model, tmp_path / "out")
    torch.testing.assert_close(their_images(pipeline, 200), our_images(model, 200), atol=1e-4, rtol=0)


def test_sizes_may_differ_and_images_may_be_gray(tmp_path: Path) -> None:
    model = build(unet(128, image_channels=1), size=(4, 6))
    pipeline = exported(model, tmp_path / "out")
    torch.testing.assert_close(their_images(pipeline, 5), our_images(model, 5), atol=1e-4, rtol=0)
    assert pipeline(1, num_inference_steps=2).images[0].size == (6, 4)
