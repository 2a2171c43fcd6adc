"""Start of the command in a new process: Ctrl-C, full memory, full disk and old terminals."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import tomli_w

from .conftest import TINY

INTERRUPTED_AT = """
import os, signal, sys
name, *arguments = sys.argv[1:]
signal.signal(signal.SIGINT, signal.default_int_handler)  # a background parent ignores SIGINT
class Finder:
    def find_spec(self, module, *rest):
        if module == name:
            sys.meta_path.remove(self)
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Finder())
from sfumato.__main__ import main
sys.argv = ["sfumato", *arguments]
sys.exit(main())
"""

CALL = "import sys; from sfumato.__main__ import main; sys.argv[0] = 'sfumato'; sys.exit(main())"


def started(*arguments: object, prelude: str = "", **settings: object) -> subprocess.CompletedProcess[str]:
    """`sfumato ARGUMENTS` in a new process."""
    command = [sys.executable, "-c", prelude + CALL, *map(str, arguments)]
    return subprocess.run(command, stderr=subprocess.PIPE, encoding="utf-8", check=False, **settings)  # type: ignore[call-overload,no-any-return]


@pytest.mark.parametrize("module", ["sfumato.cli", "tyro", "numpy._core", "torch", "sfumato.training.loop"])
def test_ctrl_c_during_an_import_ends_with_130_and_no_traceback(module: str, photos: Path, tmp_path: Path) -> None:
    arguments = [module, "train", str(photos), "--out", str(tmp_path / "run"), *TINY]
    command = [sys.executable, "-c", INTERRUPTED_AT, *arguments]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (130, "sfumato: interrupted\n")
    assert not (tmp_path / "run").exists()


def test_out_of_memory_during_import_is_reported(run: Path) -> None:
    full = "import resource; resource.setrlimit(resource.RLIMIT_AS, (3 * 10**8,) * 2)\n"
    ended = started("sample", run, prelude=full, stdout=subprocess.PIPE)
    assert ended.returncode == 2
    assert "Traceback" not in ended.stderr
    assert ended.stderr.startswith("sfumato: ")
    assert "emory" in ended.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no /dev/full")
@pytest.mark.parametrize("flags", [[], ["--json"]])
@pytest.mark.slow
def test_output_to_a_full_disk_is_reported(flags: list[str], run: Path, tmp_path: Path) -> None:
    with Path("/dev/full").open("w") as full:
        ended = started("show", run, "--out", tmp_path / "curves.png", *flags, stdout=full)
    assert (ended.returncode, ended.stderr.count("\n")) == (2, 1)
    assert "No space left on device" in ended.stderr


@pytest.mark.parametrize("encoding", ["latin-1", "ascii"])
@pytest.mark.parametrize("flags", [[], ["--json"]])
@pytest.mark.slow
def test_characters_outside_the_encoding_are_escaped(
    flags: list[str], encoding: str, run: Path, tmp_path: Path
) -> None:
    copy = shutil.copytree(run, tmp_path / "run")
    record = tomllib.loads((copy / "config.toml").read_text())
    record["learned"]["label_names"] = ["猫", "σκύλος"]
    (copy / "config.toml").write_text(tomli_w.dumps(record), encoding="utf-8")
    ended = started("show", copy, *flags, env=os.environ | {"PYTHONIOENCODING": encoding}, stdout=subprocess.PIPE)
    assert ended.returncode == 0, ended.stderr
    assert "\\u732b" in ended.stdout


@pytest.mark.slow
def test_a_file_name_that_is_too_long_is_reported(run: Path, tmp_path: Path) -> None:
    for arguments in (("sample", run, "--out", tmp_path / ("a" * 300)), ("show", "a" * 300)):
        ended = started(*arguments, stdout=subprocess.PIPE)
        assert (ended.returncode, ended.stderr.count("\n")) == (2, 1)
        assert "File name too long" in ended.stderr


def test_an_unexpected_error_writes_a_report(tmp_path: Path) -> None:
    broken = "import sfumato.cli\ndef fail(): raise LookupError('lost')\nsfumato.cli.main = fail\n"
    ended = started(prelude=broken, env=os.environ | {"TMPDIR": str(tmp_path)})
    assert ended.returncode == 1
    (report,) = tmp_path.glob("sfumato-error-*.txt")
    assert f"unexpected error (a bug in sfumato): LookupError: lost. Report it with {report}" in ended.stderr
    assert "Traceback" in report.read_text()


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="the system has no SIGHUP")
@pytest.mark.parametrize("ignored", [False, True])
@pytest.mark.slow
def test_sighup_saves_and_stops_unless_ignored(ignored: bool, photos: Path, tmp_path: Path) -> None:
    code = (
        "import os, signal, sfumato.training.loop as trainer\n"
        + ("signal.signal(signal.SIGHUP, signal.SIG_IGN)\n" if ignored else "")
        + "step = trainer.TrainingLoop.count\n"
        "def take(loop, results):\n"
        "    step(loop, results)\n"
        "    if results and loop.state.counters.steps == 2: os.kill(os.getpid(), signal.SIGHUP)\n"
        "trainer.TrainingLoop.count = take\n"
    )
    out = tmp_path / "run"
    ended = started("train", photos, "--out", out, *TINY, "--images", 24, prelude=code, stdout=subprocess.PIPE)
    assert ended.returncode == (0 if ignored else 128 + signal.SIGHUP)
    saved = "000000000024" if ignored else "000000000008"
    assert [path.stem for path in sorted((out / "checkpoints").iterdir())][-1] == saved
