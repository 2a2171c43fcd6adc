"""The `train` command that `inspect` recommends."""

from __future__ import annotations

import shlex
from dataclasses import replace
from functools import cache

import jaxtyping
import pytest
import torch

from sfumato.cli import parse
from sfumato.cli.train import Train
from sfumato.data import ImageSet
from sfumato.data.sources import ImageInfo, ReadOptions
from sfumato.models import Model
from sfumato.training import autoconfig, recommendation
from sfumato.training.architecture import model_for
from sfumato.training.autoconfig import forward_operations, resolve_config
from sfumato.training.config import NetworkConfig, TrainConfig
from sfumato.training.presets import preset_for
from sfumato.training.recommendation import recommend, train_command

CPU = torch.device("cpu")

SLOW, HALF_A_CORE, TWO_CORES, H200 = 1e10, 1e11, 3e11, 5e14
"""Operations per second of a convolution: on a busy CPU, an old CPU, two idle cores and a large GPU."""


@pytest.fixture(params=[SLOW, TWO_CORES, H200], ids=["slow", "two cores", "H200"])
def rate(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> float:
    """Operations per second of the device."""
    monkeypatch.setattr(autoconfig, "training_rate", lambda *_: request.param / 2)
    return float(request.param)


@pytest.fixture(autouse=True)
def _counted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Caches the operation counts of networks, which dominate the run time of these tests."""
    monkeypatch.setattr(autoconfig, "forward_operations", counted)


def counted(config: TrainConfig, images: ImageSet) -> int:
    """Operations per image, cached by network."""
    return counted_for(config.network, images.image_shape)


@cache
def counted_for(network: NetworkConfig, shape: tuple[int, int, int]) -> int:
    """Operations per image by network and shape."""
    config = preset_for("photos", "default")
    return forward_operations(replace(config, network=network), ImageSet.of(torch.zeros(1, *shape, dtype=torch.uint8)))


def parsed(command: str) -> TrainConfig:
    """The settings of a command, parsed without runtime type checks."""
    jaxtyping.config.update("jaxtyping_disable", True)
    try:
        verb = parse(shlex.split(command)[1:])
    finally:
        jaxtyping.config.update("jaxtyping_disable", False)
    assert isinstance(verb, Train)
    return verb.config


@pytest.mark.parametrize("count", [200, 3_000, 100_000])
@pytest.mark.parametrize("side", [300, 96, 40])
@pytest.mark.usefixtures("rate")
@pytest.mark.slow
def test_train_prints_no_warning_for_the_recommended_command(side: int, count: int) -> None:
    shapes = [ImageInfo(side, side, 3, "uint8"), *[ImageInfo(side + 1, side, 3, "uint8")] * (count - 1)]
    advice = recommend("photos", ReadOptions(), shapes, CPU)
    given = parsed(train_command("photos", advice, labels=True, count=count))
    images = recommendation._empty(count, 3, *(advice.options.size or (side, side)))
    plan = resolve_config(given, images, CPU)
    assert plan.warnings == ()
    assert plan.config.network == advice.plan.config.network
    assert plan.config.optimization == advice.plan.config.optimization
    assert given.data.augment == (0.12 if advice.preset and count < 5000 else 0.0 if advice.preset else None)


@pytest.mark.parametrize(
    ("rate", "expected"),
    [
        (H200, "--size 64 --minutes 30"),
        (TWO_CORES, "--size 64 --minutes 30"),
        (HALF_A_CORE, "--size 32 --minutes 120"),
        (SLOW, "--preset tiny"),
    ],
    indirect=["rate"],
)
def test_slower_devices_get_a_smaller_size(rate: float, expected: str) -> None:
    del rate
    shapes = [ImageInfo(144, 192, 3, "uint8"), ImageInfo(192, 144, 3, "uint8")] * 2000
    assert expected in train_command("photos", recommend("photos", ReadOptions(), shapes, CPU), True, 4000)


def test_small_data_sets_get_fewer_minutes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(autoconfig, "training_rate", lambda *_: H200 / 2)
    shapes = [ImageInfo(64, 64, 3, "uint8")] * 200
    advice = recommend("photos", ReadOptions(), shapes, CPU)
    assert "--images 200000" in train_command("photos", advice, True, 200)


def test_the_command_has_every_given_option() -> None:
    options = ReadOptions((12, 16), "pad", "bands", "channels", "all", (0.5, 3000), -9999, "cp932")
    advice = recommend("photos", options, [ImageInfo(50, 40, 4, "uint16")] * 9, CPU)
    data = parsed(train_command("photos", advice, labels=False, count=9)).data
    assert data.options() == options
    assert not data.labels


def test_memory_grows_with_the_batch_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(autoconfig, "training_rate", lambda *_: H200 / 2)
    advice = recommend("photos", ReadOptions((32, 32)), [ImageInfo(64, 64, 3, "uint8")] * 9000, CPU)
    images, config = recommendation._empty(9000, 3, 32, 32), advice.plan.config
    one, two = (
        autoconfig.batch_bytes(replace(config, optimization=replace(config.optimization, batch=size)), images)
        for size in (64, 128)
    )
    assert 0 < 2 * one == two


@pytest.mark.parametrize(("preset", "width"), [("default", 64), ("ddpm", 32)])
def test_batch_memory_is_the_activations_of_each_image(preset: str, width: int) -> None:
    """Weights do not depend on the batch size and are excluded."""
    config = preset_for("photos", preset)
    config = replace(config, network=replace(config.network, width=width))
    images = recommendation._empty(9000, 3, 32, 32)
    config = resolve_config(config, images, CPU, H200 / 2).config
    network = Model(model_for(config, images)).network

    def kept_for(count: int) -> int:
        kept: dict[int, tuple[torch.Tensor, int]] = {}

        def keep(tensor: torch.Tensor) -> torch.Tensor:
            kept[tensor.untyped_storage().data_ptr()] = tensor, tensor.untyped_storage().nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            result = network(torch.zeros(count, 3, 32, 32), torch.zeros(count))
        del result
        return sum(size for _, size in kept.values())

    further = kept_for(3) - kept_for(2)
    assert autoconfig.batch_bytes(config, images) / (config.optimization.batch or 1) == pytest.approx(further, rel=0.15)
