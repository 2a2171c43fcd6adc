"""Networks: plain PyTorch modules without code for diffusion.

A network is called as network(x, time, labels) with x (n, C, H, W), time (n,) float32, and labels: class indices (n,)
int64 (-1: no class), rows of conditions (n, k) float32 (NaN: unknown), or None. It returns a tensor of the shape of x.
"""

from sfumato.networks.convnet import ConvNet, ConvNetConfig
from sfumato.networks.unet import UNet, UNetConfig

__all__ = ["ConvNet", "ConvNetConfig", "UNet", "UNetConfig"]
