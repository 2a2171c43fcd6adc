"""`push`: what is uploaded, what happens to a repository, and errors."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import torch

import sfumato as sf
from cli.conftest import Command
from cli.conftest import sfumato as _command
from exchange.conftest import build, convnet
from sfumato.errors import ConfigError, RunError
from sfumato.networks.custom import BUILDERS, CustomConfig, register_network

from .hub import Hub, Repository

sfumato = _command

pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")  # in huggingface_hub

CARD = "README.md"


class Net(torch.nn.Conv2d):
    """A network from outside the package."""

    def __init__(self) -> None:
        super().__init__(3, 3, 1)


def pushed(run: Path, name: str = "anna/pets", **options: object) -> list[str]:
    """Pushes, and returns the messages."""
    said: list[str] = []
    sf.push(run, name, say=said.append, device="cpu", **options)  # type: ignore[arg-type]
    return said


def test_a_push_is_one_commit_of_all_files(pets: Path, hub: Hub) -> None:
    address = sf.push(pets, "anna/pets", license="MIT", device="cpu")
    assert address == f"{hub.address}/anna/pets"
    repository = hub.repositories["anna/pets"]
    (commit,) = repository.commits
    assert commit[0]["value"]["summary"] == "Push a model with sfumato"
    assert set(repository.files) == {
        *(".gitattributes", CARD, "config.toml", "evaluations.jsonl", "metrics.jsonl", "model_index.json"),
        *("pipeline.py", "samples.png", "scheduler/scheduler_config.json", "scheduler/sfumato_schedule.py"),
        *("unet/config.json", "unet/diffusion_pytorch_model.safetensors", "unet/sfumato_unet.py"),
    }
    assert b"license: mit\n" in repository.files[CARD]
    assert not repository.private
    assert any("sfumato/" in agent for agent in hub.agents)


@pytest.mark.usefixtures("hub")
def test_a_pushed_model_is_loaded_from_the_hub(pets: Path) -> None:
    pushed(pets)
    ours, theirs = sf.load(pets), sf.load("hf:anna/pets")
    images = [sf.sample(model, 2, labels=["cat", "dog"], steps=3, seed=1) for model in (ours, theirs)]
    assert torch.equal(*images)


@pytest.mark.usefixtures("hub")
def test_the_best_model_is_pushed(pets: Path, sfumato: Command) -> None:
    outcome = sfumato("push", pets, "anna/pets", "--model", "best", "--device", "cpu")
    assert outcome.code == 0, outcome.error
    theirs, best = sf.load("hf:anna/pets"), sf.load(pets / "best")
    for name, weight in best.network.state_dict().items():
        assert torch.equal(theirs.network.state_dict()[name], weight)


def test_nothing_of_the_machine_is_published(pets: Path, photos: Path, hub: Hub) -> None:
    assert str(photos) in (pets / "config.toml").read_text()
    pushed(pets)
    files = hub.repositories["anna/pets"].files
    for path, content in files.items():
        for private in (str(photos.parent), str(pets.parent), str(Path.home()), "login-for-tests"):
            assert private.encode() not in content, path
    config = tomllib.loads(files["config.toml"].decode())
    assert config["config"]["source"] == "photos"
    assert config["learned"]["label_names"] == ["cat", "dog"]


def test_only_results_of_the_pushed_model_are_published(pets: Path, hub: Hub) -> None:
    record = pets / "evaluations" / "evaluations.jsonl"
    facts = json.loads(record.read_text())
    other = facts | {"model": facts["model"] | {"images_seen": 20}, "samples": 77}
    custom = facts | {"metrics": {"/home/me/mine.py:Mine": {"secret": 1}}}
    early = {name: value for name, value in facts.items() if name != "model"}
    lines = [json.dumps(each) for each in (other, early, facts, custom)]
    record.write_text("\n".join([*lines, "[", "null", "{}"]))
    pushed(pets)
    files = hub.repositories["anna/pets"].files
    first, second = (json.loads(line) for line in files["evaluations.jsonl"].splitlines())
    assert first["metrics"] == facts["metrics"]
    assert second["metrics"] == {}
    assert "6 samples" in files[CARD].decode()
    assert "77 samples" not in files[CARD].decode()


def test_all_measurements_are_published(pets: Path, hub: Hub) -> None:
    line = (pets / "metrics.jsonl").read_text().splitlines()[0]
    (pets / "metrics.jsonl").write_text(20_001 * f"{line}\n")
    pushed(pets)
    assert hub.repositories["anna/pets"].files["metrics.jsonl"].count(b"\n") == 20_001


def test_a_local_folder_is_not_named_as_a_data_set(pets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (pets / "config.toml").read_text()
    (pets / "config.toml").write_text(re.sub("source = .*", 'source = "hf:data/photos"', text))
    monkeypatch.chdir(tmp_path)  # where the folder data/photos does not exist
    said = pushed(pets, dry_run=tmp_path / "out")
    for file in (CARD, "config.toml"):
        assert "data/photos" not in (tmp_path / "out" / file).read_text()
    assert any("add --data-set NAME" in text for text in said)


def test_one_data_set_may_be_given_as_text(pets: Path, tmp_path: Path) -> None:
    pushed(pets, dry_run=tmp_path / "out", data_sets="hf:mnist")
    assert "datasets:\n- mnist\n" in (tmp_path / "out" / CARD).read_text()


def test_a_folder_cannot_be_private(pets: Path, tmp_path: Path, sfumato: Command) -> None:
    outcome = sfumato("push", pets, "anna/pets", "--dry-run", tmp_path / "out", "--private")
    assert (outcome.code, "Leave out --private" in outcome.error) == (2, True)


def test_a_private_repository_is_created(pets: Path, hub: Hub) -> None:
    pushed(pets, private=True)
    assert hub.repositories["anna/pets"].private


def test_a_public_repository_is_not_used_for_a_private_push(pets: Path, hub: Hub) -> None:
    pushed(pets)
    with pytest.raises(RunError, match=r"anna/pets exists and is public.*settings"):
        pushed(pets, private=True)
    assert len(hub.repositories["anna/pets"].commits) == 1


def test_an_earlier_push_is_replaced(pets: Path, hub: Hub) -> None:
    pushed(pets, license="mit")
    repository = hub.repositories["anna/pets"]
    repository.files |= {"weaker/config.json": b"{}", "LICENSE": b"text", "notes.md": b"own"}
    said = pushed(pets)
    assert any("contains an earlier push, which is replaced" in text for text in said)
    assert any("Deleted, because the model no longer needs them: weaker/config.json" in text for text in said)
    assert {"LICENSE", "notes.md"} <= set(repository.files)
    assert "weaker/config.json" not in repository.files
    assert [line["key"] for line in repository.commits[1]] == ["header", "deletedFile"]  # the rest has not changed


def test_what_the_author_wrote_in_the_card_is_kept(pets: Path, hub: Hub) -> None:
    pushed(pets)
    repository = hub.repositories["anna/pets"]
    text = repository.files[CARD].decode().replace("tags:\n", "license: cc-by-4.0\nlanguage: en\ntags:\n- pets\n")
    repository.files[CARD] = f"{text}\nMy own words.\n".encode()
    said = pushed(pets)
    card = repository.files[CARD].decode()
    assert "license: cc-by-4.0" in card
    assert "language: en" in card
    assert "- pets\n" in card
    assert card.endswith("Text below it is kept. -->\n\nMy own words.\n")
    assert not any("no license" in text for text in said)
    pushed(pets)
    assert repository.files[CARD].decode() == card


def test_another_model_does_not_inherit_data_sets(pets: Path, hub: Hub) -> None:
    pushed(pets, data_sets=["old/set"], license="mit")
    assert b"old/set" in hub.repositories["anna/pets"].files[CARD]
    pushed(pets)
    assert b"old/set" not in hub.repositories["anna/pets"].files[CARD]
    assert b"license: mit" in hub.repositories["anna/pets"].files[CARD]


def test_a_repository_from_the_website_is_filled(pets: Path, hub: Hub) -> None:
    files = {".gitattributes": b"", CARD: b"---\nlicense: apache-2.0\n---\nMy cats.\n"}
    hub.repositories["anna/pets"] = Repository(files, private=True)
    pushed(pets, private=True)
    card = hub.repositories["anna/pets"].files[CARD].decode()
    assert "license: apache-2.0" in card
    assert card.endswith("\n\nMy cats.\n")


def test_a_repository_of_other_origin_is_not_changed(pets: Path, hub: Hub) -> None:
    files = {CARD: b"---\ntags:\n- llm\n---\n", "model.safetensors": b"", "config.json": b""}
    hub.repositories["anna/pets"] = Repository(dict(files))
    with pytest.raises(RunError, match=r"files that sfumato did not write: config.json, model.safetensors\. Choose"):
        pushed(pets)
    assert hub.repositories["anna/pets"].files == files


def test_a_push_during_another_change_changes_nothing(pets: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    pushed(pets)
    repository, mode = hub.repositories["anna/pets"], Hub.mode

    def changing(hub: Hub, repository: Repository, path: str) -> dict[str, object]:
        repository.files["new.txt"] = b"by another person"
        return mode(hub, repository, path)

    monkeypatch.setattr(Hub, "mode", changing)
    with pytest.raises(RunError, match="changed at the same time"):
        pushed(pets, license="mit")
    assert len(repository.commits) == 1


@pytest.mark.parametrize(
    ("path", "status", "message"),
    [
        ("/api/whoami", 401, "does not accept your login.*HF_TOKEN environment variable is invalid"),
        ("/api/validate-yaml", 400, "rejected the request.*Invalid metadata in README.md. - planted"),
        ("/api/repos/create", 403, "does not let you write there.*HTTP 403"),
        ("/commit/", 403, "does not let you write there.*role write"),
        ("/commit/", 503, "rejected the request.*503.*later"),
        ("/api/whoami", 429, "rejected the request.*429.*later"),
        ("/commit/", 400, "rejected the request.*planted"),
    ],
)
def test_a_failure_of_the_hub_is_explained(path: str, status: int, message: str, pets: Path, hub: Hub) -> None:
    hub.failures[path] = status
    with pytest.raises(RunError, match=message):
        pushed(pets)
    assert not any(repository.commits for repository in hub.repositories.values())


def test_without_a_login_nothing_is_sent(pets: Path, logged_out: Hub) -> None:
    with pytest.raises(RunError, match=r"not logged in.*hf auth login\. .*--dry-run"):
        pushed(pets)
    assert not logged_out.requests


@pytest.mark.usefixtures("hub")
def test_an_unreachable_hub_is_explained(pets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(RunError, match=r"anna/pets could not be pushed: .*Check the connection"):
        pushed(pets)


def test_an_offline_hub_is_explained(pets: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(RunError, match=r"could not be pushed: .*HF_HUB_OFFLINE"):
        pushed(pets)
    assert not hub.requests


def test_an_interrupted_upload_commits_nothing(
    pets: Path, hub: Hub, sfumato: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("huggingface_hub._commit_api._upload_lfs_files", interrupted)
    before = sorted(pets.parent.rglob("*"))
    outcome = sfumato("push", pets, "anna/pets", "--device", "cpu")
    assert outcome.code == 130
    assert "The upload is one commit: the Hub has all of it or nothing" in outcome.error
    assert not hub.repositories["anna/pets"].commits
    assert sorted(pets.parent.rglob("*")) == before


@pytest.mark.parametrize(
    "name", ["pets", "anna/pets/more", "anna/my pets", "anna/..", "anna/pets.git", "ännä/pets", ""]
)
def test_an_invalid_name_is_an_error(name: str, pets: Path, hub: Hub) -> None:
    with pytest.raises(ConfigError, match=r"not the name of a repository.*USER/NAME"):
        pushed(pets, name)
    assert not hub.requests


@pytest.mark.usefixtures("hub")
def test_an_invalid_data_set_is_an_error(pets: Path) -> None:
    with pytest.raises(ConfigError, match="not the name of a data set"):
        pushed(pets, data_sets=["my/own/photos"])


def test_a_custom_network_cannot_be_pushed(tmp_path: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(BUILDERS, "named", {})
    sf.save(build(CustomConfig(register_network(Net), 3, (8, 8))), tmp_path / "model")
    with pytest.raises(ConfigError, match=r"Net is not part of sfumato.*Share the run directory"):
        pushed(tmp_path / "model")
    assert not hub.requests


def test_a_failure_of_the_export_reaches_no_network(tmp_path: Path, hub: Hub) -> None:
    with pytest.raises(RunError, match="is not a folder"):
        pushed(tmp_path / "none")
    assert not hub.requests


def test_a_dry_run_needs_no_network(pets: Path, tmp_path: Path, logged_out: Hub, sfumato: Command) -> None:
    out = tmp_path / "new" / "out"
    outcome = sfumato("push", pets, "anna/pets", "--dry-run", out, "--device", "cpu")
    assert outcome.code == 0, outcome.error
    assert f"Model written to {out}" in outcome.out
    assert "The card has no license: add --license ID" in outcome.out
    assert {path.name for path in out.iterdir()} >= {CARD, "config.toml", "samples.png", "unet"}
    assert not logged_out.requests
    again = sfumato("push", pets, "anna/pets", "--dry-run", out, "--device", "cpu")
    assert (again.code, f"{out} exists already" in again.error) == (2, True)


@pytest.mark.usefixtures("hub")
def test_a_failed_dry_run_leaves_nothing(pets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr("sfumato.sharing.push.card", interrupted)
    with pytest.raises(KeyboardInterrupt):
        pushed(pets, dry_run=tmp_path / "new" / "out")
    assert not (tmp_path / "new").exists()


def test_commands_read_a_pushed_folder(pets: Path, photos: Path, tmp_path: Path, sfumato: Command) -> None:
    out, few = tmp_path / "out", ("--device", "cpu", "--steps", "3", "--count", "4")
    pushed(pets, dry_run=out)
    assert sfumato("sample", out, *few, "--out", tmp_path / "samples").code == 0
    outcome = sfumato("eval", out, photos, *few, "--out", tmp_path / "evaluated")
    assert outcome.code == 0, outcome.error
    assert sfumato("show", out, "--out", tmp_path / "curves.png").code == 0
    tiny = ("--images", "4", "--batch", "4", "--device", "cpu", "--preview-steps", "3")
    outcome = sfumato("train", photos, "--from", out, "--out", tmp_path / "tuned", *tiny)
    assert outcome.code == 0, outcome.error


def test_a_folder_of_diffusers_is_pushed_without_a_run(tmp_path: Path) -> None:
    network, weaker = convnet(classes=11), build(convnet(classes=11), "edm", "edm", seed=1)
    weaker.images_seen = 64
    sf.export(build(network, "edm", "edm"), tmp_path / "model", guidance_checkpoint=weaker)
    said = pushed(tmp_path / "model", dry_run=tmp_path / "out")
    card = (tmp_path / "out" / CARD).read_text()
    assert "16 samples, not selected: 20 steps of `dpm-2m`, autoguidance at scale 1.5, seed 0." in card
    assert (tmp_path / "out" / "weaker").is_dir()
    assert not (tmp_path / "out" / "config.toml").exists()
    assert any("model without its run" in text for text in said)
    assert not any("sfumato eval" in text for text in said)  # would not help


def test_a_missing_library_is_named(pets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(RunError, match=r"pip install 'sfumato\[hub\]'"):
        pushed(pets)


@pytest.mark.slow
def test_the_command_and_the_code_in_the_card_run(pets: Path, hub: Hub, tmp_path: Path) -> None:
    home = {"HF_ENDPOINT": hub.address, "HF_HOME": str(tmp_path / "home"), "HF_HUB_DISABLE_XET": "1"}

    def python(*arguments: str) -> str:
        command = [sys.executable, *arguments]
        done = subprocess.run(command, env=os.environ | home, capture_output=True, text=True, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        return done.stdout

    push = ["-m", "sfumato", "push", str(pets), "anna/pets", "--device", "cpu", "--license", "mit"]
    assert python(*push).endswith(f"Model pushed to {hub.address}/anna/pets\n")
    blocks = re.findall(r"```python\n(.*?)```", hub.repositories["anna/pets"].files[CARD].decode(), re.DOTALL)
    assert len(blocks) == 2
    python("-c", "\n".join([*blocks, "assert len(images) == 4"]))
    assert (tmp_path / "samples.png").is_file()
