"""Random images, and small feature networks."""

from torch import Tensor, nn

from metrics.gaussians import draws


def images(count: int, channels: int, side: int, seed: int = 0) -> Tensor:
    """Random images in [-1, 1]."""
    return draws(count, channels * side * side, seed).clamp(-1, 1).reshape(count, channels, side, side)


class Means(nn.Module):
    """Mean of each channel, times a factor."""

    def __init__(self, factor: float = 1.0) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, images: Tensor) -> Tensor:
        """Features (n, 3)."""
        return self.factor * images.mean((2, 3))


class Classifier(nn.Module):
    """Logits: twice the means of the first two channels, times dropout; features: the means."""

    def __init__(self) -> None:
        super().__init__()
        self.dropout = nn.Dropout()

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (n, 2) and features (n, 3)."""
        means = images.mean((2, 3))
        return self.dropout(2 * means[:, :2]), means


class Random(nn.Module):
    """A linear layer with random weights."""

    def __init__(self, width: int = 3) -> None:
        super().__init__()
        self.layer = nn.Linear(3, width)

    def forward(self, images: Tensor) -> Tensor:
        """Features (n, width)."""
        return self.layer(images.mean((2, 3)))
