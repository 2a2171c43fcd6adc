"""Configurations of folders on the Hub: which network they become, and why others are rejected."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from sfumato.errors import RunError
from sfumato.exchange.from_diffusers import check_components
from sfumato.exchange.schedulers import noise_of
from sfumato.exchange.unet2d import UNet2DSettings, our_config
from sfumato.networks.unet import UNetConfig
from sfumato.utils.files import validated

Json = Mapping[str, Any]

GOOGLE: dict[str, Any] = {
    "_class_name": "UNet2DModel",
    "_diffusers_version": "0.0.4",
    "act_fn": "silu",
    "attention_head_dim": None,
    "center_input_sample": False,
    "downsample_padding": 0,
    "flip_sin_to_cos": False,
    "freq_shift": 1,
    "in_channels": 3,
    "layers_per_block": 2,
    "mid_block_scale_factor": 1,
    "norm_eps": 1e-06,
    "norm_num_groups": 32,
    "out_channels": 3,
    "time_embedding_type": "positional",
}
CIFAR = GOOGLE | {
    "block_out_channels": [128, 256, 256, 256],
    "down_block_types": ["DownBlock2D", "AttnDownBlock2D", "DownBlock2D", "DownBlock2D"],
    "sample_size": 32,
    "up_block_types": ["UpBlock2D", "UpBlock2D", "AttnUpBlock2D", "UpBlock2D"],
}
"""google/ddpm-cifar10-32."""

FACES = GOOGLE | {
    "block_out_channels": [128, 128, 256, 256, 512, 512],
    "down_block_types": [*["DownBlock2D"] * 4, "AttnDownBlock2D", "DownBlock2D"],
    "sample_size": 256,
    "up_block_types": ["UpBlock2D", "AttnUpBlock2D", *["UpBlock2D"] * 4],
}
"""google/ddpm-celebahq-256 and google/ddpm-church-256."""

GOOGLE_NOISE = {
    "_class_name": "DDPMScheduler",
    "_diffusers_version": "0.1.1",
    "beta_end": 0.02,
    "beta_schedule": "linear",
    "beta_start": 0.0001,
    "clip_sample": True,
    "num_train_timesteps": 1000,
    "tensor_format": "pt",
    "timestep_values": None,
    "trained_betas": None,
    "variance_type": "fixed_large",
}

BUTTERFLIES = {
    "_class_name": "UNet2DModel",
    "_diffusers_version": "0.11.1",
    "act_fn": "silu",
    "add_attention": True,
    "attention_head_dim": 8,
    "block_out_channels": [128, 128, 256, 256, 512, 512],
    "center_input_sample": False,
    "class_embed_type": None,
    "decay": 0.9999,
    "down_block_types": [*["DownBlock2D"] * 4, "AttnDownBlock2D", "DownBlock2D"],
    "downsample_padding": 1,
    "flip_sin_to_cos": True,
    "freq_shift": 0,
    "in_channels": 3,
    "inv_gamma": 1.0,
    "layers_per_block": 2,
    "mid_block_scale_factor": 1,
    "norm_eps": 1e-05,
    "norm_num_groups": 32,
    "num_class_embeds": None,
    "optimization_step": 12000,
    "out_channels": 3,
    "resnet_time_scale_shift": "default",
    "sample_size": 128,
    "time_embedding_type": "positional",
    "up_block_types": ["UpBlock2D", "AttnUpBlock2D", *["UpBlock2D"] * 4],
}
"""A network of the training script of diffusers with the fields of its EMA, as in sd-class-butterflies-64."""

CONSISTENCY = {
    "_class_name": "UNet2DModel",
    "_diffusers_version": "0.18.0.dev0",
    "act_fn": "silu",
    "add_attention": True,
    "attention_head_dim": 64,
    "attn_norm_num_groups": 32,
    "block_out_channels": [192, 384, 576, 768],
    "center_input_sample": False,
    "class_embed_type": None,
    "down_block_types": ["ResnetDownsampleBlock2D", *["AttnDownBlock2D"] * 3],
    "downsample_padding": 1,
    "downsample_type": "resnet",
    "dropout": 0.0,
    "flip_sin_to_cos": True,
    "freq_shift": 0,
    "in_channels": 3,
    "layers_per_block": 3,
    "mid_block_scale_factor": 1,
    "norm_eps": 1e-05,
    "norm_num_groups": 32,
    "num_class_embeds": 1000,
    "num_train_timesteps": None,
    "out_channels": 3,
    "resnet_time_scale_shift": "scale_shift",
    "sample_size": 64,
    "time_embedding_type": "positional",
    "up_block_types": [*["AttnUpBlock2D"] * 3, "ResnetUpsampleBlock2D"],
    "upsample_type": "resnet",
}
CONSISTENCY_NOISE = {
    "_class_name": "CMStochasticIterativeScheduler",
    "_diffusers_version": "0.18.0.dev0",
    "clip_denoised": True,
    "num_train_timesteps": 40,
    "rho": 7.0,
    "s_noise": 1.0,
    "sigma_data": 0.5,
    "sigma_max": 80.0,
    "sigma_min": 0.002,
}
"""dg845/diffusers-cd_imagenet64_l2."""

PIPELINE = {
    "_class_name": "DDPMPipeline",
    "_diffusers_version": "0.11.1",
    "scheduler": ["diffusers", "DDPMScheduler"],
    "unet": ["diffusers", "UNet2DModel"],
}
STABLE_DIFFUSION = {
    "_class_name": "StableDiffusionPipeline",
    "_diffusers_version": "0.6.0",
    "feature_extractor": ["transformers", "CLIPFeatureExtractor"],
    "requires_safety_checker": False,
    "safety_checker": [None, None],
    "scheduler": ["diffusers", "PNDMScheduler"],
    "text_encoder": ["transformers", "CLIPTextModel"],
    "tokenizer": ["transformers", "CLIPTokenizer"],
    "unet": ["diffusers", "UNet2DConditionModel"],
    "vae": ["diffusers", "AutoencoderKL"],
}
SUPER_RESOLUTION = BUTTERFLIES | {"in_channels": 6, "sample_size": 64}


def written(folder: Path, index: Json | None, network: Json, scheduler: Json, *, at_the_top: bool = False) -> Path:
    """A folder with configurations and without weights."""
    places = (folder, folder) if at_the_top else (folder / "unet", folder / "scheduler")
    for place in (folder, *places):
        place.mkdir(exist_ok=True)
    if index is not None:
        (folder / "model_index.json").write_text(json.dumps(index), encoding="utf-8")
    (places[0] / "config.json").write_text(json.dumps(network), encoding="utf-8")
    (places[1] / "scheduler_config.json").write_text(json.dumps(scheduler), encoding="utf-8")
    return folder


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (CIFAR, UNetConfig(3, 128, (1, 2, 2, 2), 2, (1,), 0.0, 0)),
        (FACES, UNetConfig(3, 128, (1, 1, 2, 2, 4, 4), 2, (4,), 0.0, 0)),
        (BUTTERFLIES, None),
    ],
)
@pytest.mark.parametrize("at_the_top", [True, False])
def test_networks_of_the_hub(config: Json, expected: UNetConfig | None, at_the_top: bool, tmp_path: Path) -> None:
    check_components(written(tmp_path, PIPELINE, config, GOOGLE_NOISE, at_the_top=at_the_top), "model")
    assert our_config(validated(UNet2DSettings, config, tmp_path)) == expected


def test_the_scheduler_of_2022_is_that_of_ddpm(tmp_path: Path) -> None:
    noise = noise_of(GOOGLE_NOISE, tmp_path)
    assert (noise.parametrization, noise.built_schedule().timesteps, noise.time_scale) == ("noise", 1000, 1)


@pytest.mark.parametrize("changed", [{"thresholding": True}, {"clip_sample_range": 3.0}])
def test_another_clipping_of_the_estimates_is_rejected(changed: Json, tmp_path: Path) -> None:
    """Our samplers clip them to [-1, 1]."""
    with pytest.raises(RunError, match=f"has {next(iter(changed))} .*, which sfumato does not support"):
        noise_of(GOOGLE_NOISE | changed, tmp_path)


def test_the_range_of_a_clipping_that_is_off_has_no_effect(tmp_path: Path) -> None:
    changed = {"clip_sample": False, "clip_sample_range": 3.0}
    assert noise_of(GOOGLE_NOISE | changed, tmp_path) == noise_of(GOOGLE_NOISE, tmp_path)


def test_a_network_with_learned_variances_is_accepted(tmp_path: Path) -> None:
    check_components(written(tmp_path, PIPELINE, BUTTERFLIES | {"out_channels": 6}, GOOGLE_NOISE), "model")


REJECTED = [
    (PIPELINE, CONSISTENCY, CONSISTENCY_NOISE, "the scheduler CMStochasticIterativeScheduler, which .* not support"),
    (STABLE_DIFFUSION, BUTTERFLIES, GOOGLE_NOISE, r"StableDiffusionPipeline with the components .*vae \(Autoencoder"),
    (PIPELINE, SUPER_RESOLUTION, GOOGLE_NOISE, "from 6 to 3 channels, as for super-resolution"),
    (PIPELINE, BUTTERFLIES | {"out_channels": 1}, GOOGLE_NOISE, "from 3 to 1 channels"),
    (PIPELINE, BUTTERFLIES | {"out_channels": 9}, GOOGLE_NOISE, "from 3 to 9 channels"),
    (PIPELINE, BUTTERFLIES | {"class_embed_type": "timestep"}, GOOGLE_NOISE, "the conditioning 'timestep'"),
    (PIPELINE, BUTTERFLIES | {"time_embedding_type": "learned"}, GOOGLE_NOISE, "the time embedding 'learned'"),
    (PIPELINE, BUTTERFLIES | {"time_embedding_type": "fourier"}, GOOGLE_NOISE, "the time embedding 'fourier'"),
    (None, {"_diffusers_version": "0.1", "_class_name": "AutoencoderKL"}, GOOGLE_NOISE, "contains no model_index.json"),
    (PIPELINE | {"unet": ["my_unet", "MyUNet"]}, BUTTERFLIES, GOOGLE_NOISE, r"unet \(MyUNet\)"),
    (PIPELINE | {"_class_name": ["pipeline", "Mine"]}, BUTTERFLIES, GOOGLE_NOISE, r"own code, pipeline\.Mine"),
]


@pytest.mark.parametrize(("index", "network", "scheduler", "message"), REJECTED)
def test_other_folders_of_the_hub_are_rejected_before_their_weights_are_needed(
    index: Json | None, network: Json, scheduler: Json, message: str, tmp_path: Path
) -> None:
    folder = written(tmp_path, index, network, scheduler)
    with pytest.raises(RunError, match=message) as error:
        check_components(folder, "hf:user/model")
    assert error.value.remedy


def test_a_checkpoint_of_the_training_script_has_no_noise_levels(tmp_path: Path) -> None:
    """Its folder unet_ema contains a network alone."""
    (tmp_path / "config.json").write_text(json.dumps(BUTTERFLIES), encoding="utf-8")
    with pytest.raises(RunError, match=r"has no scheduler_config\.json.*Give the folder of the whole pipeline"):
        check_components(tmp_path, "model")
