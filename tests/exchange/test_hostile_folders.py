"""Folders of diffusers that are broken, of another kind, or hostile: one sentence, and no code is run."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from sfumato.errors import RunError, SfumatoError
from sfumato.exchange.export import export
from sfumato.exchange.from_diffusers import is_diffusers_folder
from sfumato.exchange.load import load, load_guidance_checkpoint

from .conftest import build, unet

Damage = Callable[[Path], None]
STOCK = unet(128, multipliers=(1,), attention_levels=())


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A stock folder without a description, and one with its own pipeline; read only."""
    home = tmp_path_factory.mktemp("folders")
    export(build(STOCK), home / "stock")
    edit(home / "stock", "model_index.json", lambda index: index.pop("_sfumato"))
    export(build(unet(), "edm", "edm"), home / "own")
    return {"stock": home / "stock", "own": home / "own"}


def copy(folder: Path, to: Path) -> Path:
    import shutil

    return Path(shutil.copytree(folder, to))


def edit(folder: Path, name: str, change: Callable[[dict[str, Any]], object]) -> None:
    """Changes a JSON file."""
    content = json.loads((folder / name).read_text(encoding="utf-8"))
    change(content)
    (folder / name).write_text(json.dumps(content), encoding="utf-8")


def setting(name: str, **values: object) -> Damage:
    """Sets fields of a JSON file."""
    return lambda folder: edit(folder, name, lambda content: content.update(values))


def removed(name: str) -> Damage:
    return lambda folder: (folder / name).unlink()


def truncated(name: str) -> Damage:
    def cut(folder: Path) -> None:
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[: len(content) // 2])

    return cut


def written(name: str, text: str) -> Damage:
    def write(folder: Path) -> None:
        (folder / name).write_text(text, encoding="utf-8")

    return write


WEIGHTS = "unet/diffusion_pytorch_model.safetensors"
LATENT = {"vae": ["diffusers", "AutoencoderKL"], "_class_name": "StableDiffusionPipeline"}


def another_network(folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / WEIGHTS)
    weights["conv_in.weight"] = weights["conv_in.weight"][:64].clone()
    save_file(weights, folder / WEIGHTS)


def without_a_weight(folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / WEIGHTS)
    del weights["mid_block.attentions.0.to_k.weight"]
    save_file(weights, folder / WEIGHTS)


def not_finite(folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / WEIGHTS)
    weights["conv_in.bias"][0] = torch.nan
    save_file(weights, folder / WEIGHTS)


SCHEDULER = "scheduler/scheduler_config.json"
CONTINUOUS = setting(
    SCHEDULER, _class_name="EulerDiscreteScheduler", timestep_type="continuous", prediction_type="v_prediction"
)
INVERTED = setting(SCHEDULER, _class_name="FlowMatchEulerDiscreteScheduler", invert_sigmas=True)


def describing(**network: object) -> Damage:
    """Sets fields of the network in the description."""
    return lambda folder: edit(
        folder, "model_index.json", lambda index: index["description"]["network"].update(network)
    )


CUSTOM = {"network": {"architecture": "os:system", "image_channels": 3, "size": [8, 8]}}


def with_custom_network(folder: Path) -> None:
    edit(folder, "model_index.json", lambda index: index["description"].update(CUSTOM))


BROKEN: list[tuple[str, Damage, str]] = [
    ("stock", setting("model_index.json", **LATENT), r"StableDiffusionPipeline with the components .*AutoencoderKL"),
    ("stock", setting("model_index.json", _class_name=["my", "Pipeline"]), "its own code.*does not run"),
    ("stock", setting("model_index.json", unet=["diffusers", "UNet1DModel"]), "UNet1DModel"),
    ("stock", setting("unet/config.json", _class_name="UNet2DConditionModel"), "UNet2DConditionModel, not a UNet2DM"),
    ("stock", setting("unet/config.json", sample_size=None), "sample_size is None"),
    ("stock", setting("unet/config.json", block_out_channels=None), "block_out_channels"),
    ("stock", setting("unet/config.json", block_out_channels=[0, "a"]), "block_out_channels|no network"),
    ("stock", setting("unet/config.json", block_out_channels=[]), "block_out_channels"),
    ("stock", setting("unet/config.json", dropout=7), "dropout is 7"),
    ("stock", setting("unet/config.json", in_channels=10**18, out_channels=10**18), "in_channels is 1000000"),
    ("stock", setting("unet/config.json", num_class_embeds=-1), "no network of diffusers"),
    ("stock", setting("unet/config.json", norm_num_groups=7), "no network of diffusers"),
    ("stock", setting("unet/config.json", layers_per_block=10**9), "too large"),
    ("stock", setting("unet/config.json", attention_head_dim=0, norm_eps=1e-5), "no network of diffusers"),
    ("stock", setting("unet/config.json", down_block_types=["DownBlock3D"]), "no network of diffusers"),
    ("stock", setting("unet/config.json", num_class_embeds=3), r"lacks tensor class_embedding\.weight"),
    ("stock", removed(SCHEDULER), "no scheduler_config.json"),
    ("stock", setting(SCHEDULER, _class_name="ScoreSdeVeScheduler"), "ScoreSdeVeScheduler"),
    ("stock", setting(SCHEDULER, _class_name=["DDPMScheduler"]), "the scheduler .'DDPMSch"),
    ("stock", setting(SCHEDULER, _class_name={}), "the scheduler {}"),
    ("stock", setting(SCHEDULER, trained_betas=[0.1]), "trained_betas"),
    ("stock", setting(SCHEDULER, trained_betas=[0.1], num_train_timesteps=1), "trained_betas"),
    ("stock", setting(SCHEDULER, trained_betas=[1], num_train_timesteps=10**10), "trained_be"),
    ("stock", setting(SCHEDULER, trained_betas="all"), "trained_betas"),
    ("stock", setting(SCHEDULER, use_flow_sigmas=True), "use_flow_sigmas True"),
    ("stock", CONTINUOUS, "timestep_type 'continuous'"),
    ("stock", INVERTED, "invert_sigmas True"),
    ("stock", setting(SCHEDULER, beta_schedule="laplace"), "beta_schedule 'laplace'"),
    ("stock", setting(SCHEDULER, prediction_type="flow_prediction"), "flow_prediction"),
    ("stock", setting(SCHEDULER, num_train_timesteps="many"), "num_train_timesteps"),
    ("stock", setting(SCHEDULER, num_train_timesteps=10**9), "not a noise schedule"),
    ("stock", setting(SCHEDULER, beta_end=7), "not a noise schedule"),
    ("stock", setting(SCHEDULER, rescale_betas_zero_snr=True), "parametrization 'noise'"),
    ("stock", setting("model_index.json", unet=[]), r"components\.unet"),
    ("stock", setting("model_index.json", unet=["diffusers"], scheduler=[]), r"components\.unet"),
    ("stock", setting("model_index.json", other=[{}, 1]), r"components\.other"),
    ("stock", setting("model_index.json", _class_name=7), "pipeline"),
    ("stock", written("model_index.json", "{"), "not valid JSON"),
    ("stock", written("model_index.json", "[" * 100_000), "not valid JSON"),
    ("stock", written("unet/config.json", '{"a":' * 100_000), "not valid JSON"),
    ("stock", written("model_index.json", "[]"), "not a JSON object"),
    ("stock", written("unet/config.json", "7"), "not a JSON object"),
    ("stock", removed("unet/config.json"), "could not be read"),
    ("stock", removed(WEIGHTS), "has no diffusion_pytorch_model.safetensors"),
    ("stock", truncated(WEIGHTS), "truncated or not a safetensors file"),
    ("stock", another_network, r"conv_in\.weight|stem\.weight"),
    ("stock", without_a_weight, "weights of another network: .middle_attention.key.weight"),
    ("stock", not_finite, "not finite"),
    ("own", truncated(WEIGHTS), "truncated or not a safetensors file"),
    ("own", removed(WEIGHTS), "has no diffusion_pytorch_model.safetensors"),
    ("own", setting("model_index.json", description={"schedule": "edm"}), "invalid field"),
    ("own", setting("model_index.json", weaker=[]), r"components\.weaker"),
    (
        "own",
        setting(SCHEDULER, parametrization="velocity"),
        "was changed after the export: its field 'parametrization' differs",
    ),
    ("own", setting(SCHEDULER, kind="flow"), "its field 'kind' differs"),
    ("own", setting(SCHEDULER, shift=2.0), "its field 'shift' differs"),
    ("own", setting(SCHEDULER, sigma_max=81.0), "its field 'sigma_max' differs"),
    ("own", setting(SCHEDULER, sigma_max=10**400), "its field 'sigma_max' differs"),
    ("own", removed(SCHEDULER), "could not be read"),
    ("own", setting("unet/config.json", attention_levels=[]), "its field 'attention_levels' differs"),
    ("own", setting("unet/config.json", multipliers=None), "its field 'multipliers' differs"),
    ("own", describing(width=10**9), "too large"),
    ("own", describing(image_channels=10**18), "image channels"),
    ("own", describing(dropout=7), "cannot be built: dropout probability"),
    ("own", with_custom_network, "the network os:system is not part of sfumato, and its code is not run"),
    ("own", setting("model_index.json", weaker=["sfumato_unet", "SfumatoUNet"]), "could not be read|has no"),
]


def loaded(folder: Path) -> None:
    """Loads all of a folder."""
    load(folder)
    load_guidance_checkpoint(folder)


@pytest.mark.parametrize(("kind", "damage", "message"), BROKEN)
def test_a_broken_folder_has_one_sentence(
    kind: str, damage: Damage, message: str, folders: dict[str, Path], tmp_path: Path
) -> None:
    folder = copy(folders[kind], tmp_path / "in")
    damage(folder)
    with pytest.raises(SfumatoError, match=message) as error:
        loaded(folder)
    assert error.value.remedy


def test_code_in_a_folder_is_not_run(folders: dict[str, Path], tmp_path: Path) -> None:
    folder = copy(folders["own"], tmp_path / "in")
    for file in folder.rglob("*.py"):
        file.write_text(f"from pathlib import Path\nPath({str(tmp_path / 'ran')!r}).touch()\n", encoding="utf-8")
    load(folder)
    assert not (tmp_path / "ran").exists()


def test_a_missing_diffusers_is_named(
    folders: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = copy(folders["stock"], tmp_path / "in")
    setting("unet/config.json", norm_eps=1e-5)(folder)
    monkeypatch.setitem(sys.modules, "diffusers", None)
    with pytest.raises(RunError, match=r"and needs diffusers, which is not .* pip install 'sfumato\[diffusers\]'"):
        load(folder)
    load(folders["stock"])


def test_a_pipe_is_not_read(folders: dict[str, Path], tmp_path: Path) -> None:
    """Reading it would not end."""
    folder = copy(folders["stock"], tmp_path / "in")
    (folder / "unet" / "config.json").unlink()
    os.mkfifo(folder / "unet" / "config.json")
    with pytest.raises(SfumatoError, match="is not a file"):
        load(folder)
    os.mkfifo(tmp_path / "config.json")
    assert not is_diffusers_folder(tmp_path)


def test_deep_json_is_not_a_folder_of_diffusers(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("[" * 100_000, encoding="utf-8")
    assert not is_diffusers_folder(tmp_path)
