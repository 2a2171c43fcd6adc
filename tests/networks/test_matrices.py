"""Which weights are hidden matrices, by their names."""

import re

import pytest
from torch import nn

from sfumato.networks.convnet import ConvNet, ConvNetConfig
from sfumato.networks.matrices import hidden_matrices
from sfumato.networks.unet import UNet, UNetConfig

NETWORKS = {
    "unet of classes": UNet(UNetConfig(2, 8, (1, 2), 1, (1,), 0.0, 3, augmentation=5)),
    "unet of columns": UNet(UNetConfig(2, 8, (1, 2), 1, (1,), 0.0, 0, (0, 3))),
    "convnet of classes": ConvNet(ConvNetConfig(2, 8, (1, 2), (1, 1), (1,), classes=3, augmentation=5)),
    "convnet of columns": ConvNet(ConvNetConfig(2, 8, (1, 2), (1, 1), (1,), columns=(0, 3), patch=2)),
}

HIDDEN = re.compile(
    r"(conv_in|conv_out|condition|query_key_value|project|shortcut|conv|map|merge_below|merge_skip)\.weight$"
)
"""The layers between hidden features, in blocks and between levels."""

OUTER = re.compile(r"^(stem|head|embedding|time_embedding|class_embedding|row_embedding)\.")


@pytest.mark.parametrize("name", NETWORKS)
def test_hidden_matrices_are_the_layers_within_blocks_and_between_levels(name: str) -> None:
    network: nn.Module = NETWORKS[name]
    hidden = {id(weight) for weight in hidden_matrices(network)}
    found = {name for name, weight in network.named_parameters() if id(weight) in hidden}
    expected = {name for name, _ in network.named_parameters() if HIDDEN.search(name) and not OUTER.match(name)}
    assert found == expected
    assert len(hidden) == len(hidden_matrices(network)) > 10


@pytest.mark.parametrize("name", NETWORKS)
def test_all_others_are_of_the_stem_the_head_and_the_embeddings_or_vectors(name: str) -> None:
    network = NETWORKS[name]
    hidden = {id(weight) for weight in hidden_matrices(network)}
    others = {name: weight for name, weight in network.named_parameters() if id(weight) not in hidden}
    assert all(OUTER.match(name) or weight.ndim == 1 for name, weight in others.items())
    assert {name.split(".")[0] for name in others} >= {"stem", "head"}
