"""`load` of folders of diffusers: estimates are those of diffusers, and what is exported comes back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import sfumato as sf
from sfumato.errors import ConfigError, RunError
from sfumato.exchange.export import export
from sfumato.exchange.foreign import ForeignModel
from sfumato.exchange.load import load, load_guidance_checkpoint
from sfumato.models import Model
from sfumato.utils.depth import SIXTEEN_BITS

from .conftest import build, convnet, unet

CIFAR = {
    "act_fn": "silu",
    "attention_head_dim": None,
    "block_out_channels": [128, 256],
    "center_input_sample": False,
    "down_block_types": ["DownBlock2D", "AttnDownBlock2D"],
    "downsample_padding": 0,
    "flip_sin_to_cos": False,
    "freq_shift": 1,
    "in_channels": 3,
    "layers_per_block": 1,
    "mid_block_scale_factor": 1,
    "norm_eps": 1e-06,
    "norm_num_groups": 32,
    "out_channels": 3,
    "sample_size": 8,
    "time_embedding_type": "positional",
    "up_block_types": ["AttnUpBlock2D", "UpBlock2D"],
}
"""The configuration of google/ddpm-cifar10-32 with fewer levels."""

TUTORIAL: dict[str, Any] = {
    "sample_size": 8,
    "layers_per_block": 1,
    "block_out_channels": (32, 64),
    "down_block_types": ("DownBlock2D", "AttnDownBlock2D"),
    "up_block_types": ("AttnUpBlock2D", "UpBlock2D"),
    "norm_num_groups": 8,
}
"""The settings of the training tutorial of diffusers, with fewer and narrower levels."""


def pipeline_of(network: dict[str, Any], scheduler: str = "DDPMScheduler", **settings: Any) -> Any:  # noqa: ANN401
    """A pipeline of diffusers with random weights everywhere."""
    import diffusers  # takes seconds

    unet = diffusers.UNet2DModel.from_config(network)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for weight in unet.parameters():
            nn.init.normal_(weight, std=0.02 if weight.ndim > 1 else 0.2)
    return diffusers.DDPMPipeline(unet.eval(), getattr(diffusers, scheduler)(**settings))


def old_layout(pipeline: Any, folder: Path) -> None:  # noqa: ANN401
    """Saves a pipeline as diffusers did in 2022: all files at the top, and old names of the attention."""
    from safetensors.torch import save_file

    folder.mkdir()
    old = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    weights = {}
    for name, weight in pipeline.unet.state_dict().items():
        for new, before in old.items():
            name = name.replace(f".{new}.", f".{before}.")
        weights[name] = weight
    save_file(weights, folder / "diffusion_pytorch_model.safetensors")
    config = {"_class_name": "UNet2DModel", "_diffusers_version": "0.0.4", **CIFAR}
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    pipeline.scheduler.save_config(folder)
    index = {
        "_class_name": "DDPMPipeline",
        "_diffusers_version": "0.1.1",
        "scheduler": ["diffusers", "DDPMScheduler"],
        "unet": ["diffusers", "UNet2DModel"],
    }
    (folder / "model_index.json").write_text(json.dumps(index), encoding="utf-8")


def assert_same_outputs(model: Model | ForeignModel, unet: nn.Module, labels: Tensor | None = None) -> None:
    """The network of the model gives the outputs of a `UNet2DModel` at timesteps of DDPM."""
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(8, *model.image_shape, generator=generator)
    steps = torch.tensor([0, 1, 10, 100, 250, 500, 900, 999])
    times = model.schedule.network_time((steps.double() + 1) / 1000).float()
    given = None if labels is None else labels.expand(8)
    with torch.no_grad():
        theirs = unet(x, steps, class_labels=given).sample
        torch.testing.assert_close(model.network(x, times, given), theirs, atol=1e-4, rtol=0)


def test_the_network_of_ddpm_becomes_ours(tmp_path: Path) -> None:
    pipeline = pipeline_of(CIFAR)
    pipeline.save_pretrained(tmp_path / "in")
    model = load(tmp_path / "in")
    assert isinstance(model, Model)
    assert (model.config.schedule, model.config.parametrization) == (
        "linear:timesteps=1000,beta_start=0.0001,beta_end=0.02",
        "noise",
    )
    assert_same_outputs(model, pipeline.unet)
    sf.save(model, tmp_path / "copy")
    assert sf.sample(sf.load(tmp_path / "copy"), 1, steps=3).shape == (1, 3, 8, 8)


def test_the_old_layout_with_old_names_is_read(tmp_path: Path) -> None:
    """google/ddpm-cifar10-32 is such a folder."""
    pipeline = pipeline_of(CIFAR)
    old_layout(pipeline, tmp_path / "in")
    model = load(tmp_path / "in")
    assert isinstance(model, Model)
    assert_same_outputs(model, pipeline.unet)


def test_a_pickle_of_tensors_is_read(tmp_path: Path) -> None:
    pipeline = pipeline_of(CIFAR)
    pipeline.save_pretrained(tmp_path / "in", safe_serialization=False)
    assert (tmp_path / "in" / "unet" / "diffusion_pytorch_model.bin").is_file()
    assert_same_outputs(load(tmp_path / "in"), pipeline.unet)


def test_half_precision_is_read_as_float32(tmp_path: Path) -> None:
    pipeline = pipeline_of(CIFAR)
    pipeline.unet.half()
    pipeline.save_pretrained(tmp_path / "in", variant="fp16")
    pipeline.unet.float()
    assert_same_outputs(load(tmp_path / "in"), pipeline.unet)


DISCRETE = [
    ("DDPMScheduler", {}),
    ("DDIMScheduler", {"num_train_timesteps": 200, "beta_end": 0.05}),
    ("DDIMScheduler", {"rescale_betas_zero_snr": True, "prediction_type": "v_prediction"}),
    ("DDPMScheduler", {"beta_schedule": "squaredcos_cap_v2", "prediction_type": "sample"}),
    ("DPMSolverMultistepScheduler", {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}),
    ("EulerDiscreteScheduler", {"prediction_type": "v_prediction"}),
]


@pytest.mark.parametrize(("scheduler", "settings"), DISCRETE)
@pytest.mark.parametrize("network", [CIFAR, TUTORIAL], ids=["ours", "foreign"])
def test_images_are_those_of_ddim(
    network: dict[str, Any], scheduler: str, settings: dict[str, Any], tmp_path: Path
) -> None:
    """The images of DDIM over ten timesteps, which all discrete schedulers can be changed to."""
    from diffusers import DDIMPipeline, DDIMScheduler

    pipeline = pipeline_of(network, scheduler, **settings)
    pipeline.save_pretrained(tmp_path / "in")
    model = load(tmp_path / "in")
    options = {"timestep_spacing": "trailing", "clip_sample": True, "set_alpha_to_one": True}
    theirs = DDIMPipeline(pipeline.unet, DDIMScheduler.from_config(pipeline.scheduler.config, **options))
    theirs.set_progress_bar_config(disable=True)
    generator = torch.Generator().manual_seed(5)
    expected = theirs(2, generator=generator, num_inference_steps=10, use_clipped_model_output=True, output_type="pt")
    start = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(5))
    torch.testing.assert_close(_ddim(model, start, 10), expected.images, atol=1e-4, rtol=0)


def _ddim(model: Model | ForeignModel, start: Tensor, steps: int, grid: str = "trailing") -> Tensor:
    """Images of DDIM in [0, 1]."""
    from sfumato.diffusion.guidance import Clipped
    from sfumato.sampling.sampler import trajectory
    from sfumato.sampling.solvers import DDIM
    from sfumato.sampling.timesteps import TIME_GRIDS

    timesteps = TIME_GRIDS[grid](model.schedule, steps)
    with torch.no_grad():
        *_, last = trajectory(Clipped(model), start, timesteps, DDIM(), lambda: start)
    return (last.x_t / 2 + 0.5).clamp(0, 1)


@pytest.mark.parametrize("network", [CIFAR, TUTORIAL], ids=["ours", "foreign"])
def test_an_edm_scheduler_gives_the_same_estimates(network: dict[str, Any], tmp_path: Path) -> None:
    pipeline = pipeline_of(network, "EDMEulerScheduler", sigma_max=50.0, rho=5.0)
    pipeline.save_pretrained(tmp_path / "in")
    model, scheduler = load(tmp_path / "in"), pipeline.scheduler
    scheduler.set_timesteps(5)
    x = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    for t, sigma in zip(scheduler.timesteps, scheduler.sigmas, strict=False):
        x_t = sigma * x
        with torch.no_grad():
            output = pipeline.unet(scheduler.scale_model_input(x_t, t), t).sample
            expected = scheduler.step(output, t, x_t).pred_original_sample
            found = model(x_t, model.schedule.time_at(-2 * sigma.double().log()))
        torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("network", [CIFAR, TUTORIAL], ids=["ours", "foreign"])
@pytest.mark.parametrize("settings", [{}, {"shift": 3.0}, {"num_train_timesteps": 500}])
def test_a_flow_scheduler_gives_the_same_estimates(
    network: dict[str, Any], settings: dict[str, Any], tmp_path: Path
) -> None:
    pipeline = pipeline_of(network, "FlowMatchEulerDiscreteScheduler", **settings)
    pipeline.save_pretrained(tmp_path / "in")
    model, scheduler = load(tmp_path / "in"), pipeline.scheduler
    scheduler.set_timesteps(5)
    x_t = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    for t, sigma in zip(scheduler.timesteps, scheduler.sigmas, strict=False):
        with torch.no_grad():
            expected = x_t - sigma * pipeline.unet(x_t, t).sample
            found = model(x_t, sigma.double())
        torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


EXPORTS = [
    (unet(128, attention_levels=(0, 1)), "linear", "noise", {}),
    (unet(128), "sigmoid:timesteps=200", "velocity", {"zero_terminal_snr": True}),
    (unet(128), "cosine:offset=0.02", "data", {"shift": 2.0}),
    (unet(classes=2), "edm", "edm", {}),
    (unet(columns=(2, 0), augmentation=2), "flow", "flow", {}),
    (convnet(augmentation=2, patch=2), "edm:sigma_max=50", "edm", {"depth": SIXTEEN_BITS}),
]


@pytest.mark.parametrize(("network", "schedule", "parametrization", "options"), EXPORTS)
def test_what_is_exported_comes_back(
    network: Any,  # noqa: ANN401
    schedule: str,
    parametrization: str,
    options: dict[str, Any],
    tmp_path: Path,
) -> None:
    model = build(network, schedule, parametrization, **options)
    export(model, tmp_path / "out")
    back = load(tmp_path / "out")
    assert isinstance(back, Model)
    assert back.schedule == model.schedule
    assert (back.images_seen, back.depth, back.columns) == (640, model.depth, model.columns)
    assert torch.equal(sf.sample(back, 2, steps=3), sf.sample(model, 2, steps=3))
    assert load_guidance_checkpoint(tmp_path / "out") is None


@pytest.mark.parametrize(("schedule", "options"), [("sigmoid", {"zero_terminal_snr": True}), ("cosine", {})])
def test_a_stock_folder_saved_by_diffusers_comes_back(schedule: str, options: dict[str, Any], tmp_path: Path) -> None:
    """The usual fine-tuning with diffusers drops our description, but keeps the betas."""
    from diffusers import DDPMPipeline

    model = build(unet(128), schedule, "velocity", **options)
    export(model, tmp_path / "out")
    DDPMPipeline.from_pretrained(tmp_path / "out").save_pretrained(tmp_path / "copy")
    assert "_sfumato" not in (tmp_path / "copy" / "model_index.json").read_text(encoding="utf-8")
    back = load(tmp_path / "copy")
    assert back.schedule == model.schedule
    assert torch.equal(sf.sample(back, 2, steps=3), sf.sample(model, 2, steps=3))


def test_unknown_betas_are_rejected(tmp_path: Path) -> None:
    from diffusers import DDPMPipeline

    export(build(unet(128), "cosine:offset=0.02"), tmp_path / "out")
    DDPMPipeline.from_pretrained(tmp_path / "out").save_pretrained(tmp_path / "copy")
    with pytest.raises(RunError, match="trained_betas that are not those of a schedule of sfumato"):
        load(tmp_path / "copy")


@pytest.mark.parametrize("schedule", ["linear", "sigmoid"])
def test_files_changed_after_the_export_are_read(schedule: str, tmp_path: Path) -> None:
    export(build(unet(128), schedule), tmp_path / "out")
    changed = {"prediction_type": "v_prediction", "trained_betas": None, "beta_schedule": "scaled_linear"}
    for name, values in {"scheduler/scheduler_config.json": changed, "unet/config.json": {"dropout": 0.5}}.items():
        file = tmp_path / "out" / name
        file.write_text(json.dumps(json.loads(file.read_text(encoding="utf-8")) | values), encoding="utf-8")
    model = load(tmp_path / "out")
    assert isinstance(model, Model)
    assert model.config.parametrization == "velocity"
    assert model.config.schedule.startswith("scaled-linear:")
    assert model.config.network == unet(128, dropout=0.5)
    assert model.images_seen == 640


def test_a_guidance_checkpoint_comes_back(tmp_path: Path) -> None:
    model, weaker = build(convnet(), "edm", "edm"), build(convnet(), "edm", "edm", seed=1)
    weaker.images_seen = 64
    export(model, tmp_path / "out", guidance_checkpoint=weaker)
    back = load_guidance_checkpoint(tmp_path / "out")
    assert back is not None
    assert back.images_seen == 64
    assert torch.equal(sf.sample(back, 2, steps=3), sf.sample(weaker, 2, steps=3))


def test_a_copy_saved_by_diffusers_comes_back(tmp_path: Path) -> None:
    from diffusers import DiffusionPipeline

    model = build(convnet(classes=2), "edm", "edm")
    export(model, tmp_path / "out")
    DiffusionPipeline.from_pretrained(tmp_path / "out", trust_remote_code=True).save_pretrained(tmp_path / "copy")
    assert torch.equal(sf.sample(load(tmp_path / "copy"), 2, steps=3), sf.sample(model, 2, steps=3))


@pytest.mark.parametrize(("factor", "is_read"), [(1 + 1e-9, True), (1 - 1e-3, False)])
def test_betas_may_be_rounded_but_not_changed(factor: float, is_read: bool, tmp_path: Path) -> None:
    """Another machine may compute other last digits from the name of a schedule."""
    export(build(convnet(), "cosine"), tmp_path / "out")
    file = tmp_path / "out" / "scheduler" / "scheduler_config.json"
    content = json.loads(file.read_text(encoding="utf-8"))
    content["betas"][500] *= factor
    file.write_text(json.dumps(content), encoding="utf-8")
    if is_read:
        load(tmp_path / "out")
    else:
        with pytest.raises(
            RunError, match=r"scheduler_config\.json was changed after the export: its field 'betas' differs"
        ):
            load(tmp_path / "out")


def test_a_network_given_for_a_folder_of_diffusers_is_rejected(tmp_path: Path) -> None:
    export(build(), tmp_path / "out")
    with pytest.raises(ConfigError, match="in the format of diffusers"):
        load(tmp_path / "out", network="nets.py:Net")
