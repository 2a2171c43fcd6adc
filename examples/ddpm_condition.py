"""DDPM (arXiv 2006.11239) with classes, classifier-free guidance and EMA in one file: ddpm.py and these three.

Trains a network on images with classes, prints the training loss and writes grids of samples, one of each class.
Equation and line numbers are those of the paper. Example: python examples/ddpm_condition.py photos/ --size 64
"""

import argparse
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import sfumato as sf

DATA = "digits"  # the images: a folder of one folder per class, or "digits"; the first argument overrules it
SIZE = 16  # height and width of the images in pixels, at least 8; 64 in the article
OUT = Path("runs/ddpm_condition")  # folder of the sample grids
STEPS, BATCH, LEARNING_RATE = 50_000, 14, 3e-4
PRINT_EVERY, SAMPLE_EVERY = 100, 1000  # training steps
LABEL_DROPOUT = 0.1  # probability of training an image without its class label
GUIDANCE_SCALE = 3.0  # w + 1 of arXiv 2207.12598; 0: without classes, 1: without guidance
EMA_DECAY, EMA_WARMUP = 0.995, 2000  # during the article's 2000 warm-up steps the average equals the weights
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
    """One level of the UNet: two double convolutions, the embedding added to each pixel, self-attention."""

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

    def __init__(self, channels: int = 3, classes: int = 0) -> None:
        super().__init__()
        self.labels = nn.Embedding(classes + 1, 256, padding_idx=0)  # row 0 stays zero: no class
        self.first = double_conv(channels, 64, 64)
        self.down = nn.ModuleList([Block(64, 128, 128), Block(128, 256, 256), Block(256, 256, 256)])
        self.bottom = nn.Sequential(double_conv(256, 512, 512), double_conv(512, 512, 512), double_conv(512, 256, 256))
        self.up = nn.ModuleList([Block(512, 256, 128), Block(256, 128, 64), Block(128, 64, 64)])
        self.last = nn.Conv2d(64, channels, 1)

    def forward(self, x: Tensor, time: Tensor, labels: Tensor | None = None) -> Tensor:
        """x_t (n, channels, H, W), t (n,) from 0 to 1000 and class indices (n,), -1 for none, to the noise in x_t."""
        frequencies = 10000 ** (-torch.arange(0, 256, 2, device=x.device) / 256)
        angles = time[:, None] * frequencies  # (n, 128)
        rows = torch.zeros_like(time, dtype=torch.int64) if labels is None else labels + 1
        embedding = (torch.cat([angles.sin(), angles.cos()], dim=1) + self.labels(rows)).to(x.dtype)
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
    """Algorithm 1 (training) with label dropout and EMA. Returns the training loss of every step."""
    ema = sf.EMA(network, decay=EMA_DECAY, warmup_steps=EMA_WARMUP)
    optimizer = torch.optim.AdamW(network.parameters(), lr=LEARNING_RATE)
    times = torch.arange(T + 1, dtype=torch.float64)[:, None, None, None] / T
    alpha, sigma = SCHEDULE.alpha(times).float(), SCHEDULE.sigma(times).float()  # sqrt(abar_t), sqrt(1 - abar_t)
    losses = []
    for step in range(1, STEPS + 1):
        batch = data.select(torch.randint(len(data), (BATCH,)))  # line 2: x_0 ~ q(x_0)
        x_0 = batch.floats().to(device)
        labels = torch.where(torch.rand(BATCH) < LABEL_DROPOUT, -1, batch.labels).to(device)
        t = torch.randint(1, T + 1, (BATCH,))  # line 3: t ~ Uniform({1, ..., T}), both ends included
        noise = torch.randn_like(x_0)  # line 4: noise ~ N(0, I)
        x_t = alpha[t].to(device) * x_0 + sigma[t].to(device) * noise  # eq. 4
        loss = F.mse_loss(network(x_t, t.to(device).float(), labels), noise)  # line 5: eq. 14
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        ema.update()
        losses.append(loss.item())
        if step % PRINT_EVERY == 0:
            print(f"step {step}: loss {sum(losses[-PRINT_EVERY:]) / PRINT_EVERY:.4f}", flush=True)
        if step % SAMPLE_EVERY == 0 or step == STEPS:
            samples = sample(ema.model, torch.arange(len(data.label_names), device=device), data.image_shape)
            sf.save_grid(samples, OUT / f"{step:06}.png", titles=data.label_names)
    return losses


@torch.no_grad()
def sample(network: nn.Module, labels: Tensor, image_shape: tuple[int, int, int]) -> Tensor:
    """Algorithm 2 (sampling) with guidance. Returns an image of each class index (n, C, H, W), about in [-1, 1]."""
    x = torch.randn(len(labels), *image_shape, device=labels.device)  # line 1: x_T ~ N(0, I)
    for t in range(T, 0, -1):  # t = 1 included: the article's code never visits its first index, which is t = 1 here
        beta = SCHEDULE.betas[t - 1].item()
        sigma = SCHEDULE.sigma(torch.tensor(t / T, dtype=torch.float64)).item()  # sqrt(1 - abar_t)
        z = torch.randn_like(x) if t > 1 else torch.zeros_like(x)  # line 3: no noise in the last step
        time = torch.full_like(labels, t, dtype=torch.float32)
        noise = torch.lerp(network(x, time), network(x, time, labels), GUIDANCE_SCALE)  # guidance: 2207.12598, eq. 6
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
        data = sf.load_images(options.data, size=options.size)
    except sf.SfumatoError as error:
        parser.error(str(error))
    if not data.label_names:
        parser.error(f"{options.data} has no classes. Put the images of each class into a folder of its own.")
    print(f"{len(data)} images {data.image_shape}; grids of samples in {OUT}")
    train(UNet(channels=data.image_shape[0], classes=len(data.label_names)).to(device), data, device)


if __name__ == "__main__":
    main()
