"""Atomic writing and checked reading of files, without pickle."""

import hashlib
import json
import os
import re
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from sfumato.errors import ConfigError, RunError
from sfumato.utils.filesystem import flush_file, flush_folder, replace_file

T = TypeVar("T")

UNFINISHED = ".unfinished-"
"""Prefix of the names of temporary files."""


def write_whole(path: Path, content: bytes) -> None:
    """Writes a file atomically: after a crash the old or the new content is there, never a part."""
    with writing_whole(path) as file:
        file.write(content)


@contextmanager
def writing_whole(path: Path) -> Iterator[IO[bytes]]:
    """Opens a temporary file that atomically replaces `path` at the end, as in `write_whole`."""
    with _replacing(path, durably=True) as temporary, temporary.open("w+b") as file:
        yield file


def write_swiftly(path: Path, content: bytes) -> None:
    """As `write_whole`, without waiting for the disk: for many files that can be created again.

    The file may be lost in a power failure.
    """
    with _replacing(path, durably=False) as temporary:
        temporary.write_bytes(content)


@contextmanager
def _replacing(path: Path, durably: bool) -> Iterator[Path]:
    """Path of an empty temporary file that replaces `path` on success; waits for the disk if `durably`."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=UNFINISHED, dir=path.parent)
        temporary = Path(name)
        try:
            os.close(handle)
            yield temporary
            if durably:
                flush_file(temporary)
            temporary.chmod(0o644)
            replace_file(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
        if durably:
            flush_folder(path.parent)
    except OSError as error:
        raise cannot_write(path, error) from error


def cannot_write(path: Path, error: OSError) -> RunError:
    """Error for a failed write."""
    file = next((parent for parent in path.absolute().parents if parent.exists() and not parent.is_dir()), None)
    if file is not None:
        return RunError(f"{path} could not be written: {file} is not a folder", "Choose another path.")
    return RunError(
        f"{path} could not be written: {error.strerror or error}",
        "Free disk space or choose a writable folder. Files saved before are intact.",
    )


def read_text(path: Path) -> str:
    """Reads a text file in UTF-8, or raises `RunError`."""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise RunError(f"{path} could not be read: {reason}", "Name a run that sfumato wrote.") from error


def parsed_json(text: str, source: object) -> Any:  # noqa: ANN401 (JSON)
    """Parses JSON, or raises `RunError`. The source is for the error message."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise RunError(f"{source} is not valid JSON: {error}", "Restore it from a copy.") from error


def validated(kind: type[T], fields: object, path: Path) -> T:
    """Converts fields to a dataclass and checks each of them.

    Raises:
        RunError: A field is missing, unknown or of the wrong type.
    """
    from pydantic import TypeAdapter, ValidationError

    try:
        return TypeAdapter(kind).validate_python(fields)
    except ConfigError as error:
        raise RunError(f"{path} has an invalid value: {error.problem}", "Restore the file from a copy.") from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "the file"
        problem = f"{path} has an invalid field: {place}: {first['msg']}"
        raise RunError(problem, "Restore the file from a copy, or name another.") from error


def write_tensors(path: Path, tensors: Mapping[str, Tensor], kind: str, notes: Mapping[str, Any]) -> None:
    """Writes a safetensors file whose header has its kind, JSON notes, and a digest of notes and tensors.

    Raises:
        RunError: The file could not be written. An existing file is not changed.
    """
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    text = json.dumps(notes)
    header = {"format": kind, "notes": text, "digest": tensors_digest(text, plain)}
    with _replacing(path, durably=True) as temporary:
        try:
            save_file(plain, temporary, header)
            _sort_metadata(temporary)
        except SafetensorError as error:
            raise system_error(error) from error


def _sort_metadata(path: Path) -> None:
    """Sorts the metadata of a safetensors file, whose order otherwise differs between processes."""
    with path.open("r+b") as file:
        size = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(size))
        header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
        text = json.dumps(header, ensure_ascii=False, separators=(",", ":"))  # as compact as safetensors writes it
        file.seek(8)
        file.write(text.encode().ljust(size))


def system_error(error: SafetensorError) -> OSError:
    """Error of the operating system in the message of an error of `safetensors.torch.save_file`."""
    number = re.search(r"os error (\d+)", str(error))
    return OSError(int(number[1]), os.strerror(int(number[1]))) if number else OSError(str(error))


def read_tensors(path: Path, kind: str) -> tuple[dict[str, Tensor], Any]:
    """Reads tensors (on the CPU) and notes of a file from `write_tensors`.

    Raises:
        RunError: The file is missing, truncated, of another kind or program, or its content was changed.
    """
    with _opened(path, kind) as (file, header):
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    notes = header.get("notes", "")
    if tensors_digest(notes, tensors) != header.get("digest"):
        raise RunError(
            f"{path} has been changed since it was written: its digest does not match its content",
            "Restore it from a copy, or use another checkpoint.",
        )
    return tensors, parsed_json(notes, f"the header of {path}")


def read_notes(path: Path, kind: str) -> Any:  # noqa: ANN401 (JSON)
    """Reads the notes of a file from `write_tensors`. The tensors are neither read nor checked.

    Raises:
        RunError: The file is missing, truncated, or of another kind or program.
    """
    with _opened(path, kind) as (_, header):
        notes = header.get("notes", "")
    return parsed_json(notes, f"the header of {path}")


@contextmanager
def _opened(path: Path, kind: str) -> Iterator[tuple[Any, dict[str, str]]]:
    """Opens a safetensors file of a kind; yields the file and its header."""
    try:
        with safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
            if header.get("format") != kind:
                raise RunError(
                    f"{path} is a safetensors file of another kind: {header.get('format', 'unnamed')}, not {kind}",
                    "Name a file or a run that sfumato wrote.",
                )
            yield file, header
    except OSError as error:
        raise RunError(f"{path} could not be read: {error.strerror or error}", "Check the path.") from error
    except SafetensorError as error:
        problem = f"{path} is truncated or not a safetensors file ({error})"
        raise RunError(problem, "Restore it from a copy, or use another checkpoint.") from error


def tensors_digest(notes: str, tensors: Mapping[str, Tensor]) -> str:
    """Hash of the notes and of the names, dtypes, shapes and values of the tensors."""
    digest = hashlib.blake2b(notes.encode(), digest_size=16)
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)};".encode())
        digest.update(tensor.cpu().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def check_tensors(expected: Mapping[str, torch.Tensor], tensors: Mapping[str, torch.Tensor], path: Path) -> None:
    """Raises `RunError` unless `tensors`, read from `path`, have the names, shapes and dtypes of `expected`."""
    for name in sorted(expected.keys() | tensors.keys()):
        if name not in tensors or name not in expected:
            found = "lacks" if name in expected else "has the unknown"
            raise RunError(f"{path} {found} tensor {name}", "The file belongs to another network.")
        wanted, given = expected[name], tensors[name]
        if wanted.shape != given.shape or wanted.dtype != given.dtype:
            raise RunError(
                f"{path} has {name} as {given.dtype} {list(given.shape)}, not {wanted.dtype} {list(wanted.shape)}",
                "The file belongs to another network.",
            )


def check_finite(tensors: Mapping[str, Tensor], place: object) -> None:
    """Raises `RunError` if a value of the tensors of `place`, for the error message, is not finite."""
    for name, tensor in tensors.items():
        if not tensor.isfinite().all():
            raise RunError(
                f"{place} contains values in {name} that are not finite",
                "Use an earlier checkpoint, or start a new run with a lower --learning-rate.",
            )


def check_weights(network: nn.Module, tensors: Mapping[str, Tensor], path: Path) -> None:
    """Checks that `tensors`, read from `path`, are those of a network. Buffers may contain infinities.

    Raises:
        RunError: a tensor is missing, unknown or different, or a weight is not finite.
    """
    check_tensors(network.state_dict(), tensors, path)
    check_finite({name: tensors[name] for name, _ in network.named_parameters()}, path)
