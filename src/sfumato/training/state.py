"""Training state: model, EMA, optimizer and counters, which a checkpoint saves; and the training budget."""

from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor, nn

from sfumato.diffusion.denoiser import PreconditionedDenoiser
from sfumato.training.config import OptimizationConfig
from sfumato.training.optim import OPTIMIZERS
from sfumato.utils.files import check_finite, check_tensors, check_weights, read_tensors, validated, write_tensors

CHECKPOINT_KIND = "sfumato-checkpoint"


@dataclass
class Counters:
    """Progress of a run.

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
class Budget:
    """Training budget: images, minutes, or both, in which case training ends at the first limit.

    Attributes:
        images: images to train on, repetitions included; None: unlimited.
        minutes: training time in minutes, in total over all resumes; None: unlimited.
    """

    images: int | None
    minutes: float | None

    @staticmethod
    def of(settings: OptimizationConfig) -> "Budget":
        """The budget in the settings."""
        return Budget(settings.images, settings.minutes)

    def spent(self, counters: Counters, more: int = 0) -> float:
        """Share of the budget, in [0, 1], that is spent after `more` further images."""
        images = (counters.images_seen + more) / self.images if self.images else 0.0
        minutes = counters.seconds / (60 * self.minutes) if self.minutes else 0.0
        return min(1.0, max(images, minutes))

    def batch(self, counters: Counters, usual: int) -> int:
        """Batch size of the next step: `usual`, or the number of images left if that is smaller."""
        return usual if self.images is None else min(usual, self.images - counters.images_seen)

    def __str__(self) -> str:
        images = [] if self.images is None else [f"{self.images:,} images"]
        minutes = [] if self.minutes is None else [f"{self.minutes:g} minutes of training"]
        return " or ".join(images + minutes)


@dataclass(frozen=True)
class Checkpoint:
    """Copies, in the host's memory, of the tensors of the model, its EMA and the optimizer, and the counters."""

    tensors: dict[str, Tensor]
    counters: Counters

    @property
    def average(self) -> dict[str, Tensor]:
        """EMA of the weights."""
        return _under("average.", self.tensors)

    def save(self, path: Path) -> None:
        """Writes the checkpoint to a file; an existing file remains unchanged on an error."""
        write_tensors(path, self.tensors, CHECKPOINT_KIND, asdict(self.counters))


class TrainingState:
    """The model in training, the EMA of its weights, its optimizer and counters. Weights are channels-last."""

    def __init__(self, model: PreconditionedDenoiser, settings: OptimizationConfig) -> None:
        if not model.is_custom:  # custom networks may expect contiguous features
            model.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # not in its types
        self.model = model.train()
        self.average = deepcopy(model).eval().requires_grad_(False)
        self.optimizer = OPTIMIZERS.parse(settings.optimizer).built(
            model.network, settings.learning_rate, model.example_inputs()
        )
        self.counters = Counters()

    def checkpoint(self) -> Checkpoint:
        """A copy of the state, which later steps do not change.

        Raises:
            RunError: a weight or a value of the optimizer is not finite.
        """
        check_finite(self._tensors(lambda network: dict(network.named_parameters())), "the training state")
        return Checkpoint(copied(self._tensors(nn.Module.state_dict)), replace(self.counters))

    def averaged(self) -> dict[str, Tensor]:
        """A copy of the EMA of the weights and of the buffers; raises `RunError` if a weight is not finite."""
        check_finite(dict(self.average.network.named_parameters()), "the EMA of the weights")
        return copied(self.average.network.state_dict())

    def load(self, path: Path) -> None:
        """Loads a checkpoint.

        Raises:
            RunError: the file is truncated, changed, of another kind or of another network.
        """
        tensors, notes = read_tensors(path, CHECKPOINT_KIND)
        self.counters = validated(Counters, notes, path)
        for network, prefix in ((self.model.network, "model."), (self.average.network, "average.")):
            check_weights(network, _under(prefix, tensors), path)
            network.load_state_dict(_under(prefix, tensors))
        current, read = self._optimizer_tensors(), _under("optimizer.", tensors)
        check_tensors(current, read, path)
        check_finite(read, path)
        for name, tensor in current.items():
            tensor.copy_(read[name])

    def _tensors(self, of_network: Callable[[nn.Module], Mapping[str, Tensor]]) -> dict[str, Tensor]:
        """Tensors of the model and its EMA, chosen by a function, and those of the optimizer."""
        tensors = {f"model.{name}": tensor for name, tensor in of_network(self.model.network).items()}
        tensors |= {f"average.{name}": tensor for name, tensor in of_network(self.average.network).items()}
        return tensors | {f"optimizer.{name}": tensor for name, tensor in self._optimizer_tensors().items()}

    def _optimizer_tensors(self) -> dict[str, Tensor]:
        """Tensors of the optimizer, named parameter.quantity."""
        tensors = self.optimizer.state()
        return {
            f"{name}.{quantity}": tensor
            for name, parameter in self.model.network.named_parameters()
            for quantity, tensor in tensors[parameter].items()
        }


def copied(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Contiguous copies of tensors on the CPU."""
    plain = torch.contiguous_format
    return {name: tensor.detach().to("cpu", copy=True, memory_format=plain) for name, tensor in tensors.items()}


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors whose names start with `prefix`, which is removed from the names."""
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
