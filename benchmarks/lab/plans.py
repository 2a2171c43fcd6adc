"""What is tried, in lists that a command names."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from torch import nn

from lab.engine import Objective, Recipe
from lab.networks import ConvNet, ConvNetConfig, Transformer, ddpm


@dataclass(frozen=True)
class Trial:
    """One network, trained one way.

    Attributes:
        name: for the table.
        network: called with the number of classes.
        recipe: how it learns.
        seconds: of training.
        conditional: whether it learns the classes.
        judged: indices of the averages to judge (-1: the last weights); empty to measure speed alone.
        marks: shares of the budget after which the first average is kept as a guide (autoguidance).
        guidance: strengths to judge with the first of those guides.
    """

    name: str
    network: Callable[[int], nn.Module]
    recipe: Recipe = field(default_factory=Recipe)
    seconds: float = 60.0
    conditional: bool = False
    judged: tuple[int, ...] = (1,)
    marks: tuple[float, ...] = ()
    guidance: tuple[float, ...] = ()

    def for_longer(self, seconds: float) -> "Trial":
        """The same with another budget, judged with and without guidance."""
        return replace(self, name=f"{self.name}, {seconds:g} s", seconds=seconds, marks=(0.15,), guidance=(1.5, 2.0))


def convnet(widths: tuple[int, ...], depths: tuple[int, ...], attends: tuple[int, ...], **more: int | str) -> Callable:
    """A `ConvNet` that waits for the number of classes."""
    return lambda classes: ConvNet(ConvNetConfig(widths, depths, tuple(map(bool, attends)), classes=classes, **more))


def transformer(width: int, depth: int) -> Callable:
    """A `Transformer` that waits for the number of classes."""
    return lambda classes: Transformer(width, depth, classes)


FULL = convnet((128, 256, 512), (2, 2, 3), (0, 0, 1))
"""55 M parameters, 10.8 GFLOP forward: levels of 32, 16 and 8 pixels, attention at 8."""

PATCH = convnet((256, 512), (3, 4), (0, 1), patch=2)
"""69 M parameters, 11.0 GFLOP forward: patches of 2, levels of 16 and 8 pixels, attention at 8."""

PLANS = {
    "tiny": [
        Trial("conv", convnet((64, 64), (1, 1), (0, 1), patch=2), Recipe(batch=8), 2.0, judged=(0, -1)),
        Trial("conv, AdamW", convnet((64, 64), (1, 1), (0, 1)), Recipe(batch=8, muon=0.0), 2.0, True),
        Trial("transformer", transformer(64, 4), Recipe(batch=8), 3.0, marks=(0.3,), guidance=(1.5,)),
    ],
    "speed": [
        Trial("ddpm, batch 128", ddpm, Recipe(batch=128, muon=0.0), seconds=4.0, judged=()),
        Trial("ddpm, batch 512", ddpm, Recipe(batch=512, muon=0.0), seconds=4.0, judged=()),
        Trial("full", FULL, seconds=4.0, judged=()),
        Trial("full, AdamW", FULL, Recipe(muon=0.0), seconds=4.0, judged=()),
        Trial("patch", PATCH, seconds=4.0, judged=()),
        Trial("transformer 512 x 12", transformer(512, 12), seconds=4.0, judged=()),
    ],
    "noise": [
        Trial("full, mean -1.2", FULL, Recipe(batch=256, averages=(16.97,)), seconds=22.0, judged=(0,)),
        Trial(
            "full, mean -0.5",
            FULL,
            Recipe(batch=256, averages=(16.97,), objective=Objective(mean=-0.5)),
            seconds=22.0,
            judged=(0,),
        ),
    ],
    "rank": [
        Trial("full", FULL, seconds=40.0, judged=(1, 2)),
        Trial("patch", PATCH, seconds=40.0),
        Trial("full, batch 256", FULL, Recipe(batch=256), seconds=40.0),
        Trial("full, AdamW", FULL, Recipe(muon=0.0, adam=1e-3), seconds=40.0),
        Trial("transformer 384 x 12", transformer(384, 12), seconds=40.0),
    ],
}
