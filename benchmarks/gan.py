"""A GAN and a diffusion model with the same networks on a ring of six Gaussians.

    python benchmarks/gan.py

Prints, for several learning rates and seeds, the share of 2,000 samples within four standard deviations of a centre and
the number of runs in which every Gaussian has at least half of its share. Both are trained for 2,000 updates of 512
points with Adam, whose first decay rate is 0.5 for the GAN, as is usual for GANs, and 0.9 for diffusion. The network of
diffusion receives the timestep as sinusoids, and samples are drawn in 20 steps.
"""

import statistics
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import sfumato as sf
from sfumato.diffusion.denoiser import PreconditionedDenoiser, predict_noise

SEEDS, UPDATES, BATCH, SAMPLES = 5, 2000, 512, 2000
LEARNING_RATES = (3e-4, 1e-3, 3e-3, 1e-2)
DEVIATION, MODES = 0.08, 6
ANGLES = torch.arange(MODES) * 2 * torch.pi / MODES
CENTRES = 0.8 * torch.stack([ANGLES.cos(), ANGLES.sin()], 1)
SCHEDULE = sf.schedules.LinearBeta()
ALPHA_BAR = SCHEDULE.alpha_bar.float()


def points(count: int) -> Tensor:
    """Samples of the data, (count, 2)."""
    return CENTRES[torch.randint(MODES, (count,))] + DEVIATION * torch.randn(count, 2)


def perceptron(inputs: int, outputs: int) -> nn.Sequential:
    """A network of three hidden layers of 128."""
    sizes = [inputs, 128, 128, 128]
    hidden = [layer for n, m in pairwise(sizes) for layer in (nn.Linear(n, m), nn.SiLU())]
    return nn.Sequential(*hidden, nn.Linear(128, outputs))


def gan_samples(learning_rate: float) -> Tensor:
    """Samples of a GAN with the non-saturating loss."""
    generator, critic = perceptron(2, 2), perceptron(2, 1)
    of_generator, of_critic = (
        torch.optim.Adam(network.parameters(), learning_rate, (0.5, 0.999)) for network in (generator, critic)
    )
    for _ in range(UPDATES):
        fake = generator(torch.randn(BATCH, 2)).detach()
        loss = F.softplus(critic(fake)).mean() + F.softplus(-critic(points(BATCH))).mean()
        descend(loss, of_critic)
        descend(F.softplus(-critic(generator(torch.randn(BATCH, 2)))).mean(), of_generator)
    return generator(torch.randn(SAMPLES, 2))


class NoisePredictor(nn.Module):
    """A network that receives the timestep as sinusoids."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = perceptron(2 + 16, 2)

    def forward(self, x: Tensor, t: Tensor, labels: Tensor | None = None) -> Tensor:
        """x_t (n, 2, 1, 1) and t (n,) to the noise in x_t."""
        del labels
        turns = t[:, None] * 10000 ** (-torch.arange(8) / 8)
        return self.layers(torch.cat([x.flatten(1), turns.sin(), turns.cos()], 1)).reshape(x.shape)


def diffusion_samples(learning_rate: float) -> Tensor:
    """Samples of DDPM with the default solver and 20 steps."""
    network = NoisePredictor()
    optimizer = torch.optim.Adam(network.parameters(), learning_rate)
    for _ in range(UPDATES):
        x_0, t, noise = points(BATCH), torch.randint(1, 1001, (BATCH,)), torch.randn(BATCH, 2)
        a = ALPHA_BAR[t][:, None]
        x_t = (a.sqrt() * x_0 + (1 - a).sqrt() * noise)[:, :, None, None]
        descend((network(x_t, t.float()).flatten(1) - noise).square().mean(), optimizer)
    model = PreconditionedDenoiser(network, SCHEDULE, predict_noise, (2, 1, 1))
    return sf.sample(model, SAMPLES, batch=SAMPLES).flatten(1)


def descend(loss: Tensor, optimizer: torch.optim.Optimizer) -> None:
    """One update."""
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


def judged(samples: Tensor) -> tuple[float, int]:
    """The share of samples near a centre, and the number of Gaussians with at least half of their share."""
    nearest = (samples[:, None] - CENTRES).norm(dim=2).min(1)
    near = nearest.values < 4 * DEVIATION
    counts = nearest.indices[near].bincount(minlength=MODES)
    return near.float().mean().item(), int((counts >= len(samples) / MODES / 2).sum())


def main() -> None:
    """Prints a row of the table for each learning rate."""
    for rate in LEARNING_RATES:
        for name, samples_of in (("GAN", gan_samples), ("diffusion", diffusion_samples)):
            results = []
            for seed in range(SEEDS):
                torch.manual_seed(seed)
                results.append(judged(samples_of(rate).detach()))
            shares = [share for share, _ in results]
            print(
                f"| {name} | {rate:g} | {statistics.mean(shares):.2f} ({min(shares):.2f} to {max(shares):.2f}) | "
                f"{sum(modes == MODES for _, modes in results)} of {SEEDS} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
