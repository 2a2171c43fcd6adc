"""Hidden matrices follow from the structure of a network: its own, renamed, and those of other people."""

from __future__ import annotations

import importlib.util
import math
import re
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F
from torch.nn.utils.parametrizations import weight_norm

from sfumato.networks.convnet import ConvNet, ConvNetConfig
from sfumato.networks.matrices import hidden_matrices
from sfumato.networks.unet import UNet, UNetConfig

NETWORKS = {
    "unet of classes": UNet(UNetConfig(2, 8, (1, 2), 1, (1,), 0.0, 3, augmentation=5)),
    "unet of columns": UNet(UNetConfig(2, 8, (1, 2), 1, (1,), 0.0, 0, (0, 3))),
    "convnet of classes": ConvNet(ConvNetConfig(2, 8, (1, 2), (1, 1), (1,), classes=3, augmentation=5)),
    "convnet of columns": ConvNet(ConvNetConfig(2, 8, (1, 2), (1, 1), (1,), columns=(0, 3), patch=2)),
}

IMAGES, TIMES = torch.randn(2, 2, 8, 8), torch.tensor([3.0, 500.0])
CLASSES, ROWS, AUGMENTATION = torch.tensor([0, -1]), torch.tensor([[0.5, 1.0], [math.nan, 2.0]]), torch.zeros(2, 5)

INPUTS = {
    "unet of classes": (IMAGES, TIMES, CLASSES, AUGMENTATION),
    "unet of columns": (IMAGES, TIMES, ROWS),
    "convnet of classes": (IMAGES, TIMES, CLASSES, AUGMENTATION),
    "convnet of columns": (IMAGES, TIMES, ROWS),
}

HIDDEN = re.compile(
    r"(conv_in|conv_out|condition|query_key_value|project|shortcut|conv|map|merge_below|merge_skip)\.weight$"
)
"""The layers between hidden features, in blocks and between levels."""

OUTER = re.compile(r"^(stem|head|embedding|time_embedding|class_embedding|row_embedding)\.")


@pytest.mark.parametrize("name", NETWORKS)
def test_hidden_matrices_are_within_blocks_or_between_levels(name: str) -> None:
    network: nn.Module = NETWORKS[name]
    hidden = {id(weight) for weight in hidden_matrices(network, INPUTS[name])}
    found = {name for name, weight in network.named_parameters() if id(weight) in hidden}
    expected = {name for name, _ in network.named_parameters() if HIDDEN.search(name) and not OUTER.match(name)}
    assert found == expected
    assert len(hidden) == len(hidden_matrices(network, INPUTS[name])) > 10


@pytest.mark.parametrize("name", NETWORKS)
def test_other_weights_are_stem_head_embeddings_and_vectors(name: str) -> None:
    network = NETWORKS[name]
    hidden = {id(weight) for weight in hidden_matrices(network, INPUTS[name])}
    others = {name: weight for name, weight in network.named_parameters() if id(weight) not in hidden}
    assert all(OUTER.match(name) or weight.ndim == 1 for name, weight in others.items())
    assert {name.split(".")[0] for name in others} >= {"stem", "head"}


def hidden_names(network: nn.Module, *inputs: Tensor | None) -> set[str]:
    chosen = {id(weight) for weight in hidden_matrices(network, inputs)}
    return {name for name, weight in network.named_parameters() if id(weight) in chosen}


class Renamed(nn.Module):
    """A network without modules, whose weights are called weight0, weight1, ..."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.call = [network.eval()]
        self.old_names = [name for name, _ in network.named_parameters()]
        for number, weight in enumerate(network.parameters()):
            self.register_parameter(f"weight{number}", weight)

    def forward(self, *inputs: Tensor) -> Tensor:
        """Calls the network with its weights."""
        output: Tensor = functional_call(
            self.call[0], dict(zip(self.old_names, self.parameters(), strict=True)), inputs
        )
        return output


@pytest.mark.parametrize("name", NETWORKS)
def test_hidden_matrices_do_not_depend_on_names(name: str) -> None:
    network = NETWORKS[name]
    renamed = Renamed(network)
    found = hidden_matrices(renamed, INPUTS[name])
    assert all(one is other for one, other in zip(found, hidden_matrices(network, INPUTS[name]), strict=True))


EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.mark.parametrize("program", ["ddpm", "ddpm_condition"])
def test_outer_layers_of_the_example_networks_are_not_hidden(
    program: str,
) -> None:
    spec = importlib.util.spec_from_file_location(program, EXAMPLES / f"{program}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    network = module.UNet(channels=3) if program == "ddpm" else module.UNet(channels=3, classes=2)
    labels = None if program == "ddpm" else torch.tensor([1])
    matrices = {name for name, weight in network.named_parameters() if weight.ndim > 1}
    outer = {"first.0.weight", "last.weight"}
    if program == "ddpm":  # without classes these are the first weights that meet the time
        outer |= {f"{side}.{level}.embedding.1.weight" for side in ("down", "up") for level in range(3)}
    else:
        outer.add("labels.weight")
    assert hidden_names(network, torch.zeros(1, 3, 8, 8), torch.zeros(1), labels) == matrices - outer


class TransformerBlock(nn.Module):
    """A block of DiT (arXiv 2212.09748) with adaptive normalization."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.qkv, self.projection = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))
        self.modulation = nn.Sequential(nn.SiLU(), nn.Linear(width, 6 * width))

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """Tokens (n, length, width) and condition (n, width)."""
        shift, scale, gate, shift_2, scale_2, gate_2 = self.modulation(condition)[:, None].chunk(6, dim=2)
        query, key, value = self.qkv(self.norm(x) * (1 + scale) + shift).chunk(3, dim=2)
        x = x + gate * self.projection(F.scaled_dot_product_attention(query, key, value))
        return x + gate_2 * self.mlp(self.norm(x) * (1 + scale_2) + shift_2)  # type: ignore[no-any-return]


class Transformer(nn.Module):
    """A small DiT."""

    def __init__(self, channels: int = 2, classes: int = 3, width: int = 8) -> None:
        super().__init__()
        self.patches = nn.Conv2d(channels, width, 2, stride=2)
        self.positions = nn.Parameter(torch.zeros(1, 16, width))
        self.time = nn.Sequential(nn.Linear(4, width), nn.SiLU(), nn.Linear(width, width))
        self.labels = nn.Embedding(classes + 1, width)
        self.blocks = nn.ModuleList([TransformerBlock(width) for _ in range(2)])
        self.final_modulation = nn.Linear(width, 2 * width)
        self.final = nn.Linear(width, 4 * channels)

    def forward(self, x: Tensor, time: Tensor, labels: Tensor) -> Tensor:
        """Images, times and classes to images."""
        tokens = self.patches(x).flatten(2).transpose(1, 2) + self.positions
        angles = time[:, None] * torch.tensor([1.0, 0.1])
        condition = self.time(torch.cat([angles.sin(), angles.cos()], dim=1)) + self.labels(labels + 1)
        for block in self.blocks:
            tokens = block(tokens, condition)
        shift, scale = self.final_modulation(F.silu(condition))[:, None].chunk(2, dim=2)
        pixels = self.final(F.layer_norm(tokens, tokens.shape[2:]) * (1 + scale) + shift)
        return F.fold(pixels.transpose(1, 2), x.shape[2:], 2, stride=2)


def test_hidden_transformer_weights_are_blocks_and_modulations() -> None:
    inner = ["qkv", "projection", "mlp.0", "mlp.2", "modulation.1"]
    blocks = {f"blocks.{number}.{layer}.weight" for number in range(2) for layer in inner}
    assert hidden_names(Transformer(), IMAGES, TIMES, CLASSES) == blocks | {"final_modulation.weight"}


class MLP(nn.Module):
    """Layers in sequence on the pixels and the time; `call` changes how they are called."""

    def __init__(self, *layers: nn.Module, call: Callable[..., Tensor] | None = None) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.call = call

    def forward(self, x: Tensor, time: Tensor, labels: Tensor | None = None) -> Tensor:
        """The layers on all values of an image."""
        del labels
        values = torch.cat([x.flatten(1), time[:, None]], dim=1)
        if self.call is not None:
            return self.call(values, *self.layers).reshape(x.shape)
        for layer in self.layers:
            values = layer(values)
        return values.reshape(x.shape)


def linear(*widths: int) -> list[nn.Module]:
    return [nn.Linear(inputs, outputs) for inputs, outputs in pairwise(widths)]


def test_all_but_the_first_and_last_layer_of_an_mlp_are_hidden() -> None:
    first, second, third, last = linear(129, 8, 6, 8, 128)
    network = MLP(first, nn.SiLU(), second, nn.Tanh(), third, nn.SiLU(), last)
    assert hidden_names(network, IMAGES, TIMES, None) == {"layers.2.weight", "layers.4.weight"}
    assert hidden_names(MLP(*linear(129, 8, 128)), IMAGES, TIMES) == set()
    assert hidden_names(MLP(*linear(129, 128)), IMAGES, TIMES) == set()


def test_a_weight_that_is_used_twice_is_hidden_if_both_uses_are() -> None:
    first, square, last = linear(129, 8, 8, 128)
    twice = MLP(first, square, last, call=lambda x, a, b, c: c(b(torch.tanh(b(a(x))))))
    assert hidden_names(twice, IMAGES, TIMES) == {"layers.1.weight"}
    tied = MLP(first, square, call=lambda x, a, b: F.linear(torch.tanh(b(a(x))), a.weight.T)[:, :128])
    assert hidden_names(tied, IMAGES, TIMES) == {"layers.1.weight"}, "layer 0 makes the output too"
    outer = MLP(*linear(129, 128, 128), call=lambda x, a, b: b(torch.tanh(b(torch.tanh(a(x))))))
    assert hidden_names(outer, IMAGES, TIMES) == set(), "layer 1 is hidden in its first use only"
    matrices = hidden_matrices(twice, (IMAGES, TIMES))
    assert len(matrices) == 1


def test_computed_weights_are_traced_to_their_parameters() -> None:
    first, second, last = (weight_norm(layer) for layer in linear(129, 8, 6, 128))
    assert hidden_names(MLP(first, second, last), IMAGES, TIMES) == {"layers.1.parametrizations.weight.original1"}
    scaled = MLP(*linear(129, 8, 6, 128), call=lambda x, a, b, c: c(F.linear(a(x), 2 * b.weight)))
    assert hidden_names(scaled, IMAGES, TIMES) == {"layers.1.weight"}


def test_depthwise_convolutions_and_gains_are_not_matrices() -> None:
    depthwise, pointwise = nn.Conv2d(6, 6, 3, padding=1, groups=6), nn.Conv2d(6, 6, 1)
    layers = [nn.Conv2d(2, 6, 1), depthwise, nn.GroupNorm(2, 6), nn.BatchNorm2d(6), pointwise, nn.Conv2d(6, 2, 1)]
    assert hidden_names(nn.Sequential(*layers), IMAGES) == {"4.weight"}


class Noisy(nn.Module):
    """A network that has a state: statistics, dropout and frozen statistics."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(2, 4, 1), nn.BatchNorm2d(4), nn.Dropout(0.5), nn.Conv2d(4, 4, 1))
        self.frozen = nn.BatchNorm2d(4).eval()
        self.last = nn.Conv2d(4, 2, 1)

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        """Raises for a time of NaN."""
        if time.isnan().any():
            raise ValueError("no time")
        output: Tensor = self.last(self.frozen(self.layers(x)))
        return output


@pytest.mark.parametrize("fails", [False, True])
@torch.no_grad()
def test_finding_hidden_matrices_has_no_side_effects(fails: bool) -> None:
    network, images = Noisy(), IMAGES.clone()
    modes = [part.training for part in network.modules()]
    before = {name: value.clone() for name, value in network.state_dict().items()}
    torch.manual_seed(3)
    random = torch.get_rng_state()
    if fails:
        with pytest.raises(ValueError, match="no time"):
            hidden_matrices(network, (images, torch.full((2,), math.nan)))
    else:
        assert hidden_names(network, images, TIMES) == {"layers.3.weight"}
    assert modes == [part.training for part in network.modules()]
    assert True in modes
    assert False in modes
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert torch.equal(random, torch.get_rng_state())
    assert all(weight.grad is None for weight in network.parameters())
    assert not images.requires_grad


@pytest.mark.parametrize("kind", [UNet, ConvNet])
def test_grey_images_have_the_matrices_of_colour_ones(kind: type[nn.Module]) -> None:
    def names(channels: int) -> set[str]:
        if kind is UNet:
            network: nn.Module = UNet(UNetConfig(channels, 8, (1, 2), 1, (1,), 0.0, 0))
        else:
            network = ConvNet(ConvNetConfig(channels, 8, (1, 2), (1, 1), (1,)))
        hidden = {id(weight) for weight in hidden_matrices(network, (torch.zeros(1, channels, 8, 8), torch.ones(1)))}
        return {name for name, weight in network.named_parameters() if id(weight) in hidden}

    assert names(1) == names(3)
