"""The code of a network from outside the package runs only where a person names it."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

import sfumato as sf
from cli.conftest import Command, Outcome, run_main
from sfumato.errors import ConfigError
from sfumato.networks.custom import BUILDERS

from .own_networks import FLAGS, runs, written


@pytest.fixture(name="command")
def _command(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Command:
    """The command line in this process."""
    monkeypatch.setenv("COLUMNS", "300")

    def command(*arguments: object) -> Outcome:
        capsys.readouterr()
        code = run_main([str(argument) for argument in arguments])
        return Outcome(code, *capsys.readouterr())

    return command


class Trained(NamedTuple):
    """A run whose network is in a file; the file was run `times` times."""

    run: Path
    path: str
    file: Path
    times: int


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a trained run and the file of its network; read only."""
    folder = tmp_path_factory.mktemp("named")
    path = f"{written(folder)}:Net:width=6"
    flags = ("--backbone", path, *FLAGS, "--device", "cpu", "--out", str(folder / "run"))
    assert run_main(["train", "digits", *flags]) == 0
    return folder


@pytest.fixture
def trained(digits: Path, monkeypatch: pytest.MonkeyPatch) -> Trained:
    """The run, in a process where nobody named its network."""
    monkeypatch.setattr(BUILDERS, "named", {})
    for name in [name for name in sys.modules if name.startswith("_sfumato_ownnet_")]:
        monkeypatch.delitem(sys.modules, name)
    file = digits / "ownnet.py"
    return Trained(digits / "run", f"{file}:Net:width=6", file, runs(file))


VERBS: dict[str, list[object]] = {
    "sample": ["--count", 2, "--steps", 3],
    "eval": ["--count", 8, "--steps", 3, "--metrics", "drift"],
    "interpolate": ["--count", 2, "--frames", 3, "--steps", 2],
    "explain": [],
}


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.slow
def test_commands_do_not_run_code_named_only_by_the_run(
    verb: str, command: Command, trained: Trained, tmp_path: Path
) -> None:
    arguments = [verb, trained.run, *VERBS[verb], "--device", "cpu", "--out", tmp_path / "out"]
    refused = command(*arguments)
    message = " ".join(refused.error.split())
    assert refused.code == 2
    assert f"the network is {trained.path}, whose code is not part of sfumato" in message
    assert f"add --backbone {trained.path}, or pass it in Python" in message
    assert runs(trained.file) == trained.times
    assert not (tmp_path / "out").exists()
    done = command(*arguments, "--backbone", trained.path)
    assert done.code == 0, done.error
    assert (tmp_path / "out").exists()
    assert runs(trained.file) == trained.times + 1


@pytest.mark.parametrize("part", ["run", "model", "copy"])
def test_load_does_not_run_code_named_only_by_the_files(part: str, trained: Trained, tmp_path: Path) -> None:
    folder = {"run": trained.run, "model": trained.run / "model", "copy": tmp_path / "copy"}[part]
    shutil.copytree(trained.run / "model", tmp_path / "copy")
    with pytest.raises(ConfigError, match=r"whose code is not part of sfumato\. Read that code first"):
        sf.load(folder)
    assert runs(trained.file) == trained.times
    with pytest.raises(ConfigError, match="other settings were given"):
        sf.load(folder, network=f"{trained.file}:Net")
    assert sf.load(folder, network=trained.path).label_names[:2] == ("0", "1")
    assert runs(trained.file) == trained.times + 1


def test_a_network_whose_file_was_moved_is_loaded(trained: Trained, tmp_path: Path) -> None:
    shutil.copy(trained.file, tmp_path / "moved.py")
    assert sf.load(trained.run, network=f"{tmp_path / 'moved.py'}:Net:width=6").is_custom


def test_a_network_other_than_that_of_the_run_is_rejected(command: Command, trained: Trained, tmp_path: Path) -> None:
    arguments = ["sample", trained.run, "--count", 2, "--device", "cpu", "--out", tmp_path / "out", "--backbone"]
    for other in ("unet", f"{trained.file}:Missing", f"{trained.file}:Flat", "doormissing:Net"):
        refused = command(*arguments, other)
        assert refused.code == 2, refused
        assert refused.error.startswith("sfumato: ")


def test_show_does_not_run_the_code_of_the_network(command: Command, trained: Trained) -> None:
    shown = command("show", trained.run)
    assert shown.code == 0, shown.error
    assert runs(trained.file) == trained.times
