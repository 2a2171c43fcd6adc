"""Files are written atomically, and reading executes no code."""

from __future__ import annotations

import ast
import errno
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

import sfumato
from sfumato.errors import RunError
from sfumato.utils import files
from sfumato.utils.files import read_notes, read_tensors, read_text, write_tensors, write_whole

SOURCES = sorted(Path(sfumato.__file__).parent.rglob("*.py"))


def test_a_file_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "file"
    for content in (b"first, and longer", b"second"):
        write_whole(path, content)
        assert path.read_bytes() == content
    assert [entry.name for entry in path.parent.iterdir()] == ["file"]


@pytest.mark.parametrize("call", ["fsync", "replace", "close"])
@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
def test_a_crash_while_writing_leaves_only_the_old_file(
    call: str, error: BaseException, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    write_whole(path, b"old")

    def crash(*_: object, **__: object) -> None:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(os, call, crash)
        with pytest.raises((RunError, KeyboardInterrupt)):
            write_whole(path, b"new")
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_a_failed_write_of_tensors_leaves_only_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    write_tensors(path, {"x": torch.ones(4)}, "kind", {})

    def half(_: object, file: Path, __: object) -> None:
        file.write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(files, "save_file", half)
    with pytest.raises(KeyboardInterrupt):
        write_tensors(path, {"x": torch.zeros(4)}, "kind", {})
    assert torch.equal(read_tensors(path, "kind")[0]["x"], torch.ones(4))
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_a_file_is_flushed_before_the_rename_and_a_folder_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    for name in ("fsync", "replace"):

        def recorded(*arguments: object, name: str = name, original: object = getattr(os, name)) -> None:
            calls.append(name)
            original(*arguments)  # type: ignore[operator]

        monkeypatch.setattr(os, name, recorded)
    write_whole(tmp_path / "file", b"content")
    assert calls == ["fsync", "replace", "fsync"]


def test_a_full_disk_is_reported_and_loses_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    write_tensors(path, {"x": torch.ones(4)}, "kind", {})
    script = """
import resource, signal, sys, torch
from pathlib import Path
from sfumato.errors import RunError
from sfumato.utils.files import write_tensors
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
try:
    write_tensors(Path(sys.argv[1]), {"x": torch.ones(10_000)}, "kind", {})
except RunError as error:
    print(error)
"""
    printed = subprocess.run(
        [sys.executable, "-c", script, str(path)], capture_output=True, text=True, check=True
    ).stdout
    assert printed.startswith(f"{path} could not be written: File too large. Free disk space")
    assert torch.equal(read_tensors(path, "kind")[0]["x"], torch.ones(4))
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.safetensors"]


def test_a_path_that_cannot_be_written_is_reported(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"could not be written: .* Free disk space or choose a writable folder"):
        write_whole(tmp_path, b"content")


@pytest.mark.parametrize("place", ["file/below", "file/below/further"])
def test_a_path_below_a_file_is_reported(place: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(
        RunError, match=r"below\S* could not be written: \S+/file is not a folder\. Choose another path"
    ):
        write_whole(tmp_path / place, b"content")


Reader = Callable[[Path, str], object]

READERS = [read_tensors, read_notes]

TENSORS = {
    "matrix": torch.arange(6.0).reshape(2, 3),
    "number": torch.tensor(3.5),
    "half": torch.ones(3, dtype=torch.bfloat16),
    "empty": torch.zeros(0),
    "transposed": torch.arange(6.0).reshape(2, 3).T,
}


@pytest.fixture
def written(tmp_path: Path) -> Path:
    """A file of tensors and notes."""
    path = tmp_path / "a.safetensors"
    write_tensors(path, TENSORS, "kind", {"images_seen": 640})
    return path


def test_tensors_and_notes_are_restored(written: Path) -> None:
    tensors, notes = read_tensors(written, "kind")
    assert notes == read_notes(written, "kind") == {"images_seen": 640}
    assert tensors.keys() == TENSORS.keys()
    for name, tensor in TENSORS.items():
        assert tensors[name].dtype == tensor.dtype
        assert torch.equal(tensors[name], tensor)


@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize("length", [0, 1, 7, 8, 9, 100, 300, -1, -10, -24])
def test_a_truncated_file_is_rejected(length: int, read: Reader, written: Path) -> None:
    written.write_bytes(written.read_bytes()[:length])
    with pytest.raises(RunError, match=r"a.safetensors is truncated or not a safetensors file"):
        read(written, "kind")


def test_each_flipped_byte_is_detected(written: Path) -> None:
    content = written.read_bytes()
    for place in range(len(content)):
        flipped = bytearray(content)
        flipped[place] ^= 1
        written.write_bytes(flipped)
        with pytest.raises(RunError, match=r"a.safetensors"):
            read_tensors(written, "kind")
    written.write_bytes(content)
    read_tensors(written, "kind")


@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize("metadata", [None, {"other": "thing"}, {"format": "pt"}])
def test_another_safetensors_file_is_rejected(metadata: dict[str, str] | None, read: Reader, tmp_path: Path) -> None:
    save_file({"x": torch.ones(2)}, tmp_path / "other.safetensors", metadata=metadata)
    with pytest.raises(RunError, match=r"other.safetensors is a safetensors file of another kind: .*, not kind"):
        read(tmp_path / "other.safetensors", "kind")


def test_a_file_without_a_digest_is_rejected(tmp_path: Path) -> None:
    save_file({"x": torch.ones(2)}, tmp_path / "a.safetensors", metadata={"format": "kind"})
    with pytest.raises(RunError, match="its digest does not match"):
        read_tensors(tmp_path / "a.safetensors", "kind")


def test_a_pickle_is_rejected_and_not_executed(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.mkdir, (str(tmp_path / "exploded"),)

    for content in (pickle.dumps(Bomb()), b"PK\x03\x04" + pickle.dumps(Bomb())):
        (tmp_path / "a.safetensors").write_bytes(content)
        with pytest.raises(RunError, match=r"a.safetensors is truncated or not a safetensors file"):
            read_tensors(tmp_path / "a.safetensors", "kind")
    assert not (tmp_path / "exploded").exists()


@pytest.mark.parametrize("notes", [None, "", "{"])
def test_notes_that_are_not_json_are_rejected(notes: str | None, tmp_path: Path) -> None:
    header = {"format": "kind"} if notes is None else {"format": "kind", "notes": notes}
    save_file({"x": torch.ones(2)}, tmp_path / "a.safetensors", metadata=header)
    with pytest.raises(RunError, match=r"a.safetensors is not valid JSON"):
        read_notes(tmp_path / "a.safetensors", "kind")


@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize("name", ["missing", "."])
def test_a_missing_file_is_reported(name: str, read: Reader, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="could not be read"):
        read(tmp_path / name, "kind")


@pytest.mark.parametrize(("content", "reason"), [(None, "No such file"), (b"\xff\xfe", "not UTF-8")])
def test_an_unreadable_text_is_reported(content: bytes | None, reason: str, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "text").write_bytes(content)
    with pytest.raises(RunError, match=rf"text could not be read: .*{reason}"):
        read_text(tmp_path / "text")


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.name)
def test_no_source_file_unpickles(source: Path) -> None:
    assert not set(pickling(source.read_text()))


@pytest.mark.parametrize(
    "code",
    [
        "import pickle",
        "import os, dill as d",
        "from joblib import load",
        "from torch import load",
        "import torch\ntorch.load('a')",
        "import torch\ntorch.load('a', weights_only=False)",
        "import numpy\nnumpy.load('a', allow_pickle=True)",
    ],
)
def test_each_call_that_unpickles_is_found(code: str) -> None:
    assert set(pickling(code))


def is_restricted(call: ast.AST) -> bool:
    """Whether a call is `torch.load(..., weights_only=True)`, which executes no code."""
    match call:
        case ast.Call(func=ast.Attribute(value=ast.Name(id="torch"), attr="load"), keywords=keywords):
            return any(ast.unparse(keyword) == "weights_only=True" for keyword in keywords)
    return False


def pickling(code: str) -> list[str]:
    """Calls that could unpickle."""
    found = []
    tree = ast.parse(code)
    restricted = {node.func for node in ast.walk(tree) if isinstance(node, ast.Call) and is_restricted(node)}
    for node in ast.walk(tree):
        if node in restricted:
            continue
        match node:
            case ast.Import():
                names = [alias.name.split(".")[0] for alias in node.names]
            case ast.ImportFrom(module=str(module)):
                names = [module.split(".")[0], *(f"{module}.{alias.name}" for alias in node.names)]
            case ast.Attribute(value=ast.Name(id=owner), attr=attribute):
                names = [f"{owner}.{attribute}"]
            case ast.keyword(arg="allow_pickle"):
                names = ["allow_pickle"]
            case _:
                continue
        found += sorted(
            {"pickle", "dill", "joblib.load", "shelve", "marshal", "torch.load", "allow_pickle"} & set(names)
        )
    return found
