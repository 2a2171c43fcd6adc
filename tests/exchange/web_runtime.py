"""The files of onnxruntime-web, fetched once by npm and kept in the cache of the user."""

from __future__ import annotations

import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

import platformdirs
import pytest

from sfumato.exchange.web import RUNTIME, RUNTIME_FILES, RUNTIME_VERSION


def runtime_folder() -> Path:
    """Folder with the files; skips the test if they are neither cached nor can be fetched."""
    folder = platformdirs.user_cache_path("sfumato") / "tests" / f"{RUNTIME}-{RUNTIME_VERSION}"
    if not folder.is_dir():
        if shutil.which("npm") is None:
            pytest.skip("npm, which fetches onnxruntime-web, is not installed")
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent) as unpacked:
            command = ["npm", "pack", "--silent", f"{RUNTIME}@{RUNTIME_VERSION}"]
            done = subprocess.run(command, cwd=unpacked, capture_output=True, text=True)
            if done.returncode:
                pytest.skip(f"npm could not fetch onnxruntime-web: {done.stderr.strip()[:200]}")
            (archive,) = Path(unpacked).glob("*.tgz")
            (Path(unpacked) / "files").mkdir()
            with tarfile.open(archive) as content:
                for file in (file for device in RUNTIME_FILES.values() for file in device.values()):
                    source = content.extractfile(f"package/dist/{file['file']}")
                    assert source is not None
                    (Path(unpacked) / "files" / file["file"]).write_bytes(source.read())
            (Path(unpacked) / "files").rename(folder)
    return folder
