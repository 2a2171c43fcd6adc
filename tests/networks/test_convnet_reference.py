"""The ConvNet against an independent reference: outputs and gradients."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from networks.convnet_reference import convnet
from sfumato.networks.convblocks import LOG_NOISE_PERIODS, STEP_PERIODS, Periods
from sfumato.networks.convnet import ConvNet, ConvNetConfig

from .test_unet import filled

NAN = float("nan")

LEVELS = ConvNetConfig(
    image_channels=2,
    width=8,
    multipliers=(1, 2, 3),
    blocks=(2, 1, 3),
    attention_levels=(0, 2),
    classes=3,
    augmentation=5,
)
"""Skips of several blocks, levels with and without attention, a level of one block."""

CASES = {
    "levels": (LEVELS, LOG_NOISE_PERIODS, (5, 6)),
    "alike": (replace(LEVELS, multipliers=(1, 1, 1)), LOG_NOISE_PERIODS, (8, 8)),
    "steps": (replace(LEVELS, attention_levels=(1,)), STEP_PERIODS, (4, 4)),
    "heads": (ConvNetConfig(1, 64, (1, 2), (1, 2), (0, 1), classes=3), LOG_NOISE_PERIODS, (3, 4)),
    "patches": (replace(LEVELS, patch=2, blocks=(1, 2, 1)), LOG_NOISE_PERIODS, (7, 9)),
    "columns": (replace(LEVELS, classes=0, columns=(0, 3), augmentation=0), LOG_NOISE_PERIODS, (6, 5)),
    "neither": (replace(LEVELS, classes=0, augmentation=0), LOG_NOISE_PERIODS, (1, 6)),
}


@pytest.fixture(autouse=True)
def seeded() -> Iterator[None]:
    """Torch's generator, of a known state inside and restored behind."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def inputs(
    config: ConvNetConfig, periods: Periods, size: tuple[int, int]
) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None]:
    """Images, times that are exact in float32, labels and augmentation, for four images."""
    x = torch.randn(4, config.image_channels, *size, dtype=torch.float64)
    times = torch.tensor([-1.5, -0.25, 0.0, 1.125] if periods == LOG_NOISE_PERIODS else [0.0, 7, 100, 999])
    labels = torch.tensor([-1, 0, 2, 1]) if config.classes else None
    if config.columns:
        labels = torch.tensor([[0.5, 1], [NAN, NAN], [-1.0, 0], [NAN, 2]], dtype=torch.float64)
    augmentation = torch.randn(4, config.augmentation, dtype=torch.float64) if config.augmentation else None
    return x, times.double(), labels, augmentation


def half_dropped(h: Tensor, dim: int) -> Tensor:
    """As dropout at 1/2 would leave the features, if it dropped every other channel."""
    kept = 2.0 * (torch.arange(h.shape[dim]) % 2).to(h.dtype)
    return h * kept.reshape([-1 if d == dim else 1 for d in range(h.ndim)])


def with_gradients(output: Tensor, leaves: list[Tensor]) -> list[Tensor]:
    """The output, and the gradients of a weighted sum of it."""
    total = (output * torch.linspace(-1, 2, output.numel(), dtype=output.dtype).view_as(output)).sum()
    return [output, *torch.autograd.grad(total, leaves, allow_unused=True, materialize_grads=True)]


def assert_same(ours: list[Tensor], theirs: list[Tensor]) -> None:
    """All are equal up to the rounding of angles, which the network computes in float32."""
    assert ours[0].std() > 0.1
    for found, expected in zip(ours, theirs, strict=True):
        assert (found - expected).norm() <= 3e-5 * expected.norm() + 1e-9


@pytest.mark.parametrize("dropout", [False, True])
@pytest.mark.parametrize("case", CASES)
def test_outputs_and_gradients_are_those_of_the_reference(case: str, dropout: bool) -> None:
    config, periods, size = CASES[case]
    network = filled(ConvNet(config, periods)).double()
    if dropout:
        for module in network.modules():
            if isinstance(module, nn.Dropout):
                module.register_forward_hook(lambda _, __, h: half_dropped(h, 3))
    x, *rest = inputs(config, periods, size)
    weights = dict(network.named_parameters())
    leaves = [x.requires_grad_(), *weights.values()]
    expected = convnet(
        weights,
        x,
        *rest,
        blocks=config.blocks,
        attention_levels=config.attention_levels,
        patch=config.patch,
        periods=periods,
        dropout=(lambda h: half_dropped(h, 1)) if dropout else lambda h: h,
    )
    assert_same(with_gradients(network(x, *rest), leaves), with_gradients(expected, leaves))


@pytest.mark.parametrize("case", ["levels", "patches"])
def test_no_labels_equal_no_class_and_no_augmentation(case: str) -> None:
    config, periods, size = CASES[case]
    network = filled(ConvNet(config, periods)).double()
    x, times, *_ = inputs(config, periods, size)
    shape = {"blocks": config.blocks, "attention_levels": config.attention_levels, "patch": config.patch}
    expected = convnet(dict(network.named_parameters()), x, times, periods=periods, **shape)  # type: ignore[arg-type]
    assert_same([network(x, times)], [expected])
