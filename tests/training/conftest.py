"""A dozen tiny images in two classes, a small network, and functions to stop a run at any step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import pytest
import torch

from sfumato.data import load_images
from sfumato.diffusion import losses as objective
from sfumato.diffusion.denoiser import PreconditionedDenoiser
from sfumato.diffusion.losses import NoiseLevels
from sfumato.models import Model
from sfumato.training.architecture import model_for
from sfumato.training.checkpoints import Run
from sfumato.training.config import DiffusionConfig, MonitoringConfig, NetworkConfig, OptimizationConfig, TrainConfig
from sfumato.training.data_config import DataConfig
from sfumato.training.loop import run_training
from sfumato.training.run_directory import DataRecord
from sfumato.training.state import CHECKPOINT_KIND, TrainingState
from sfumato.utils.files import read_tensors

Settings = Callable[..., TrainConfig]
Train = Callable[..., TrainingState]
NewState = Callable[..., TrainingState]
Calls = Callable[[ModuleType], "list[LossCall]"]
Saved = Callable[[Path], tuple[dict[str, torch.Tensor], dict[str, Any]]]


@pytest.fixture
def settings(photos: Path) -> Settings:
    """A configuration in which all that is random is switched on; settings are changed by their own names."""

    def changed(**changes: object) -> TrainConfig:
        config = TrainConfig(
            source=str(photos),
            preset="tiny",
            data=DataConfig(flip=True),
            network=NetworkConfig(width=8, multipliers=(1,), blocks=(1,), attention=(), dropout=0.2),
            diffusion=DiffusionConfig(schedule="linear:timesteps=50"),
            optimization=OptimizationConfig(
                images=80, batch=4, learning_rate=1e-2, warmup=0.2, ema="constant:decay=0.9", label_dropout=0.3
            ),
            monitoring=MonitoringConfig(
                validate_every=10**6, preview_count=2, preview_steps=5, validation_count=10, autoguidance_min_steps=0
            ),
        )
        for name, value in changes.items():
            if name == "source":
                config = replace(config, source=str(value))
                continue
            tables = ("data", "network", "diffusion", "optimization", "monitoring")
            table = next(t for t in tables if name in {f.name for f in fields(getattr(config, t))})
            config = replace(config, **{table: replace(getattr(config, table), **{name: value})})
        return config

    return changed


class StopAfter:
    """A reporter that requests a stop after a number of steps."""

    def __init__(self, steps: int) -> None:
        self.left = steps

    def say(self, text: str) -> None:
        """Does nothing."""

    def advance(self, images_seen: int, share: float, loss: float, waited: float) -> None:
        """Counts down."""
        del images_seen, share, loss, waited
        self.left -= 1

    def __call__(self) -> bool:
        """Whether they are over."""
        return self.left <= 0


@pytest.fixture
def go() -> Train:
    """Train in a run directory, at most `steps` steps."""

    def run(config: TrainConfig, out: Path, steps: int = 10**9) -> TrainingState:
        stop = StopAfter(steps)
        return run_training(config, out, device="cpu", reporter=stop, should_stop=stop).state

    return run


@pytest.fixture
def config(settings: Settings, go: Train, tmp_path: Path) -> TrainConfig:
    """Of a run of two steps at tmp_path / "run"."""
    made = settings(images=8)
    go(made, tmp_path / "run")
    return made


def opened(config: TrainConfig, path: Path) -> Run:
    """The run at `path`, open for training on the images of its configuration."""
    return Run(path, config, DataRecord.of(load_images(config.source)))


@pytest.fixture
def new_state() -> NewState:
    """The state that a run of `config` begins with."""

    def state(config: TrainConfig) -> TrainingState:
        torch.manual_seed(config.optimization.seed)
        model = Model(model_for(config, load_images(config.source, labels=config.data.labels)))
        return TrainingState(model, config.optimization)

    return state


@pytest.fixture
def saved() -> Saved:
    """The tensors and counters of the newest checkpoint of a run; without the seconds, which nothing can repeat."""

    def newest(run: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
        tensors, notes = read_tensors(max((run / "checkpoints").glob("*.safetensors")), CHECKPOINT_KIND)
        return tensors, {name: value for name, value in notes.items() if name != "seconds"}

    return newest


class LossCall(NamedTuple):
    """Arguments of the loss; absent labels and augmentation features are empty tensors."""

    training: bool
    x_0: torch.Tensor
    t: torch.Tensor
    noise: torch.Tensor
    labels: torch.Tensor
    features: torch.Tensor


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Calls:
    """`calls(module)` is the list of what that module asks of its loss from then on."""

    def watched(module: ModuleType) -> list[LossCall]:
        seen: list[LossCall] = []
        times: list[torch.Tensor] = []
        (name,) = {"squared_error", "weighted_loss"} & vars(module).keys()
        asked = getattr(module, name)

        def noise_levels(model: PreconditionedDenoiser, t: torch.Tensor, *rest: Any) -> NoiseLevels:  # noqa: ANN401
            times.append(t)
            return objective.noise_levels(model, t, *rest)

        def loss(
            model: PreconditionedDenoiser,
            x_0: torch.Tensor,
            when: Any,  # noqa: ANN401
            noise: torch.Tensor,
            *rest: torch.Tensor | None,
        ) -> torch.Tensor:
            known = [torch.empty(0) if given is None else given for given in (*rest, None)[:2]]
            seen.append(LossCall(model.training, x_0, times[-1] if times else when, noise, *known))
            computed: torch.Tensor = asked(model, x_0, when, noise, *rest)
            return computed

        monkeypatch.setattr(module, name, loss)
        if name == "weighted_loss":
            monkeypatch.setattr(module, "noise_levels", noise_levels)
        return seen

    return watched
