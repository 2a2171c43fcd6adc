"""The ConvNet and its blocks."""

import math
from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sfumato.errors import ConfigError, LabelError
from sfumato.networks.convblocks import (
    LOG_NOISE_PERIODS,
    STEP_PERIODS,
    Attention,
    ConvBlock,
    ConvNetHead,
    ConvNetStem,
    FoldDown,
    FoldUp,
    Periods,
)
from sfumato.networks.convnet import ConvNet, ConvNetConfig
from sfumato.networks.region import MAX_SHAPES, Region
from sfumato.utils.shapes import UNLABELLED

from .test_unet import filled

NAN = math.nan

TINY = ConvNetConfig(
    image_channels=2, width=8, multipliers=(1, 2), blocks=(1, 2), attention_levels=(1,), classes=3, augmentation=5
)
TOLD = replace(TINY, classes=0, columns=(0, 3), augmentation=0)
"""A number and a category."""

PLAIN = replace(TINY, classes=0, augmentation=0)


@pytest.fixture(autouse=True)
def seeded() -> Iterator[None]:
    """Torch's generator, of a known state inside and restored behind."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def inputs(count: int, height: int, width: int, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    """Noisy images for TINY, and times of EDM's range."""
    return torch.randn(count, 2, height, width, dtype=dtype), torch.linspace(-1.5, 1.1, count, dtype=dtype)


@pytest.mark.parametrize(("classes", "weights"), [(0, 55_079_936), (10, 55_079_936 + 11 * 512)])
def test_the_network_has_the_weight_count_of_the_experiments(classes: int, weights: int) -> None:
    with torch.device("meta"):
        network = ConvNet(ConvNetConfig(3, 128, (1, 2, 4), (2, 2, 3), (2,), classes=classes))
    assert sum(weight.numel() for weight in network.parameters()) == weights


@pytest.mark.parametrize("patch", [1, 2, 3])
@pytest.mark.parametrize(("height", "width"), [(28, 28), (30, 45), (8, 8), (1, 7)])
def test_images_of_any_size_keep_their_size(height: int, width: int, patch: int) -> None:
    network = filled(ConvNet(ConvNetConfig(1, 8, (1, 2, 2, 2), (1, 1, 1, 1), (1, 3), patch=patch)))
    output = network(torch.randn(2, 1, height, width), torch.tensor([0.0, 1.0]))
    assert output.shape == (2, 1, height, width)
    assert output.isfinite().all()
    assert output.std() > 0.1


def test_every_weight_of_column_embeddings_gets_a_gradient() -> None:
    network = filled(ConvNet(TOLD))
    rows = torch.tensor([[0.5, 1], [NAN, NAN], [1.0, 0], [NAN, 2]])
    network(*inputs(4, 5, 4), rows).square().sum().backward()
    for name, weight in network.named_parameters():
        assert weight.grad is not None, name
        assert weight.grad.isfinite().all(), name
        assert weight.grad.abs().max() > 1e-4, name


@pytest.mark.parametrize("width", [4, 6, 32, 128])
def test_time_and_class_reach_the_output_at_every_width(width: int) -> None:
    network = filled(ConvNet(ConvNetConfig(1, width, (1,), (1,), (), classes=2)))
    x = torch.randn(1, 1, 6, 6).expand(3, 1, 6, 6)
    by_time = network(x, torch.tensor([-1.5, 0.0, 1.1]), torch.zeros(3, dtype=torch.int64))
    by_class = network(x, torch.zeros(3), torch.tensor([UNLABELLED, 0, 1]))
    for outputs in (by_time, by_class):
        assert torch.pdist(outputs.flatten(1)).min() > 0.01 * outputs.flatten(1).norm(dim=1).mean()


@pytest.mark.parametrize(("periods", "times"), [(LOG_NOISE_PERIODS, [-1.5, 0.0, 0.3]), (STEP_PERIODS, [0.0, 7, 999])])
def test_time_embeddings_range_from_shortest_to_longest_period(periods: Periods, times: list[float]) -> None:
    shortest, longest = periods
    waves = [shortest * (longest / shortest) ** (k / 63) for k in range(64)]
    expected = [[f(2 * math.pi * t / wave) for f in (math.sin, math.cos) for wave in waves] for t in times]
    network, received = ConvNet(PLAIN, periods), []
    network.embedding.expand.register_forward_pre_hook(lambda _, given: received.extend(given))
    network(inputs(3, 2, 2)[0], torch.tensor(times))
    torch.testing.assert_close(received[0], torch.tensor(expected), rtol=0, atol=1e-4)


@pytest.mark.parametrize(("periods", "scale"), [(LOG_NOISE_PERIODS, 1.0), (STEP_PERIODS, 400.0)])
def test_near_times_have_similar_embeddings_and_far_ones_do_not(periods: Periods, scale: float) -> None:
    """Over EDM's c_noise or DDPM's steps: a thousandth of the range changes little, a quarter much."""
    embedding = filled(ConvNet(PLAIN, periods)).embedding
    received = embedding(scale * torch.tensor([0.0, 0.0025, 0.625, 1.25, 2.5]), None, None)
    distances = (received[0] - received[1:]).norm(dim=1) / received[0].norm()
    assert distances[0] < 0.25
    assert distances[1:].min() > 0.3


def test_no_rows_equal_unknown_rows_and_all_columns_have_effect() -> None:
    network = filled(ConvNet(TOLD))
    x, times = inputs(1, 4, 4)
    x, times = x.expand(5, -1, -1, -1), times.expand(5)
    unknown = torch.full((5, 2), NAN)
    assert (network(x, times) == network(x, times, unknown)).all()
    rows = torch.tensor([[NAN, NAN], [0, NAN], [1, NAN], [NAN, 0], [NAN, 2]])
    assert torch.pdist(network(x, times, rows).flatten(1)).min() > 0.01


@pytest.mark.parametrize(
    ("config", "labels", "message"),
    [
        (PLAIN, torch.tensor([0, 1]), "network without classes"),
        (TINY, torch.zeros(2, 1), r"labels of shape \(2, 1\) were given to a network with 3 classes.*\(n,\)"),
        (TOLD, torch.tensor([0, 1]), r"labels of shape \(2,\) were given to a network with 2 columns.*\(n, 2\)"),
    ],
)
def test_labels_of_the_wrong_kind_are_rejected(config: ConvNetConfig, labels: Tensor, message: str) -> None:
    with pytest.raises(LabelError, match=message):
        ConvNet(config)(*inputs(2, 4, 4), labels)


@pytest.mark.parametrize("patch", [1, 2])
def test_the_network_is_shift_equivariant_far_from_edges(patch: int) -> None:
    """By whole pixels of the lowest level, which nothing but attention could tell."""
    network = filled(ConvNet(ConvNetConfig(1, 8, (1, 2), (1, 1), (), patch=patch)))
    x, times = torch.randn(1, 1, 64 * patch, 64 * patch), torch.zeros(1)
    inside = slice(28 * patch, 36 * patch)
    still = network(x, times)[..., inside, inside]
    moved = network(x.roll((2 * patch, 4 * patch), (2, 3)), times).roll((-2 * patch, -4 * patch), (2, 3))
    torch.testing.assert_close(moved[..., inside, inside], still, rtol=1e-4, atol=1e-5)
    by_less = network(x.roll(1, 3), times).roll(-1, 3)[..., inside, inside]
    assert (by_less - still).abs().max() > 0.01


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_region_borders_and_their_gradients_are_contiguous(dtype: torch.dtype) -> None:
    network, seen = filled(ConvNet(TINY)).to(dtype), []

    def look(region: nn.Module, given: tuple[object, ...], output: Tensor) -> None:
        for tensor in (output, *(x for x in given if isinstance(x, Tensor))):
            assert tensor.is_contiguous(), type(region)
        output.register_hook(lambda gradient: seen.append(gradient.is_contiguous()))

    regions = [module for module in network.modules() if isinstance(module, Region)]
    for region in regions:
        region.register_forward_hook(look)
    network(*inputs(2, 5, 4, dtype)).square().sum().backward()
    assert len(seen) == len(regions)
    assert all(seen)


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")
def test_every_region_is_one_graph_with_the_same_output(unchecked: None) -> None:
    """Without Inductor, which would take half a minute: whether each is one graph, and what that computes."""
    del unchecked
    network = filled(ConvNet(TINY))
    x, times = inputs(2, 5, 4)
    given = (x, times, torch.tensor([UNLABELLED, 2]), torch.randn(2, 5))
    expected = network(*given)
    for module in network.modules():
        if isinstance(module, Region):
            module.compile(dynamic=False, fullgraph=True, backend="eager")
    with torch._dynamo.config.patch(recompile_limit=MAX_SHAPES):
        torch.testing.assert_close(network(*given), expected)


def test_attention_is_softmax_of_normalised_queries_and_keys() -> None:
    attention = filled(Attention(128))
    x = torch.randn(2, 3, 2, 128)
    query, key, value = (attention.query_key_value(x).reshape(2, 6, 384)).chunk(3, dim=-1)
    heads = []
    for part in (slice(0, 64), slice(64, 128)):
        q, k = (v[..., part] / v[..., part].square().mean(-1, keepdim=True).sqrt() for v in (query, key))
        heads.append((q @ k.mT / 8).softmax(-1) @ value[..., part])
    expected = attention.project(torch.cat(heads, dim=-1)).reshape(x.shape)
    torch.testing.assert_close(attention(x), expected, rtol=1e-4, atol=1e-5)


def test_a_block_modulates_between_its_convolutions() -> None:
    block, x, embedding = filled(ConvBlock(8, 6, 0.0, False)), torch.randn(2, 3, 4, 8), torch.randn(2, 6)

    def convolved(layer: nn.Conv2d, x: Tensor) -> Tensor:
        return F.conv2d(x.movedim(3, 1), layer.weight, padding=1).movedim(1, 3)

    scale, shift = block.condition(embedding).reshape(2, 1, 1, 16).split(8, dim=-1)
    between = F.rms_norm(convolved(block.conv_in, F.silu(F.rms_norm(x, (8,)))), (8,))
    expected = x + convolved(block.conv_out, F.silu(between * (1 + scale) + shift))
    torch.testing.assert_close(block(x, embedding), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("height", "width"), [(4, 6), (5, 3)])
def test_fold_up_inverts_fold_down(height: int, width: int) -> None:
    fold, unfold, x = FoldDown(1, 4), FoldUp(4, 1), torch.randn(2, height, width, 1)
    with torch.no_grad():
        for layer in (fold, unfold):
            layer.map.weight.copy_(torch.eye(4))
    assert fold(x).shape == (2, -(-height // 2), -(-width // 2), 4)
    assert (fold(x)[:, 0, 0] == x[:, :2, :2].flatten(1)).all()
    assert (unfold(fold(x), height, width) == x).all()


@pytest.mark.parametrize("patch", [1, 2])
def test_stem_and_head_have_the_same_patch_layout(patch: int) -> None:
    """With kernels that copy their middle, the head gives the image back, but for its norm and SiLU."""
    stem, head, images = ConvNetStem(2, 8, patch), ConvNetHead(8, 2, patch), torch.randn(2, 2, 5, 3)
    with torch.no_grad():
        for layer in (stem, head):
            layer.conv.weight.zero_()[:, :, 1, 1] = torch.eye(8)
    features = stem(images)
    found = head(features, 5, 3)
    patches = F.silu(features / features.square().mean(-1, keepdim=True).sqrt())[..., : 2 * patch**2]
    expected = F.pixel_shuffle(patches.permute(0, 3, 1, 2), patch)[..., :5, :3]
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    assert (found.sign() == images.sign()).all()


@pytest.mark.parametrize(
    ("changes", "remedy"),
    [
        ({"width": 3}, "a width of at least 4"),
        ({"multipliers": (), "blocks": ()}, "at least one level"),
        ({"multipliers": (1, 0)}, "positive numbers"),
        ({"blocks": (1, 0)}, "positive numbers"),
        ({"patch": 0}, "positive numbers"),
        ({"blocks": (1,)}, "one of each for every level"),
        ({"attention_levels": (2,)}, "0 ... 1"),
        ({"attention_levels": (-1,)}, "0 ... 1"),
        ({"width": 48}, "up to 64 channels, or a multiple of 64"),
        ({"augmentation": -1}, "0 or more"),
        ({"columns": (2,)}, "either classes or columns"),
        ({"classes": 0, "columns": (2, -1)}, "of 0 or more values"),
    ],
)
def test_an_invalid_network_is_rejected_with_a_remedy(changes: dict[str, object], remedy: str) -> None:
    with pytest.raises(ConfigError) as caught:
        replace(TINY, **changes)  # type: ignore[arg-type]
    assert remedy in caught.value.remedy


@pytest.mark.parametrize("width", [8, 32, 64, 128])
def test_attention_heads_divide_the_usual_widths(width: int) -> None:
    network = filled(ConvNet(ConvNetConfig(1, width, (1,), (1,), (0,))))
    assert network(torch.randn(1, 1, 4, 4), torch.zeros(1)).isfinite().all()
