"""Small models with random weights, of each architecture, parametrization and kind of labels."""

from __future__ import annotations

import torch
from torch import nn

from sfumato.data.conditions import Category, Number
from sfumato.models import Model, ModelConfig
from sfumato.networks.convnet import ConvNetConfig
from sfumato.networks.unet import UNetConfig

COLUMNS = (Category("colour", ("blue", "red")), Number("age", 30.0, 10.0, 18.0, 90.0))


def model_of(config: ModelConfig) -> Model:
    """A model with random weights everywhere, in evaluation mode."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Model(config)
        for parameter in model.parameters():
            if parameter.ndim > 1:
                nn.init.normal_(parameter, std=0.05)
    return model.eval()


def small_model(kind: str) -> Model:
    """One of `KINDS`."""
    return model_of(KINDS[kind])


KINDS = {
    "unet, noise, classes": ModelConfig(
        UNetConfig(1, 8, (1, 2), 1, (1,), 0.1, classes=3), "linear", False, 1.0, "noise", (1, 8, 8), ("a", "b", "c")
    ),
    "unet, velocity, zero terminal SNR, odd sizes": ModelConfig(
        UNetConfig(3, 8, (1, 2), 1, (), 0.0, classes=0), "cosine", True, 2.0, "velocity", (3, 9, 7), ()
    ),
    "convnet, edm, columns": ModelConfig(
        ConvNetConfig(3, 16, (1, 2), (1, 1), (1,), columns=(2, 0)), "edm", False, 1.0, "edm", (3, 6, 8), (), COLUMNS
    ),
    "convnet, edm, discrete schedule": ModelConfig(
        ConvNetConfig(2, 16, (1,), (1,), (0,)), "linear", False, 1.0, "edm", (2, 8, 8), ()
    ),
    "convnet, flow, augmentation": ModelConfig(
        ConvNetConfig(4, 16, (1,), (1,), (), augmentation=9, patch=2), "flow", False, 1.0, "flow", (4, 8, 8), ()
    ),
    "unet, data, columns": ModelConfig(
        UNetConfig(3, 8, (1,), 1, (), 0.0, 0, (2, 0)), "sigmoid", False, 1.0, "data", (3, 8, 8), (), COLUMNS
    ),
}
