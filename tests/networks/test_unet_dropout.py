"""Dropout in the UNet's residual block is between the second norm's SiLU and the last convolution."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from sfumato.networks.layers import ResidualBlock, groups_of

from .test_unet import filled


def every_other(h: Tensor, dim: int) -> Tensor:
    """What dropout at 1/2 leaves if it drops the channels of even number."""
    kept = 2.0 * (torch.arange(h.shape[dim]) % 2).to(h.dtype)
    return h * kept.reshape([-1 if d == dim else 1 for d in range(h.ndim)])


@pytest.mark.parametrize("parts", [(8,), (12,), (12, 8)])
def test_a_block_drops_only_the_input_of_its_last_convolution(parts: tuple[int, ...]) -> None:
    """DDPM's resnet_block, by PyTorch's own functions, channels first."""
    torch.manual_seed(0)
    channels = sum(parts)
    block = filled(ResidualBlock(channels, 8, 6, 0.5)).double()
    block.dropout.register_forward_hook(lambda _, given, __: every_other(*given, dim=3))
    embedding, x = torch.randn(2, 6).double(), torch.randn(2, channels, 5, 4).double()

    def normed(h: Tensor, name: str) -> Tensor:
        norm = getattr(block, name)
        return F.silu(F.group_norm(h, groups_of(h.shape[1]), norm.weight, norm.bias, 1e-6))

    def convolved(h: Tensor, name: str) -> Tensor:
        layer = getattr(block, name)
        return F.conv2d(h, layer.weight, layer.bias, padding=layer.weight.shape[2] // 2)

    h = convolved(normed(x, "norm_in"), "conv_in") + block.condition(embedding)[:, :, None, None]
    h = convolved(every_other(normed(h, "norm_out"), dim=1), "conv_out")
    expected = h + (x if channels == 8 else convolved(x, "shortcut"))
    found = block(embedding, *(part.contiguous() for part in x.movedim(1, 3).split(parts, dim=3)))
    torch.testing.assert_close(found.movedim(3, 1), expected, rtol=1e-9, atol=1e-10)
