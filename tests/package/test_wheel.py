"""The distribution: what the wheel installs is complete, small, and trains."""

import json
import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LARGEST_BASE = 280e6
"""Bytes of a base installation besides PyTorch and what it brings."""

MEASURE = """
import json, re
from importlib.metadata import distributions
sizes, needs = {}, {}
for found in distributions():
    name = re.sub("[-_.]+", "-", found.metadata["Name"]).lower()
    files = [found.locate_file(file) for file in found.files or []]
    sizes[name] = sum(file.stat().st_size for file in files if file.is_file())
    needs[name] = [re.match(r"[\\w.-]+", need)[0] for need in found.requires or [] if "extra" not in need]
of_torch, pending = set(), ["torch"]
while pending:
    name = re.sub("[-_.]+", "-", pending.pop()).lower()
    if name in sizes and name not in of_torch:
        of_torch.add(name)
        pending += needs[name]
print(json.dumps({name: size for name, size in sizes.items() if name not in of_torch | {"pip"}}))
"""


def run(*command: object, cwd: Path) -> str:
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(list(map(str, command)), cwd=cwd, env=clean, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_the_wheel_trains_in_a_clean_environment(tmp_path: Path) -> None:
    run(sys.executable, "-m", "build", "--outdir", tmp_path / "dist", ROOT, cwd=tmp_path)  # the wheel from the sdist
    (wheel,), (sdist,) = (list((tmp_path / "dist").glob(end)) for end in ("*.whl", "*.tar.gz"))
    names = zipfile.ZipFile(wheel).namelist()
    assert "sfumato/data/digits.npz" in names
    assert all(name.startswith(("sfumato/", "sfumato-")) for name in names)
    with tarfile.open(sdist) as archive:
        assert {"README.md", "LICENSE", "CHANGELOG.md", "tests"} <= {Path(n).parts[1] for n in archive.getnames()}
    run(sys.executable, "-m", "venv", "env", cwd=tmp_path)
    python = tmp_path / "env" / ("Scripts" if sys.platform == "win32" else "bin") / "python"
    run(python, "-m", "pip", "install", "-q", "-c", ROOT / "constraints.txt", wheel, cwd=tmp_path)
    run(python, "-m", "sfumato", "train", "digits", "--images", "500", "--device", "cpu", cwd=tmp_path)
    run(python, "-m", "sfumato", "sample", "runs/digits", "--count", "4", "--steps", "3", cwd=tmp_path)
    assert len(list((tmp_path / "samples/digits").rglob("*.png"))) == 5
    sizes = json.loads(run(python, "-c", MEASURE, cwd=tmp_path))
    assert not {"scikit-learn", "scipy", "imagecodecs"} & sizes.keys()
    assert sum(sizes.values()) < LARGEST_BASE, sizes
