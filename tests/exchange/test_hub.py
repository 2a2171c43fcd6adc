"""Models of a stand-in for the Hub: which files and which revision are downloaded, and errors."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import sfumato as sf
from cli.conftest import run_main
from sfumato.errors import ConfigError, RunError
from sfumato.exchange import load as loading
from sfumato.exchange.export import export
from sfumato.exchange.load import load, load_with_guidance_checkpoint

from .conftest import build, unet
from .hub import Hub, serving

WEIGHTS = "diffusion_pytorch_model.safetensors"


def stock(folder: Path, seed: int = 0) -> Path:
    """A folder of stock classes."""
    export(build(unet(128, multipliers=(1,), attention_levels=()), seed=seed), folder)
    return folder


def own(folder: Path, seed: int = 0) -> Path:
    """A folder with its own pipeline and a guidance checkpoint that has seen 64 images more than `seed`."""
    model, weaker = build(unet(), "edm", "edm", seed=seed), build(unet(), "edm", "edm", seed=seed + 1)
    weaker.images_seen = 64 + seed
    export(model, folder, guidance_checkpoint=weaker)
    return folder


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A Hub with the stock folder in the layout of 2022, and an empty cache."""
    from huggingface_hub import constants

    home = stock(tmp_path / "hub")
    for name in ("unet", "scheduler"):
        for file in (home / name).iterdir():
            file.rename(home / file.name)
        (home / name).rmdir()
    (home / "README.md").write_text("not downloaded", encoding="utf-8")
    with serving(home) as served:
        monkeypatch.setattr(constants, "ENDPOINT", served.address)
        template = f"{served.address}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        yield served


def cached(home: Path) -> list[str]:
    """Names of the downloaded files."""
    snapshots = home / "cache" / "models--user--model" / "snapshots"
    return sorted(file.relative_to(snapshots).as_posix().partition("/")[2] for file in snapshots.rglob("*.*"))


def test_the_old_layout_is_downloaded_once(hub: Hub, tmp_path: Path) -> None:
    assert sf.sample(load("hf:user/model"), 1, steps=3).shape == (1, 3, 8, 8)
    assert cached(tmp_path) == ["config.json", WEIGHTS, "model_index.json", "scheduler_config.json"]
    assert hub.requests.count("main") == 1
    hub.requests.clear()
    model, weaker = load_with_guidance_checkpoint("hf:user/model")
    assert sf.sample(model, 1, steps=3).shape == (1, 3, 8, 8)
    assert weaker is None
    assert hub.requests == ["main"]


def test_other_files_of_the_same_kinds_are_not_downloaded(hub: Hub, tmp_path: Path) -> None:
    home = stock(tmp_path / "new")
    for name in ("tokenizer.json", "optimizer.bin", "unet_ema/config.json", "logs/a/b.json"):
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_text("{}", encoding="utf-8")
    shutil.copytree(home / "unet", home / "checkpoint-1" / "unet")
    shutil.copy(home / "unet" / WEIGHTS, home / "unet" / "diffusion_pytorch_model.fp16.safetensors")
    hub.push(home)
    load("hf:user/model")
    files = ["model_index.json", "scheduler/scheduler_config.json", "unet/config.json", f"unet/{WEIGHTS}"]
    assert cached(tmp_path) == files


@pytest.mark.parametrize("name", ["diffusion_pytorch_model.bin", "diffusion_pytorch_model.fp16.safetensors"])
def test_other_files_of_weights_are_downloaded_if_there_is_none(name: str, hub: Hub, tmp_path: Path) -> None:
    """A checkpoint in another folder is not taken for the weights."""
    from safetensors.torch import load_file

    home = stock(tmp_path / "new")
    shutil.copytree(home / "unet", home / "checkpoint-1" / "unet")
    if name.endswith(".bin"):
        torch.save(load_file(home / "unet" / WEIGHTS), home / "unet" / name)
        (home / "unet" / WEIGHTS).unlink()
    else:
        (home / "unet" / WEIGHTS).rename(home / "unet" / name)
    hub.push(home)
    load("hf:user/model")
    assert f"unet/{name}" in cached(tmp_path)


def push_after_each_load(hub: Hub, newer: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Adds a revision as soon as a model was loaded."""
    original = loading.load

    def loaded(*arguments: Any, **options: Any) -> Any:  # noqa: ANN401
        model = original(*arguments, **options)
        hub.push(newer)
        return model

    monkeypatch.setattr(loading, "load", loaded)


def test_a_guidance_checkpoint_has_the_revision_of_its_model(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.push(own(tmp_path / "new"))
    newer = own(tmp_path / "newer", seed=5)
    push_after_each_load(hub, newer, monkeypatch)
    for images_seen in (64, 69):
        _, weaker = load_with_guidance_checkpoint("hf:user/model")
        assert weaker is not None
        assert weaker.images_seen == images_seen


@pytest.fixture
def checkpoints(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The guidance checkpoints that a command loads. It ends after the first one, with exit code 2."""
    found: list[Any] = []
    original = loading.load_guidance_checkpoint

    def checkpoint(*arguments: Any) -> None:  # noqa: ANN401
        found.append(original(*arguments))
        raise RunError("stopped", "By the test.")

    monkeypatch.setattr(loading, "load_guidance_checkpoint", checkpoint)
    return found


@pytest.mark.parametrize("words", [["sample", "hf:user/model"], ["eval", "hf:user/model", "digits"]])
def test_a_command_reads_one_revision(
    words: list[str], hub: Hub, checkpoints: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.push(own(tmp_path / "new"))
    push_after_each_load(hub, own(tmp_path / "newer", seed=5), monkeypatch)
    assert run_main(words) == 2
    assert [weaker.images_seen for weaker in checkpoints] == [64]


@pytest.mark.parametrize("verb", ["sample", "interpolate"])
def test_autoguidance_may_name_the_same_model(verb: str, hub: Hub, checkpoints: list[Any], tmp_path: Path) -> None:
    hub.push(own(tmp_path / "new"))
    assert run_main([verb, "hf:user/model", "--guidance", "2", "--autoguidance", "hf:user/model"]) == 2
    assert [weaker.images_seen for weaker in checkpoints] == [64]


def test_a_revision_can_be_named(hub: Hub, tmp_path: Path) -> None:
    hub.push(stock(tmp_path / "new", seed=7))
    old, new = load("hf:user/model@v1"), load("hf:user/model")
    assert not torch.equal(old.network.stem.weight, new.network.stem.weight)
    commit = "a" * 40
    assert torch.equal(load(f"hf:user/model@{commit}").network.stem.weight, old.network.stem.weight)
    with pytest.raises(RunError, match=r"hf:user/model has no revision v2\. Choose one of its branches"):
        load("hf:user/model@v2")


def test_weights_that_cannot_be_imported_are_not_downloaded(hub: Hub, tmp_path: Path) -> None:
    home = stock(tmp_path / "new")
    parts = json.loads((home / "model_index.json").read_text(encoding="utf-8"))
    (home / "model_index.json").write_text(
        json.dumps(parts | {"vae": ["diffusers", "AutoencoderKL"]}), encoding="utf-8"
    )
    hub.push(home)
    with pytest.raises(RunError, match="AutoencoderKL"):
        load("hf:user/model")
    assert not list((tmp_path / "cache").rglob("*.safetensors"))


def test_a_model_of_another_library_is_named(hub: Hub, tmp_path: Path) -> None:
    home = tmp_path / "new"
    home.mkdir()
    (home / "config.json").write_text('{"model_type": "bert"}', encoding="utf-8")
    hub.push(home)
    with pytest.raises(RunError, match=r"hf:user/model contains no model_index\.json"):
        load("hf:user/model")


def test_a_broken_connection_is_an_error(hub: Hub) -> None:
    hub.is_cut = True
    with pytest.raises(RunError, match=r"hf:user/model could not be downloaded: .") as error:
        load("hf:user/model")
    assert error.value.remedy.startswith("Check the connection")


def test_an_unreachable_hub_is_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(RunError, match=r"^hf:user/model could not be downloaded: ConnectError: [^.]+\. Check the conn"):
        load("hf:user/model")


@pytest.mark.usefixtures("hub")
def test_a_model_that_does_not_exist_is_an_error() -> None:
    with pytest.raises(RunError, match=r"^hf:user/other does not exist on the Hub, or is private\. Check the name\. "):
        load("hf:user/other")


def test_a_model_with_conditions_of_access_is_an_error(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "answer", lambda _: (403, b"", {"X-Error-Code": "GatedRepo"}))
    with pytest.raises(
        RunError, match=r"is only for accounts that its author accepted.*huggingface\.co/user/model, then"
    ):
        load("hf:user/model")


@pytest.mark.parametrize("name", ["hf:a/b/c", "hf:", "hf:@v1", "hf:model", "hf:user/a b", "hf:user/a..b"])
def test_a_name_that_the_hub_does_not_allow_is_an_error_without_a_request(name: str, hub: Hub) -> None:
    with pytest.raises(ConfigError, match=r"is not the name of a repository on the Hub\. Write USER/NAME"):
        load(name)
    assert not hub.requests


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(RunError, match=r"^hf:user/model needs huggingface_hub, which is not .*'sfumato\[hub\]'\.$"):
        load("hf:user/model")


def test_a_command_takes_a_name(hub: Hub, tmp_path: Path) -> None:
    """Also without a connection if the model was downloaded before."""
    environment = os.environ | {"HF_ENDPOINT": hub.address, "HF_HOME": str(tmp_path), "HF_HUB_DISABLE_XET": "1"}
    words = ["sample", "hf:user/model", "--count", "2", "--steps", "3", "--seed", "1", "--device", "cpu"]
    for out, changes in (("first.npz", {}), ("again.npz", {"HF_HUB_OFFLINE": "1"})):
        done = subprocess.run(
            [sys.executable, "-m", "sfumato", *words, "--out", str(tmp_path / out)],
            env=environment | changes,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        assert "Fetching" not in done.stderr
    assert hub.requests.count("main") == 1


def test_weights_in_several_files_are_not_downloaded(hub: Hub, tmp_path: Path) -> None:
    home = stock(tmp_path / "new")
    (home / "unet" / WEIGHTS).rename(home / "unet" / "diffusion_pytorch_model-00001-of-00001.safetensors")
    (home / "unet" / f"{WEIGHTS}.index.json").write_text("{}", encoding="utf-8")
    hub.push(home)
    with pytest.raises(RunError, match=r"weights in several files.*Save them as one file"):
        load("hf:user/model")
    assert not [name for name in cached(tmp_path) if name.endswith(".safetensors")]
