"""Devices without float64, such as Apple's, are supported. PyTorch's `meta` device stands in for them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from sfumato.data import Batch, augmentation
from sfumato.diffusion.denoiser import PreconditionedDenoiser, predict_velocity
from sfumato.diffusion.guidance import ClassifierFree, Labelled
from sfumato.diffusion.schedules import LinearBeta
from sfumato.networks.unet import UNet, UNetConfig
from sfumato.sampling.sampler import ImageNoise, sampler_config, trajectory
from sfumato.sampling.solvers import SOLVERS
from sfumato.training import step
from sfumato.training.config import OptimizationConfig, TrainConfig
from sfumato.training.data_config import DataConfig
from sfumato.training.state import TrainingState

ATEN = torch.ops.aten


class NoFloat64(TorchDispatchMode):
    """Within it, the device `meta` has no float64. What is read from it are ones."""

    def __torch_dispatch__(
        self,
        func: torch._ops.OpOverload,
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> object:
        inputs = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
        is_on_device = any(tensor.is_meta for tensor in inputs)
        if is_on_device and func is ATEN._local_scalar_dense.default:
            return 1
        if is_on_device and func is ATEN._to_copy.default and (kwargs or {}).get("device") == torch.device("cpu"):
            return torch.ones_like(inputs[0], device="cpu", dtype=(kwargs or {}).get("dtype"))
        if is_on_device and "_fused_adam" in func.name():  # it changes its inputs in place, and has no kernel for meta
            return None
        made = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(made):
            if isinstance(leaf, torch.Tensor) and leaf.is_meta and leaf.dtype == torch.float64:
                raise TypeError(f"{func}: the device has no float64")
        return made


@pytest.fixture
def device() -> Iterator[torch.device]:
    """A device without float64, and without values."""
    with NoFloat64():
        yield torch.device("meta")


def model(device: torch.device, augmentation: int = 0) -> PreconditionedDenoiser:
    """A small model there."""
    config = UNetConfig(1, 8, (1,), 1, (0,), dropout=0.1, classes=2, columns=(), augmentation=augmentation)
    return PreconditionedDenoiser(UNet(config), LinearBeta(timesteps=50), predict_velocity, (1, 8, 8), ("a", "b")).to(
        device
    )


def test_the_test_device_has_no_float64(device: torch.device) -> None:
    with pytest.raises(TypeError, match="no float64"):
        torch.ones(2, dtype=torch.float64).to(device)
    assert torch.ones(2, dtype=torch.float64).float().to(device).cpu().tolist() == [1, 1]


@pytest.mark.parametrize("solver", sorted(set(SOLVERS) - {"adaptive"}))  # which goes by the errors that it finds
@pytest.mark.slow
def test_every_solver_samples(solver: str, device: torch.device) -> None:
    guided = ClassifierFree(model(device), 2.0)
    denoiser = Labelled(guided, torch.zeros(2, dtype=torch.int64).to(device))
    sampler = sampler_config(denoiser.schedule, solver=solver, steps=6)
    noise = ImageNoise(0, range(2), denoiser.image_shape, device)
    *_, last = trajectory(sampler.clip(denoiser), noise(), sampler.timesteps, sampler.solver, noise)
    assert (last.x_t.dtype, last.x_t.device) == (torch.float32, device)


def test_each_image_can_have_its_own_time(device: torch.device) -> None:
    times = torch.tensor([0.2, 0.7], dtype=torch.float64)
    assert model(device)(torch.zeros(2, 1, 8, 8).to(device), times).device == device


@pytest.mark.parametrize("optimizer", ["adam", "muon"])
def test_a_model_learns(optimizer: str, device: torch.device) -> None:
    config = TrainConfig(
        "photos",
        data=DataConfig(flip=True, augment=0.5),
        optimization=OptimizationConfig(images=80, optimizer=optimizer),
    )
    state = TrainingState(model(device, augmentation.AUGMENTATION_FEATURES), config.optimization)
    images = torch.zeros(4, 1, 8, 8).to(device)
    step.training_step(state, Batch(images, torch.zeros(4, dtype=torch.int64).to(device)), config)
    assert state.counters.steps == 1
