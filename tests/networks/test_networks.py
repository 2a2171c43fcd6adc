"""Properties of both the UNet and the ConvNet."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch.autograd import gradcheck

from sfumato.errors import ConfigError
from sfumato.networks.convnet import ConvNet, ConvNetConfig
from sfumato.networks.unet import UNet, UNetConfig
from sfumato.utils.shapes import UNLABELLED

from . import test_convnet, test_unet
from .test_unet import filled

Config = UNetConfig | ConvNetConfig


@pytest.fixture(autouse=True)
def seeded() -> Iterator[None]:
    """Torch's generator, of a known state inside and restored behind."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


@pytest.fixture(params=[replace(test_unet.TINY, augmentation=5), test_convnet.TINY], ids=["unet", "convnet"])
def config(request: pytest.FixtureRequest) -> Config:
    """Of a tiny network of two channels and three classes with five augmentation features."""
    tiny: Config = request.param
    return tiny


def network_of(config: Config) -> nn.Module:
    """A fresh one."""
    return UNet(config) if isinstance(config, UNetConfig) else ConvNet(config)


def inputs(count: int, height: int, width: int, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    """Noisy images, and times that both tell apart."""
    return torch.randn(count, 2, height, width, dtype=dtype), torch.linspace(-1.5, 1.1, count, dtype=dtype)


def test_a_new_network_returns_zeros(config: Config) -> None:
    assert (network_of(config)(*inputs(2, 5, 4)) == 0).all()


def test_gradients_are_those_of_finite_differences(config: Config) -> None:
    network = filled(network_of(config)).double()
    x, times = inputs(3, 5, 4, torch.float64)
    labels, augmentation = torch.tensor([UNLABELLED, 0, 2]), torch.randn(3, 5, dtype=torch.float64)
    weights = {name: weight.detach().requires_grad_() for name, weight in network.named_parameters()}

    def output(x: Tensor, *values: Tensor) -> Tensor:
        state = dict(zip(weights, values, strict=True))
        return torch.func.functional_call(network, state, (x, times, labels, augmentation))  # type: ignore[no-any-return]

    assert gradcheck(output, (x.requires_grad_(), *weights.values()), fast_mode=True)


def test_every_weight_gets_a_gradient(config: Config) -> None:
    network = filled(network_of(config))
    labels, augmentation = torch.tensor([UNLABELLED, 0, 1, 2]), torch.linspace(-1, 1, 20).reshape(4, 5)
    network(*inputs(4, 5, 4), labels, augmentation).square().sum().backward()
    for name, weight in network.named_parameters():
        assert weight.grad is not None, name
        assert weight.grad.isfinite().all(), name
        assert weight.grad.abs().max() > 1e-4, name


def test_no_labels_equal_the_label_unlabelled(config: Config) -> None:
    network = filled(network_of(config))
    x, times = inputs(3, 4, 4)
    none = network(x, times)
    assert (none == network(x, times, torch.full((3,), UNLABELLED))).all()
    assert (network(x, times, torch.zeros(3, dtype=torch.int64)) - none).abs().max() > 0.01


def test_no_augmentation_is_zeros_and_others_change_their_image(config: Config) -> None:
    network = filled(network_of(config))
    x, times = inputs(3, 4, 4)
    nothing = network(x, times)
    assert (nothing == network(x, times, None, torch.zeros(3, 5))).all()
    for number in range(5):
        augmentation = torch.zeros(3, 5)
        augmentation[1, number] = 1
        change = (network(x, times, None, augmentation) - nothing).abs().amax(dim=(1, 2, 3))
        assert change[1] > 0.001
        assert (change[[0, 2]] == 0).all()


def test_a_network_without_augmentation_rejects_its_labels(config: Config) -> None:
    network = network_of(replace(config, augmentation=0))
    assert not [name for name, _ in network.named_parameters() if "augmentation" in name]
    with pytest.raises(ConfigError, match="no input for the augmentation"):
        network(*inputs(2, 4, 4), None, torch.zeros(2, 9))


def test_an_images_output_does_not_depend_on_the_others(config: Config) -> None:
    network = filled(network_of(config)).eval()
    x, times = inputs(4, 5, 6)
    labels, augmentation = torch.tensor([2, UNLABELLED, 0, 1]), torch.randn(4, 5)
    together = network(x, times, labels, augmentation)
    for i in range(4):
        alone = network(x[i : i + 1], times[i : i + 1], labels[i : i + 1], augmentation[i : i + 1])
        torch.testing.assert_close(together[i : i + 1], alone, rtol=1e-4, atol=1e-5)


def test_dropout_acts_in_training_only(config: Config) -> None:
    network = filled(network_of(replace(config, dropout=0.5)))
    x, times = inputs(2, 4, 4)
    assert (network.train()(x, times) != network(x, times)).any()
    assert (network.eval()(x, times) == network(x, times)).all()
