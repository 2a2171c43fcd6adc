"""Saving and loading of models with a ConvNet."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from models.descriptions import Change, delete, outputs, put
from sfumato.errors import RunError
from sfumato.models import (
    Model,
    ModelConfig,
    load,
    read_description,
    save_description,
    save_weights,
)
from sfumato.networks.convblocks import LOG_NOISE_PERIODS, STEP_PERIODS, Periods
from sfumato.networks.convnet import ConvNet, ConvNetConfig


@pytest.fixture
def convnet(config: ModelConfig) -> ModelConfig:
    """The model with the other network."""
    network = ConvNetConfig(
        image_channels=3, width=8, multipliers=(1, 2), blocks=(1, 2), attention_levels=(1,), classes=2
    )
    return replace(config, network=network)


def test_a_convnet_is_the_same_after_saving_and_loading(convnet: ModelConfig, tmp_path: Path) -> None:
    model = Model(convnet)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.1)
    save_description(convnet, tmp_path)
    save_weights(model.network.state_dict(), tmp_path, 1)
    assert read_description(tmp_path) == convnet
    loaded = load(tmp_path)
    assert isinstance(loaded.network, ConvNet)
    assert outputs(loaded).std() > 0.01
    assert torch.equal(outputs(loaded), outputs(model.eval()))


@pytest.mark.parametrize(
    ("parametrization", "periods"), [("edm", LOG_NOISE_PERIODS), ("noise", STEP_PERIODS), ("velocity", STEP_PERIODS)]
)
def test_a_convnet_has_time_embedding_periods_for_its_time_scale(
    parametrization: str, periods: Periods, convnet: ModelConfig
) -> None:
    network = Model(replace(convnet, parametrization=parametrization)).network
    assert isinstance(network, ConvNet)
    assert network.embedding.periods == periods


def test_the_description_of_a_unet_keeps_its_earlier_format(folder: Path) -> None:
    assert json.loads((folder / "model" / "config.json").read_text())["network"] == {
        "image_channels": 3,
        "width": 8,
        "multipliers": [1],
        "blocks": 1,
        "attention_levels": [0],
        "dropout": 0.1,
        "classes": 2,
        "columns": [],
        "augmentation": 0,
    }


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (put("network/architecture", "transformer"), "network: Its architecture is unknown"),
        (put("network/architecture", ["convnet"]), "network: Its architecture is unknown"),
        (put("network/architecture", None), "network: Its architecture is unknown"),
        (delete("network"), "network: Field required"),
        (lambda fields: fields["network"].pop("architecture"), "network.unet"),
        (put("network/blocks", 2), "network.convnet.blocks: Input should be a valid tuple"),
        (put("network/extra", 2), "network.convnet.extra: Unexpected keyword argument"),
        (put("network/blocks", [1, 10**12]), "is too large"),
        (put("network/patch", 10**30), "describes a network that cannot be built"),
        (put("network/patch", 0), "are out of range"),
        (put("network/classes", 3), "3 classes"),
    ],
)
def test_a_modified_convnet_description_is_rejected(
    change: Change, reason: str, convnet: ModelConfig, tmp_path: Path, unchecked: None
) -> None:
    del unchecked
    save_description(convnet, tmp_path)
    save_weights(Model(convnet).network.state_dict(), tmp_path, 1)
    path = tmp_path / "config.json"
    fields = json.loads(path.read_text())
    change(fields)
    path.write_text(json.dumps(fields))
    with pytest.raises(RunError, match=rf"config.json .*{reason}"):
        load(tmp_path)
