"""How long a run lasts, how far it has come, and the learning rate that follows from that."""

from dataclasses import dataclass

from sfumato.training.config import OptimizationConfig
from sfumato.training.state import Counters


@dataclass(frozen=True)
class Budget:
    """Images, minutes of training, or both, of which the first that is spent ends the run.

    Attributes:
        images: images to train on, repeats counted; None: any number.
        minutes: of training steps, over all the times that the run was resumed; None: any number.
    """

    images: int | None
    minutes: float | None

    @staticmethod
    def of(settings: OptimizationConfig) -> "Budget":
        """What the settings allow."""
        return Budget(settings.images, settings.minutes)

    def spent(self, counters: Counters, more: int = 0) -> float:
        """The share of the run, in [0, 1], that is over; once `more` images are trained on, if so many are left."""
        images = (counters.images_seen + more) / self.images if self.images else 0.0
        minutes = counters.seconds / (60 * self.minutes) if self.minutes else 0.0
        return min(1.0, max(images, minutes))

    def batch(self, counters: Counters, usual: int) -> int:
        """How many images the next step takes: what is left, if that is less than usual."""
        return usual if self.images is None else min(usual, self.images - counters.images_seen)

    def __str__(self) -> str:
        images = [] if self.images is None else [f"{self.images:,} images"]
        minutes = [] if self.minutes is None else [f"{self.minutes:g} minutes of training"]
        return " or ".join(images + minutes)


def rate_scale(settings: OptimizationConfig, begun: float, ended: float) -> float:
    """The share of the peak learning rate in a step from one share of the run to another.

    A straight rise over the warm-up, which the step's end decides, so that the first step learns; then the peak; then
    a straight fall to zero over the decay, which the step's beginning decides, so that the last step learns as well.
    """
    risen = min(1.0, ended / settings.warmup) if settings.warmup else 1.0
    left = min(1.0, (1 - begun) / settings.decay) if settings.decay else 1.0
    return min(risen, left)
