"""The UNet against diffusers, weight by weight, and its blocks."""

import math
from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from sfumato.errors import ConfigError, LabelError
from sfumato.exchange.diffusers_names import diffusers_state
from sfumato.networks.layers import Downsample, Upsample, groups_of, sinusoidal
from sfumato.networks.unet import UNet, UNetConfig
from sfumato.utils.shapes import UNLABELLED

TINY = UNetConfig(
    image_channels=2, width=8, multipliers=(1, 2), blocks=1, attention_levels=(1,), dropout=0.0, classes=3
)


@pytest.fixture(autouse=True)
def seeded() -> Iterator[None]:
    """Torch's generator, of a known state inside and restored behind."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def filled(network: nn.Module) -> nn.Module:
    """The network with random weights everywhere, where it begins with zeros too, and activations of order one."""
    with torch.no_grad():
        for name, weight in network.named_parameters():
            fan_in = weight[0].numel() if weight.ndim > 1 else 4
            weight.normal_(std=fan_in**-0.5)
            if "norm" in name and name.endswith("weight"):
                weight.add_(1)
    return network


def inputs(count: int, height: int, width: int, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    """Noisy images for TINY, and times."""
    return torch.randn(count, 2, height, width, dtype=dtype), torch.linspace(0, 999, count, dtype=dtype)


def test_the_cifar_network_has_the_weight_count_of_the_paper() -> None:
    with torch.device("meta"):
        network = UNet(UNetConfig(3, 128, (1, 2, 2, 2), 2, (1,), 0.1, 0))
    assert sum(weight.numel() for weight in network.parameters()) == 35_746_307


@pytest.mark.parametrize("classes", [0, 3])
def test_the_output_equals_diffusers_with_the_same_weights(classes: int) -> None:
    """google/ddpm-cifar10-32, all of its weights; with classes, diffusers' table has our row for no class."""
    from diffusers import UNet2DModel  # takes seconds to import

    ours = filled(UNet(UNetConfig(3, 128, (1, 2, 2, 2), 2, (1,), 0.0, classes))).eval()
    theirs: nn.Module = UNet2DModel(  # type: ignore[no-untyped-call, assignment]
        sample_size=32,
        in_channels=3,
        out_channels=3,
        block_out_channels=(128, 256, 256, 256),
        layers_per_block=2,
        down_block_types=("DownBlock2D", "AttnDownBlock2D", "DownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "UpBlock2D", "AttnUpBlock2D", "UpBlock2D"),
        downsample_padding=0,
        flip_sin_to_cos=False,
        freq_shift=1,
        norm_eps=1e-6,
        act_fn="silu",
        attention_head_dim=None,
        num_class_embeds=classes + 1 if classes else None,
    )
    theirs.eval().load_state_dict(diffusers_state(ours.state_dict()), strict=True)
    x, times = torch.randn(3, 3, 16, 16), torch.tensor([0.0, 10.0, 999.0])
    labels = torch.tensor([UNLABELLED, 0, 2]) if classes else None
    with torch.no_grad():
        found = ours(x, times, labels)
        expected = theirs(x, times, class_labels=None if labels is None else labels + 1).sample
    assert expected.std() > 0.1
    assert (found - expected).norm() < 1e-5 * expected.norm()


@pytest.mark.parametrize(("height", "width"), [(28, 28), (30, 45), (8, 8), (1, 7)])
def test_images_of_any_size_keep_their_size(height: int, width: int) -> None:
    network = UNet(UNetConfig(1, 8, (1, 2, 2, 2), 2, (1, 3), 0.0, 0))
    assert network(torch.randn(2, 1, height, width), torch.tensor([0.0, 5.0])).shape == (2, 1, height, width)


def test_downsampling_of_odd_sizes_is_symmetric() -> None:
    """TensorFlow's SAME padding is symmetric for an odd size: three taps centred on every other pixel."""
    layer = Downsample(1)
    with torch.no_grad():
        layer.conv.weight.fill_(1)
        layer.conv.bias.zero_()  # type: ignore[union-attr]
    x = torch.randn(1, 5, 7, 1)
    torch.testing.assert_close(layer(x.flip(1, 2)), layer(x).flip(1, 2))


@pytest.mark.parametrize(("height", "width"), [(10, 6), (9, 6), (10, 5), (9, 5)])
def test_enlarging_repeats_nearest_neighbours_as_pytorch_does(height: int, width: int) -> None:
    layer, x = Upsample(3), torch.randn(2, 5, 3, 3)
    nearest = nn.functional.interpolate(x.movedim(-1, 1), (height, width), mode="nearest")
    torch.testing.assert_close(layer(x, height, width), layer.conv(nearest.movedim(1, -1)))


@pytest.mark.parametrize("width", [4, 6, 8, 16, 32, 36, 128])
def test_time_and_class_reach_the_output_at_every_width(width: int) -> None:
    """A normalisation with one channel a group would take away what a residual block adds to its channels."""
    network = filled(UNet(UNetConfig(1, width, (1,), 1, (), 0.0, 2)))
    x = torch.randn(1, 1, 6, 6).expand(3, 1, 6, 6)
    by_time = network(x, torch.tensor([0.0, 30.0, 900.0]), torch.zeros(3, dtype=torch.int64))
    by_class = network(x, torch.zeros(3), torch.tensor([UNLABELLED, 0, 1]))
    for outputs in (by_time, by_class):
        distances = torch.pdist(outputs.flatten(1))
        assert distances.min() > 0.002 * outputs.flatten(1).norm(dim=1).mean()


@pytest.mark.parametrize(
    ("channels", "groups"),
    [(128, 32), (256, 32), (384, 32), (64, 16), (32, 8), (48, 8), (18, 2), (4, 1), (6, 1), (5, 1)],
)
def test_groups_divide_the_channels_and_have_four_or_more(channels: int, groups: int) -> None:
    assert groups_of(channels) == groups


def test_labels_are_rejected_by_a_network_without_classes() -> None:
    network = UNet(UNetConfig(2, 8, (1,), 1, (), 0.0, 0))
    with pytest.raises(LabelError, match="network without classes"):
        network(*inputs(2, 4, 4), torch.tensor([0, 1]))


def test_augmentation_enters_before_the_time_layers_as_in_edm() -> None:
    network, augmentation = filled(UNet(replace(TINY, augmentation=5))), torch.randn(2, 5)
    times = torch.tensor([3.0, 500.0])
    embedding = network.time_embedding
    waves = sinusoidal(times, 8) + augmentation @ embedding.augmentation.weight.T
    torch.testing.assert_close(
        embedding(times, augmentation), embedding.mix(nn.functional.silu(embedding.expand(waves)))
    )


def test_the_augmentation_weights_are_random_at_first() -> None:
    """Its map begins at random, as EDM's does."""
    weight = UNet(replace(TINY, augmentation=5)).time_embedding.augmentation.weight
    assert weight.shape == (8, 5)
    assert weight.std() > 0.1


def test_the_time_embedding_is_sines_then_cosines() -> None:
    times = [0.0, 1.0, 37.0, 999.0]
    frequencies = [10_000 ** (-k / 3) for k in range(4)]
    expected = [[f(t * w) for f in (math.sin, math.cos) for w in frequencies] for t in times]
    found = sinusoidal(torch.tensor(times), 8)
    torch.testing.assert_close(found, torch.tensor(expected), rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    ("changes", "remedy"),
    [
        ({"width": 2}, "an even width of at least 4"),
        ({"width": 9}, "an even width of at least 4"),
        ({"multipliers": ()}, "at least one level"),
        ({"multipliers": (1, 0)}, "positive"),
        ({"blocks": 0}, "one block"),
        ({"attention_levels": (2,)}, "0 ... 1"),
        ({"attention_levels": (-1,)}, "0 ... 1"),
        ({"augmentation": -1}, "0 or more"),
    ],
)
def test_an_invalid_network_is_rejected_with_a_remedy(changes: dict[str, object], remedy: str) -> None:
    settings = {"image_channels": 1, "width": 8, "multipliers": (1, 2), "blocks": 1, "attention_levels": ()}
    with pytest.raises(ConfigError) as caught:
        UNetConfig(**{**settings, "dropout": 0.0, "classes": 0, **changes})  # type: ignore[arg-type]
    assert remedy in caught.value.remedy
