"""All that changes while a model learns, and its way into a checkpoint and back."""

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor

from sfumato.diffusion.denoiser import PreconditionedDenoiser
from sfumato.models import check_tensors, load_tensors
from sfumato.training.config import OptimizationConfig
from sfumato.training.optim import optimizer_for
from sfumato.utils.files import read_tensors, validated, write_tensors

KIND = "sfumato-checkpoint"


@dataclass
class Counters:
    """How far a run has come.

    Attributes:
        images_seen: images trained on, repeats and skipped steps included.
        steps: optimizer steps taken.
        skipped: steps skipped because the loss or the gradient was not finite.
        seconds: time spent in training steps.
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}

    images_seen: int = 0
    steps: int = 0
    skipped: int = 0
    seconds: float = 0.0


@dataclass(frozen=True)
class Checkpoint:
    """What a training state was at a moment, in the host's memory.

    Attributes:
        tensors: by name, of the model, its average and its optimizer.
        counters: how far they had come.
    """

    tensors: dict[str, Tensor]
    counters: Counters

    @property
    def average(self) -> dict[str, Tensor]:
        """The weights of the averaged model."""
        return _under("average.", self.tensors)

    def save(self, path: Path) -> None:
        """Writes it.

        Raises:
            RunError: it could not be written, or holds a value that is not finite; an older file is left as it was.
        """
        write_tensors(path, self.tensors, KIND, asdict(self.counters))


class TrainingState:
    """The model in training, its average, its optimizer, and how far they have come. Weights lie channels last.

    Args:
        model: freshly built, on its device.
        settings: name the optimizer.
    """

    def __init__(self, model: PreconditionedDenoiser, settings: OptimizationConfig) -> None:
        model.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # not in PyTorch's types
        self.model = model.train()
        self.average = deepcopy(model).eval().requires_grad_(False)
        self.optimizer = optimizer_for(settings.optimizer).built(model.network, settings.learning_rate)
        self.counters = Counters()

    def checkpoint(self) -> Checkpoint:
        """A copy of all that changes, which stays as it is while training goes on."""
        return Checkpoint(copied(self._tensors()), replace(self.counters))

    def load(self, path: Path) -> None:
        """Takes over all that a checkpoint holds.

        Raises:
            RunError: the file is truncated, foreign, changed, or of another network.
        """
        tensors, notes = read_tensors(path, KIND)
        self.counters = validated(Counters, notes, path)
        load_tensors(self.model.network, _under("model.", tensors), path)
        load_tensors(self.average.network, _under("average.", tensors), path)
        self._load_optimizer(_under("optimizer.", tensors), path)

    def _tensors(self) -> dict[str, Tensor]:
        tensors = {f"model.{name}": tensor for name, tensor in self.model.network.state_dict().items()}
        tensors |= {f"average.{name}": tensor for name, tensor in self.average.network.state_dict().items()}
        return tensors | {f"optimizer.{name}": tensor for name, tensor in self._memory().items()}

    def _memory(self) -> dict[str, Tensor]:
        """The optimizer's own tensors, by the names of parameters and of what is remembered of them."""
        memory = self.optimizer.memory()
        return {
            f"{name}.{quantity}": tensor
            for name, parameter in self.model.network.named_parameters()
            for quantity, tensor in memory[parameter].items()
        }

    def _load_optimizer(self, tensors: dict[str, Tensor], path: Path) -> None:
        memory = self._memory()
        check_tensors(memory, tensors, path)
        for name, tensor in memory.items():
            tensor.copy_(tensors[name])


def copied(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same tensors in memory of their own, on the CPU, contiguous as files want them."""
    plain = torch.contiguous_format
    return {name: tensor.detach().to("cpu", copy=True, memory_format=plain) for name, tensor in tensors.items()}


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors whose names begin with `prefix`, without it."""
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
