"""A small model, in memory and on disk."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from sfumato.diffusion.denoiser import PreconditionedDenoiser
from sfumato.models import Model, ModelConfig, save_description, save_weights
from sfumato.networks.unet import UNetConfig


@pytest.fixture
def config() -> ModelConfig:
    """A model of two classes and 3x8x8 images."""
    network = UNetConfig(
        image_channels=3, width=8, multipliers=(1,), blocks=1, attention_levels=(0,), dropout=0.1, classes=2
    )
    return ModelConfig(network, "linear:timesteps=50", False, 1.0, "noise", (3, 8, 8), ("cat", "dog"))


@pytest.fixture
def model(config: ModelConfig) -> PreconditionedDenoiser:
    """The model, with random weights everywhere, in evaluation mode."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Model(config)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.normal_(std=0.1)
    return model.eval()


@pytest.fixture
def folder(config: ModelConfig, model: PreconditionedDenoiser, tmp_path: Path) -> Path:
    """A run directory with nothing but the model."""
    save_description(config, tmp_path / "run" / "model")
    save_weights(model.network.state_dict(), tmp_path / "run" / "model", images_seen=640)
    return tmp_path / "run"
