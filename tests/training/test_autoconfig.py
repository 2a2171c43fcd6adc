"""Automatic configuration: network, batch size and augmentation for the budget, the images and the device."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch

from sfumato.data import ImageSet
from sfumato.errors import ConfigError
from sfumato.networks.convnet import ConvNetConfig
from sfumato.training import autoconfig
from sfumato.training.architecture import model_for
from sfumato.training.autoconfig import (
    CANDIDATE_WIDTHS,
    COARSE_WIDTHS,
    forward_operations,
    is_complete,
    resolve_config,
    with_levels,
)
from sfumato.training.checkpoints import Run
from sfumato.training.config import NetworkConfig, OptimizationConfig, TrainConfig
from sfumato.training.presets import DEFAULT_BUDGETS, PRESETS, preset_for
from sfumato.training.run_directory import DataRecord, config_to_resume, has_other_budget

CPU = torch.device("cpu")

OPEN = NetworkConfig(backbone="convnet", width=None, multipliers=None, blocks=None, patch=None, attention=(8,))

Speed = Callable[[float], None]


@pytest.fixture
def speed(monkeypatch: pytest.MonkeyPatch) -> Speed:
    """`speed(rate)` sets what the device does in a second; by default as an H200."""

    def measured(rate: float) -> None:
        monkeypatch.setattr(autoconfig, "training_rate", lambda *_: rate / 2)

    measured(5e14)
    return measured


COUNTED: dict[object, int] = {}


@pytest.fixture(autouse=True)
def _counted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The operations of each network are counted once for all tests: they take longer than all else here."""

    def operations(config: TrainConfig, images: ImageSet) -> int:
        key = (config.network, bool(config.data.augment), images.image_shape)
        if key not in COUNTED:
            COUNTED[key] = forward_operations(config, images)
        return COUNTED[key]

    monkeypatch.setattr(autoconfig, "forward_operations", operations)


@cache
def images(count: int = 50_000, shape: tuple[int, int, int] = (3, 32, 32)) -> ImageSet:
    """Black images, which take the memory of one; made once, as each is hashed."""
    return ImageSet.of(torch.zeros(1, *shape, dtype=torch.uint8).expand(count, *shape), None, ())


def asked(minutes: float | None = 30.0, **changes: Any) -> TrainConfig:  # noqa: ANN401
    """The default preset for so many minutes."""
    config = preset_for("photos", "default")
    return replace(config, optimization=replace(config.optimization, minutes=minutes, **changes))


@pytest.mark.parametrize(
    ("sides", "patch", "levels"),
    [
        ((8, 8), 1, (1, 2)),
        ((16, 16), 1, (1, 2)),
        ((20, 20), 1, (1, 2)),
        ((24, 24), 1, (1, 2, 4)),
        ((28, 28), 1, (1, 2, 4)),
        ((32, 32), 1, (1, 2, 4)),
        ((64, 64), 2, (1, 2, 4)),
        ((96, 96), 2, (1, 2, 4, 4)),
        ((128, 128), 4, (1, 2, 4)),
        ((256, 256), 4, (1, 2, 4, 4)),
        ((512, 512), 4, (1, 2, 4, 4, 4)),
        ((48, 20), 1, (1, 2, 4)),
        ((20, 48), 1, (1, 2, 4)),
        ((32, 512), 4, (1, 2, 4)),
        ((49, 49), 2, (1, 2, 4)),
        ((1, 1), 1, (1, 2)),
    ],
)
def test_levels_cover_about_48_to_8_pixels_with_patches_up_to_4(
    sides: tuple[int, int], patch: int, levels: tuple[int, ...]
) -> None:
    network = with_levels(OPEN, (3, *sides))
    assert (network.patch, network.multipliers) == (patch, levels)
    assert network.blocks == (*[2] * (len(levels) - 1), 3)


def test_given_level_settings_are_kept_and_the_others_follow() -> None:
    assert with_levels(replace(OPEN, patch=4), (3, 64, 64)) == replace(OPEN, patch=4, multipliers=(1, 2), blocks=(2, 3))
    assert with_levels(replace(OPEN, multipliers=(1,)), (3, 64, 64)).blocks == (3,)
    given = replace(OPEN, multipliers=(1, 1, 1), blocks=(4,))
    assert with_levels(given, (3, 32, 32)) == replace(given, patch=1)


@pytest.mark.slow
def test_a_larger_budget_never_reduces_width_or_batch_size(speed: Speed) -> None:
    del speed
    plans = [
        resolve_config(asked(minutes), images(), CPU).config for minutes in (1e-5, 0.001, 0.01, 0.1, 1.0, 10.0, 100.0)
    ]
    widths, batches = [p.network.width or 0 for p in plans], [p.optimization.batch or 0 for p in plans]
    assert widths == sorted(widths)
    assert batches == sorted(batches)
    assert (widths[0], widths[-1]) == (COARSE_WIDTHS[0], CANDIDATE_WIDTHS[-1])
    assert (batches[0], batches[-1]) == autoconfig.BATCHES
    assert len(set(widths)) >= 4


def test_a_faster_device_has_the_network_of_proportional_minutes(speed: Speed) -> None:
    speed(1e12)
    slow = resolve_config(asked(100.0), images(), CPU).config
    speed(1e14)
    fast = resolve_config(asked(1.0), images(), CPU).config
    assert fast.network == slow.network
    assert fast.optimization.batch == slow.optimization.batch


def test_the_widest_network_that_sees_enough_images_is_chosen(speed: Speed) -> None:
    """By the definition of the rule, at budgets just above and just below what a width of 128 asks."""
    del speed
    settled = resolve_config(asked(), images(), CPU).config
    operations = autoconfig.forward_operations(replace(settled, network=replace(settled.network, width=128)), images())
    wanted = autoconfig.IMAGES_PER_GFLOP * operations / 1e9
    minutes = wanted * 3 * operations / 2.5e14 / 60
    for share, width in ((1.01, 128), (0.99, 64)):
        assert resolve_config(asked(share * minutes), images(), CPU).config.network.width == width
        config = asked(None, images=int(share * wanted))
        assert resolve_config(config, images(), CPU).config.network.width == width


@pytest.mark.parametrize(("patch", "width"), [(None, None), (2, None), (None, 32), (1, 16)])
def test_larger_patches_need_both_patch_and_width_unset(patch: int | None, width: int | None) -> None:
    config = asked(None, images=1000)
    config = replace(config, network=replace(config.network, patch=patch, width=width))
    considered = [(c.network.width, c.network.patch) for c in autoconfig.candidate_networks(config, (1, 28, 28))]
    usual = [(each, patch or 1) for each in (CANDIDATE_WIDTHS if width is None else (width,))]
    assert considered == [(16, 2), (32, 2), *usual] if patch is width is None else considered == usual


@pytest.mark.parametrize(("seen", "size"), [(1, (16, 2)), (59_999, (16, 2)), (60_000, (32, 2)), (119_999, (32, 2))])
def test_small_networks_are_chosen_for_few_images(seen: int, size: tuple[int, int]) -> None:
    """Of 28x28 pixels, for which they have few operations."""
    plan = resolve_config(asked(None, images=seen), images(10_000, (1, 28, 28)), CPU)
    assert (plan.config.network.width, plan.config.network.patch) == size
    assert plan.is_coarse
    assert plan.config.diffusion.times == autoconfig.COARSE_TIMES
    assert plan.is_short == (seen < 20_000)
    assert not resolve_config(asked(None, images=120_000), images(10_000, (1, 28, 28)), CPU).is_coarse


@pytest.mark.parametrize(("seen", "batch"), [(0, 16), (100, 16), (1000 * 64, 64), (1000 * 64 - 1, 32), (1e12, 256)])
def test_a_batch_leaves_enough_steps(seen: float, batch: int) -> None:
    assert autoconfig.batch_for(seen) == batch


@pytest.mark.parametrize(("count", "augment"), [(250, 0.15), (251, 0.0), (10**5, 0.0), (10, 0.15)])
def test_images_that_are_seen_very_often_are_augmented(count: int, augment: float) -> None:
    plan = resolve_config(asked(None, images=100_000), images(count, (3, 8, 8)), CPU)
    assert plan.config.data.augment == augment
    assert any("augmentation" in reason for reason in plan.reasons) == bool(augment)


def test_given_settings_are_never_changed(speed: Speed) -> None:
    speed(1e9)
    config = asked(0.5, batch=7)
    given = NetworkConfig(backbone="convnet", width=96, multipliers=None, blocks=None, patch=2, attention=(8,))
    config = replace(config, network=given, data=replace(config.data, augment=0.07))
    config = replace(config, diffusion=replace(config.diffusion, times="log-normal:mean=0.3"))
    settled = resolve_config(config, images(), CPU).config
    assert (settled.network.width, settled.network.patch) == (96, 2)
    assert (settled.optimization.batch, settled.data.augment) == (7, 0.07)
    assert settled.network.multipliers == (1, 2)
    assert settled.diffusion == replace(config.diffusion, times="log-normal:mean=0.3")
    assert settled.monitoring == config.monitoring


def test_resolving_is_complete_and_idempotent(speed: Speed, monkeypatch: pytest.MonkeyPatch) -> None:
    del speed
    plan = resolve_config(asked(), images(), CPU)
    assert is_complete(plan.config)
    monkeypatch.delattr(autoconfig, "training_rate")
    assert resolve_config(plan.config, images(), CPU) == autoconfig.Plan(plan.config, ())


def test_speed_is_not_measured_for_a_budget_of_images(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(autoconfig, "training_rate")
    plan = resolve_config(asked(None, images=1000), images(), CPU)
    assert (plan.config.network.width, plan.config.network.patch) == (COARSE_WIDTHS[0], 2)
    assert "TFLOP/s" not in plan.reasons[0]


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_has_a_default_budget(name: str) -> None:
    preset = preset_for("photos", name)
    usual = autoconfig.with_default_budget(preset).optimization
    assert {"minutes": usual.minutes, "images": usual.images} == {"minutes": None, "images": None} | DEFAULT_BUDGETS[
        name
    ]
    for given in ({"images": 7, "minutes": None}, {"images": None, "minutes": 2.0}, {"images": 7, "minutes": 2.0}):
        config = replace(preset, optimization=replace(preset.optimization, **given))
        assert autoconfig.with_default_budget(config) == config


def test_messages_report_chosen_values_and_small_budgets(speed: Speed) -> None:
    del speed
    network, images_seen = resolve_config(asked(30.0), images(), CPU).reasons
    assert "levels 1 2 4, blocks 2 2 3:" in network
    assert network.endswith("at about 250 TFLOP/s.")
    assert "batch size 256." in images_seen
    assert "patch size 2" in resolve_config(asked(), images(shape=(3, 64, 64)), CPU).reasons[0]
    assert "The budget is small" in resolve_config(asked(1e-5), images(), CPU).warnings[-1]


def test_operations_of_layers_are_two_for_each_multiply_add() -> None:
    class Layers(torch.nn.Module):
        """A convolution of 3 to 5 channels, attention over the 16 pixels, a linear layer of the time."""

        def __init__(self) -> None:
            super().__init__()
            self.convolve, self.tell = torch.nn.Conv2d(3, 5, 3, padding=1), torch.nn.Linear(1, 5)

        def forward(self, x: torch.Tensor, time: torch.Tensor) -> torch.Tensor:
            """A sum of all."""
            pixels = self.convolve(x).flatten(2).mT
            seen = torch.nn.functional.scaled_dot_product_attention(pixels, pixels, pixels)
            summed: torch.Tensor = seen.sum(1) + self.tell(time[:, None])
            return summed

    counted = autoconfig.operations_of(Layers(), torch.zeros(1, 3, 4, 4), torch.zeros(1))
    assert counted == 2 * (16 * 9 * 3 * 5 + 2 * 16 * 16 * 5 + 5)


def test_an_unset_network_is_rejected_until_it_is_resolved(speed: Speed) -> None:
    del speed
    with pytest.raises(ConfigError, match="the size of the network is not set"):
        model_for(asked(), images())
    config = resolve_config(asked(), images(), CPU).config
    network = model_for(config, images()).network
    assert isinstance(network, ConvNetConfig)
    assert (network.width, network.multipliers) == (config.network.width, config.network.multipliers)
    assert (network.attention_levels, network.patch) == ((2,), 1)


@pytest.fixture
def begun(speed: Speed, tmp_path: Path) -> TrainConfig:
    """What a run at tmp_path / "run" was begun with: the command, settled on a fast device."""
    del speed
    config = resolve_config(asked(), images(), CPU).config
    with Run(tmp_path / "run", config, DataRecord.of(images(10))):
        (tmp_path / "run" / "model").mkdir()
        (tmp_path / "run" / "model" / "model.safetensors").touch()  # it has made a step
    return config


def test_resuming_keeps_the_network_for_any_device_speed(begun: TrainConfig, speed: Speed, tmp_path: Path) -> None:
    speed(1e9)
    assert resolve_config(asked(), images(), CPU).config != begun
    for command in (asked(), asked(None)):
        assert resolve_config(config_to_resume(command, tmp_path / "run"), images(), CPU).config == begun


def test_a_resumed_run_uses_the_new_budget_and_given_settings(begun: TrainConfig, tmp_path: Path) -> None:
    for budget in ({"minutes": 99.0, "images": None}, {"minutes": None, "images": 99}):
        now = config_to_resume(asked(**budget), tmp_path / "run")
        assert now == replace(begun, optimization=replace(begun.optimization, **budget))
    narrower = replace(asked(), network=replace(OPEN, width=32, dropout=0.0))
    assert config_to_resume(narrower, tmp_path / "run").network.width == 32
    louder = config_to_resume(asked(optimizer="adam"), tmp_path / "run")
    assert louder.optimization.optimizer == "adam"


def test_a_network_narrower_than_the_budget_allows_is_reported(begun: TrainConfig, speed: Speed) -> None:
    speed(1e13)
    narrow = resolve_config(asked(0.1), images(), CPU).config
    (sentence,) = autoconfig.size_notice(asked(), narrow, images(), CPU)
    wanted = resolve_config(asked(), images(), CPU).config.network.width
    size = f"width {narrow.network.width} and patch size 2"
    assert f"keeps {size}. A new run for 30 minutes of training would use" in sentence
    assert f"use width {wanted} and patch size 1: choose another --out" in sentence
    given = replace(asked(), network=replace(OPEN, width=narrow.network.width, patch=2))
    assert autoconfig.size_notice(given, narrow, images(), CPU) == ()
    coarse = replace(narrow, network=replace(narrow.network, width=wanted, patch=2))
    (sentence,) = autoconfig.size_notice(asked(), coarse, images(), CPU)
    assert f"keeps width {wanted} and patch size 2." in sentence
    speed(5e14)
    assert autoconfig.size_notice(asked(), begun, images(), CPU) == ()


def test_a_budget_differs_only_if_given_and_the_run_has_a_model(begun: TrainConfig, tmp_path: Path) -> None:
    assert begun.optimization.minutes == 30
    run, commands = tmp_path / "run", (asked(), asked(None), asked(60.0), asked(images=9), asked(None, images=9))
    assert [has_other_budget(command, run) for command in commands] == [False, False, True, True, True]
    (run / "model" / "model.safetensors").unlink()
    assert not has_other_budget(asked(60.0), run)
    assert not has_other_budget(asked(60.0), tmp_path / "nowhere")


def test_a_run_without_a_step_is_resolved_again(begun: TrainConfig, tmp_path: Path) -> None:
    (tmp_path / "run" / "model" / "model.safetensors").unlink()
    again = config_to_resume(asked(None), tmp_path / "run")
    assert again.network == asked(None).network
    assert again.optimization.minutes == begun.optimization.minutes


def test_without_a_run_the_command_is_unchanged(tmp_path: Path) -> None:
    assert config_to_resume(asked(), tmp_path / "nowhere") == asked()
    assert config_to_resume(asked(None), tmp_path) == asked(None)


@pytest.mark.slow
def test_a_tiny_budget_gives_the_smallest_network_at_any_size(speed: Speed) -> None:
    speed(1e6)
    for side, size in ((8, (32, 1)), (15, (32, 1)), (16, (16, 2)), (28, (16, 2)), (64, (16, 4)), (256, (32, 4))):
        plan = resolve_config(asked(0.01), images(100, (1, side, side)), CPU)
        assert (plan.config.network.width, plan.config.network.patch) == size
        assert plan.config.optimization.batch == autoconfig.BATCHES[0]


def test_the_expected_images_are_those_both_budgets_allow() -> None:
    by = autoconfig.expected_images
    assert by(OptimizationConfig(images=70, minutes=None), math.inf) == 70
    assert by(OptimizationConfig(images=None, minutes=2.0), 3.0) == 360
    assert [by(OptimizationConfig(images=n, minutes=2.0), 3.0) for n in (359, 361)] == [359, 360]
