"""Small models with random weights."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch

from sfumato.data.conditions import Category, Column, Number
from sfumato.models import Model, ModelConfig
from sfumato.networks.architectures import Architecture
from sfumato.networks.convnet import ConvNetConfig
from sfumato.networks.unet import UNetConfig

COLUMNS: tuple[Column, ...] = (Category("colour", ("red", "blue")), Number("age", 30.0, 10.0, 1.0, 90.0))

Build = Callable[..., Model]


def unet(width: int = 8, **changes: Any) -> UNetConfig:  # noqa: ANN401
    """A UNet of two levels."""
    settings: dict[str, Any] = {"multipliers": (1, 2), "blocks": 1, "attention_levels": (1,), "classes": 0}
    return UNetConfig(**{"image_channels": 3, "width": width, "dropout": 0.0} | settings | changes)


def convnet(**changes: Any) -> ConvNetConfig:  # noqa: ANN401
    """A ConvNet of two levels."""
    settings: dict[str, Any] = {"multipliers": (1, 2), "blocks": (1, 1), "attention_levels": (1,)}
    return ConvNetConfig(**{"image_channels": 3, "width": 8} | settings | changes)


def build(
    network: Architecture | None = None,
    schedule: str = "linear",
    parametrization: str = "noise",
    *,
    size: tuple[int, int] = (8, 8),
    zero_terminal_snr: bool = False,
    shift: float = 1.0,
    seed: int = 0,
    scale: float = 1.0,
    **config: Any,  # noqa: ANN401
) -> Model:
    """A model with random weights everywhere and activations of order one, in evaluation mode."""
    network = unet() if network is None else network
    names = tuple(f"class {i}" for i in range(network.classes))
    columns = COLUMNS if network.columns else ()
    shape = (network.image_channels, *size)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        described = ModelConfig(
            network, schedule, zero_terminal_snr, shift, parametrization, shape, names, columns, **config
        )
        model = Model(described)
        with torch.no_grad():
            for name, weight in model.network.named_parameters():
                fan_in = weight[0].numel() if weight.ndim > 1 else 4
                weight.normal_(std=scale * fan_in**-0.5)
                if "norm" in name and name.endswith("weight"):
                    weight.add_(1)
    model.images_seen = 640
    return model.eval()


@pytest.fixture(autouse=True)
def _hub_folder(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Keeps the code that diffusers copies out of the home directory, and silences a deprecation in diffusers."""
    import diffusers.utils.dynamic_modules_utils as dynamic

    monkeypatch.setattr(dynamic, "HF_MODULES_CACHE", str(tmp_path_factory.mktemp("modules")))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="__array", category=DeprecationWarning)
        yield
