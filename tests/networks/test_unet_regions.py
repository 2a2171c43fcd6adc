"""The UNet's regions: each is one graph, agrees with eager code and copies nothing at its boundary."""

import importlib.util
from collections.abc import Callable, Iterator
from types import ModuleType

import pytest
import torch
from torch import Tensor, nn

from sfumato.networks import layers
from sfumato.networks.layers import GroupNorm
from sfumato.networks.region import Region
from sfumato.networks.unet import UNet

from .test_unet import TINY, filled, inputs


@pytest.fixture(autouse=True)
def seeded() -> Iterator[None]:
    """Torch's generator, of a known state inside and restored behind."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def features(channels: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Of two images of 5x4 pixels, far from a mean of 0 and a deviation of 1, and in each channel differently."""
    x = 3 + torch.randn(channels) + 2 * torch.randn(2, 5, 4, channels)
    return x.to(dtype).requires_grad_()


def output_and_gradients(
    function: Callable[..., Tensor], arguments: list[Tensor], weights: list[Tensor]
) -> list[Tensor]:
    """What it says of the arguments, and the gradients of a weighted sum of that by arguments and weights."""
    output = function(*arguments)
    total = (output * torch.linspace(-1, 1, output.numel()).view_as(output).to(output.dtype)).sum()
    return [output, *torch.autograd.grad(total, [a for a in (*arguments, *weights) if a.requires_grad])]


@pytest.mark.parametrize("channels", [(8,), (6,), (20, 12), (64, 32), (128, 256)])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 1e-4)])
def test_eager_and_compiled_norms_equal_that_of_joined_features(
    channels: tuple[int, ...], dtype: torch.dtype, tolerance: float
) -> None:
    """Groups may begin in one part and end in another, as the ninth of 32 does in 128 channels beside 256."""
    norm = filled(GroupNorm(sum(channels))).to(dtype)
    assert isinstance(norm, GroupNorm)
    parts = [features(c, dtype) for c in channels]
    x = torch.cat(parts, dim=-1).movedim(-1, 1)
    whole = nn.functional.group_norm(x, norm.num_groups, norm.weight, norm.bias, 1e-6)
    expected = nn.functional.silu(whole).movedim(1, -1)
    eager, compiled = (output_and_gradients(way, parts, [*norm.parameters()]) for way in (norm.eager, norm.compiled))
    torch.testing.assert_close(eager[0], expected, rtol=tolerance, atol=tolerance)
    for by_kernel, by_formula in zip(eager, compiled, strict=True):
        torch.testing.assert_close(by_formula, by_kernel, rtol=tolerance, atol=tolerance * by_kernel.abs().max().item())


@pytest.mark.parametrize("way", ["eager", "compiled"])
def test_a_norm_of_half_precision_is_rounded_once(way: str) -> None:
    norm = GroupNorm(8)
    x = features(8).detach().bfloat16()
    exact = getattr(norm.double(), way)(x.double())
    rounded = getattr(norm.float(), way)(x)
    assert rounded.dtype == torch.bfloat16
    assert ((rounded.double() - exact).abs() <= 2**-8 * exact.abs() + 1e-6).all()


def test_a_compiled_norm_is_precise_for_features_of_a_large_mean() -> None:
    """The variance is one of differences and not a difference of squares."""
    norm, x = GroupNorm(8), torch.randn(2, 5, 4, 8)
    torch.testing.assert_close(norm.compiled(x + 1000), norm.compiled(x), rtol=0, atol=1e-3)


@pytest.fixture(scope="module")
def unchecked_layers() -> ModuleType:
    """`sfumato.networks.layers` without the checks of shapes, which PyTorch cannot compile."""
    spec = importlib.util.spec_from_file_location("unchecked_layers", layers.__file__)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("name", "settings", "arguments"),
    [
        ("ResidualBlock", (8, 8, 6, 0.0), [torch.ones(2, 6), (8,)]),
        ("ResidualBlock", (20, 8, 6, 0.0), [torch.ones(2, 6), (12,), (8,)]),
        ("SelfAttention", (8,), [(8,)]),
        ("Downsample", (8,), [(8,)]),
        ("Upsample", (8,), [(8,), 9, 8]),
        ("Upsample", (8,), [(8,), 10, 7]),
        ("UNetStem", (3, 8), [torch.linspace(-1, 1, 120).view(2, 3, 5, 4)]),
        ("LastNorm", (8,), [(8,)]),
        ("UNetHead", (8, 3), [(8,)]),
        ("TimeEmbedding", (8, 6, 2), [torch.tensor([0.0, 999.0]), torch.ones(2, 2)]),
    ],
)
def test_a_compiled_region_equals_eager_and_is_contiguous(
    unchecked_layers: ModuleType, name: str, settings: tuple[float, ...], arguments: list[object]
) -> None:
    """Features are given by their channels. The gradients of a contiguous input and output are contiguous too."""
    region = filled(getattr(unchecked_layers, name)(*settings)).to(memory_format=torch.channels_last)
    assert isinstance(region, Region)
    given = [features(*a) if isinstance(a, tuple) else a for a in arguments]
    leaves = [a for a in given if isinstance(a, Tensor) and a.requires_grad]
    eager = output_and_gradients(lambda *_: region(*given), leaves, [*region.parameters()])
    region.compile(dynamic=False, fullgraph=True, backend="aot_eager")
    compiled = output_and_gradients(lambda *_: region(*given), leaves, [*region.parameters()])
    assert eager[0].is_contiguous()
    assert all(border.is_contiguous() for border in compiled[: 1 + len(leaves)])
    for ours, theirs in zip(compiled, eager, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4 * theirs.abs().max().item())


def test_all_weights_except_the_class_embedding_are_in_a_region() -> None:
    network = UNet(TINY)
    inside = {p for module in network.modules() if isinstance(module, Region) for p in module.parameters()}
    assert {name for name, p in network.named_parameters() if p not in inside} == {"class_embedding.weight"}


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("size", [(6, 4), (5, 7)])
def test_region_outputs_are_contiguous_for_either_weight_format(
    size: tuple[int, int], memory_format: torch.memory_format
) -> None:
    network = filled(UNet(TINY)).to(memory_format=memory_format)
    left: list[Tensor] = []
    for module in network.modules():
        if isinstance(module, Region):
            module.register_forward_hook(lambda _, __, output: left.append(output))
    network(*inputs(2, *size))
    assert len(left) > 10
    assert all(output.is_contiguous() for output in left)
