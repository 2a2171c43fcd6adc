"""Denoising diffusion probabilistic models (DDPM, arXiv 2006.11239) in one file.

Trains a network on images, prints the training loss and writes grids of samples. Equation and line numbers are those of
the paper; docs/learn derives the formulas. Example: python examples/ddpm.py photos/ --size 64
"""

import argparse
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import sfumato as sf

DATA = "digits"  # the images: a folder, an archive or "digits"; the first argument overrules it
SIZE = 16  # height and width of the images in pixels, at least 8; 64 in the article
OUT = Path("runs/ddpm")  # folder of the sample grids
STEPS, BATCH, LEARNING_RATE = 50_000, 12, 3e-4
PRINT_EVERY, SAMPLE_EVERY = 100, 1000  # training steps
T = 1000
SCHEDULE = sf.schedules.LinearBeta(T)  # beta_1 = 1e-4 ... beta_T = 0.02; step t of T is its time t / T


def double_conv(inputs: int, middle: int, outputs: int) -> nn.Sequential:
    """Two 3x3 convolutions, each followed by normalization."""
    return nn.Sequential(
        nn.Conv2d(inputs, middle, 3, padding=1, bias=False),
        nn.GroupNorm(1, middle),
        nn.GELU(),
        nn.Conv2d(middle, outputs, 3, padding=1, bias=False),
        nn.GroupNorm(1, outputs),
    )


class Block(nn.Module):
    """One level of the UNet: two double convolutions, the time embedding added to each pixel, self-attention."""

    def __init__(self, inputs: int, middle: int, outputs: int) -> None:
        super().__init__()
        self.residual = double_conv(inputs, inputs, inputs)
        self.convolutions = double_conv(inputs, middle, outputs)
        self.embedding = nn.Sequential(nn.SiLU(), nn.Linear(256, outputs))
        self.attention = nn.TransformerEncoderLayer(
            outputs, 4, outputs, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
        )

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        """(n, inputs, H, W) and (n, 256) to (n, outputs, H, W)."""
        x = F.gelu(x + self.residual(x))
        x = self.convolutions(x) + self.embedding(embedding)[:, :, None, None]
        pixels = self.attention(x.flatten(2).transpose(1, 2))  # (n, H W, outputs)
        return pixels.transpose(1, 2).reshape(x.shape)


class UNet(nn.Module):
    """Predicts the noise in x_t; 23.3 million parameters."""

    def __init__(self, channels: int = 3) -> None:
        super().__init__()
        self.first = double_conv(channels, 64, 64)
        self.down = nn.ModuleList([Block(64, 128, 128), Block(128, 256, 256), Block(256, 256, 256)])
        self.bottom = nn.Sequential(double_conv(256, 512, 512), double_conv(512, 512, 512), double_conv(512, 256, 256))
        self.up = nn.ModuleList([Block(512, 256, 128), Block(256, 128, 64), Block(128, 64, 64)])
        self.last = nn.Conv2d(64, channels, 1)

    def forward(self, x: Tensor, time: Tensor, labels: Tensor | None = None) -> Tensor:  # noqa: ARG002
        """x_t (n, channels, H, W) and t (n,), 0 to 1000, to the noise in x_t. Has no classes: ignores labels."""
        frequencies = 10000 ** (-torch.arange(0, 256, 2, device=x.device) / 256)
        angles = time[:, None] * frequencies  # (n, 128)
        embedding = torch.cat([angles.sin(), angles.cos()], dim=1).to(x.dtype)
        x, skips = self.first(x), []
        for block in self.down:
            skips.append(x)
            x = block(F.max_pool2d(x, 2), embedding)
        x = self.bottom(x)
        for block, skip in zip(self.up, reversed(skips), strict=True):
            x = F.interpolate(x, skip.shape[2:], mode="bilinear", align_corners=True)
            x = block(torch.cat([skip, x], dim=1), embedding)
        return self.last(x)


def train(network: nn.Module, data: sf.ImageSet, device: str) -> list[float]:
    """Algorithm 1 (training). Returns the training loss of every step."""
    optimizer = torch.optim.AdamW(network.parameters(), lr=LEARNING_RATE)
    times = torch.arange(T + 1, dtype=torch.float64)[:, None, None, None] / T
    alpha, sigma = SCHEDULE.alpha(times).float(), SCHEDULE.sigma(times).float()  # sqrt(abar_t), sqrt(1 - abar_t)
    losses = []
    for step in range(1, STEPS + 1):
        x_0 = data.select(torch.randint(len(data), (BATCH,))).floats().to(device)  # line 2: x_0 ~ q(x_0)
        t = torch.randint(1, T + 1, (BATCH,))  # line 3: t ~ Uniform({1, ..., T}), both ends included
        noise = torch.randn_like(x_0)  # line 4: noise ~ N(0, I)
        x_t = alpha[t].to(device) * x_0 + sigma[t].to(device) * noise  # eq. 4
        loss = F.mse_loss(network(x_t, t.to(device).float()), noise)  # line 5: eq. 14
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        if step % PRINT_EVERY == 0:
            print(f"step {step}: loss {sum(losses[-PRINT_EVERY:]) / PRINT_EVERY:.4f}", flush=True)
        if step % SAMPLE_EVERY == 0 or step == STEPS:
            sf.save_grid(sample(network, 16, data.image_shape, device), OUT / f"{step:06}.png")
    return losses


@torch.no_grad()
def sample(network: nn.Module, count: int, image_shape: tuple[int, int, int], device: str) -> Tensor:
    """Algorithm 2 (sampling). Returns images (count, C, H, W), about in [-1, 1]."""
    x = torch.randn(count, *image_shape, device=device)  # line 1: x_T ~ N(0, I)
    for t in range(T, 0, -1):  # t = 1 included: the article's code never visits its first index, which is t = 1 here
        beta = SCHEDULE.betas[t - 1].item()
        sigma = SCHEDULE.sigma(torch.tensor(t / T, dtype=torch.float64)).item()  # sqrt(1 - abar_t)
        z = torch.randn_like(x) if t > 1 else torch.zeros_like(x)  # line 3: no noise in the last step
        noise = network(x, torch.full((count,), float(t), device=device))
        mean = (x - beta / sigma * noise) / (1 - beta) ** 0.5  # eq. 11; the paper's alpha_t is 1 - beta_t
        x = mean + beta**0.5 * z  # line 4, with the variance beta_t of section 3.2
    return x


def main() -> None:
    """Trains on the images and writes grids of samples."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", nargs="?", default=DATA)
    parser.add_argument("--size", type=int, default=SIZE)
    options = parser.parse_args()
    torch.manual_seed(0)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        data = sf.load_images(options.data, size=options.size, labels=False)
    except sf.SfumatoError as error:
        parser.error(str(error))
    print(f"{len(data)} images {data.image_shape}; grids of samples in {OUT}")
    train(UNet(channels=data.image_shape[0]).to(device), data, device)


if __name__ == "__main__":
    main()
