"""When our UNet and a `UNet2DModel` are the same network, and when they are not."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from sfumato.exchange.to_diffusers import stock_unet
from sfumato.exchange.unet2d import UNet2DSettings, our_config, unet2d_config
from sfumato.utils.depth import SIXTEEN_BITS

from .conftest import build, unet

SAME = UNet2DSettings(
    sample_size=8,
    down_block_types=("DownBlock2D", "AttnDownBlock2D"),
    up_block_types=("AttnUpBlock2D", "UpBlock2D"),
    block_out_channels=(128, 256),
    layers_per_block=1,
    downsample_padding=0,
    freq_shift=1,
    flip_sin_to_cos=False,
    attention_head_dim=None,
    norm_eps=1e-6,
)


def test_the_settings_of_ddpm_are_our_network() -> None:
    assert our_config(SAME) == unet(128)
    assert our_config(replace(SAME, attention_head_dim=256)) == unet(128)


@pytest.mark.parametrize(
    "change",
    [
        {"norm_eps": 1e-5},
        {"norm_num_groups": 16},
        {"attn_norm_num_groups": 16},
        {"attention_head_dim": 8},
        {"attention_head_dim": 200},
        {"downsample_padding": 1},
        {"freq_shift": 0},
        {"flip_sin_to_cos": True},
        {"act_fn": "gelu"},
        {"add_attention": False},
        {"center_input_sample": True},
        {"time_embedding_type": "fourier"},
        {"time_embedding_dim": 128},
        {"mid_block_type": None},
        {"mid_block_scale_factor": 2.0},
        {"resnet_time_scale_shift": "scale_shift"},
        {"downsample_type": "resnet"},
        {"upsample_type": "resnet"},
        {"out_channels": 6},
        {"num_class_embeds": 4},
        {"class_embed_type": "timestep"},
        {"block_out_channels": (64, 128)},
        {"block_out_channels": (128, 192)},
        {"down_block_types": ("DownBlock2D", "DownBlock2D")},
        {"down_block_types": ("DownBlock2D", "ResnetDownsampleBlock2D")},
    ],
)
def test_any_other_setting_is_another_network(change: dict[str, Any]) -> None:
    assert our_config(replace(SAME, **change)) is None


@pytest.mark.parametrize(("size", "is_same"), [((8, 8), True), ((4, 12), True), ((6, 8), False), ((8, 7), False)])
def test_sizes_must_be_divisible_by_the_levels(size: tuple[int, int], is_same: bool) -> None:
    network = unet(128, multipliers=(1, 1, 2))
    assert (unet2d_config(network, size) is not None) == is_same


@pytest.mark.parametrize("network", [unet(64), unet(128, classes=2), unet(128, columns=(2, 0))])
def test_other_networks_have_no_stock_class(network: Any) -> None:  # noqa: ANN401
    assert unet2d_config(network, (8, 8)) is None


def test_images_of_16_bits_have_no_stock_pipeline() -> None:
    """Its pictures have 8 bits."""
    assert stock_unet(build(unet(128))) is not None
    assert stock_unet(build(unet(128), depth=SIXTEEN_BITS)) is None
