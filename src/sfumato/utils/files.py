"""Files that survive: written whole or not at all, checked when read, and never unpickled."""

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
from torch import Tensor

from sfumato.errors import ConfigError, RunError
from sfumato.utils.filesystem import flush_file, flush_folder, replace_file

T = TypeVar("T")

UNFINISHED = ".unfinished-"
"""How the temporary names of files in the making begin."""


def write_whole(path: Path, content: bytes) -> None:
    """Puts `content` at `path` so that a crash at any moment leaves the old file or the new one, never a part.

    Raises:
        RunError: the disk is full, or the folder cannot be written.
    """
    with writing_whole(path) as file:
        file.write(content)


@contextmanager
def writing_whole(path: Path) -> Iterator[IO[bytes]]:
    """A file to write a piece at a time, that is at `path` once all is done, as `write_whole` puts it there.

    Raises:
        RunError: the disk is full, or the folder cannot be written.
    """
    with _replacing_durably(path) as temporary, temporary.open("w+b") as file:
        yield file


def write_swiftly(path: Path, content: bytes) -> None:
    """As `write_whole`, without waiting for the disk: for thousands of files that can be made again.

    If the power fails, the file may be lost.

    Raises:
        RunError: the disk is full, or the folder cannot be written.
    """
    with _replacing(path) as temporary:
        temporary.write_bytes(content)


@contextmanager
def _replacing_durably(path: Path) -> Iterator[Path]:
    """As `_replacing`, and once it is over the disk has all that was written."""
    with _replacing(path) as temporary:
        yield temporary
        flush_file(temporary)
    try:
        flush_folder(path.parent)
    except OSError as error:
        raise cannot_write(path.parent, error) from error


@contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    """The path of an empty file, that takes the place of `path` when all went well."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=UNFINISHED, dir=path.parent)
        temporary = Path(name)
        try:
            os.close(handle)
            yield temporary
            temporary.chmod(0o644)
            replace_file(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise cannot_write(path, error) from error


def cannot_write(path: Path, error: OSError) -> RunError:
    """The message for a write that failed."""
    return RunError(
        f"{path} could not be written: {error.strerror or error}",
        "Free space or choose a folder that you may write to; everything saved before is intact.",
    )


def read_text(path: Path) -> str:
    """The file's text.

    Raises:
        RunError: it is missing, unreadable or not UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise RunError(f"{path} could not be read: {reason}", "Name a run that sfumato wrote.") from error


def parsed_json(text: str, source: object) -> Any:  # noqa: ANN401 (JSON)
    """The content of JSON text; `source` says where it was read, for the message.

    Raises:
        RunError: it is not JSON, nested too deeply, or has a number of thousands of digits.
    """
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise RunError(f"{source} is not JSON that sfumato wrote: {error}", "Restore it from a copy.") from error


def validated(kind: type[T], fields: object, path: Path) -> T:
    """`fields`, read from `path`, as the dataclass `kind`; every field is checked, unknown ones are refused.

    Raises:
        RunError: a field is missing, unknown or of the wrong kind.
    """
    from pydantic import TypeAdapter, ValidationError

    try:
        return TypeAdapter(kind).validate_python(fields)
    except ConfigError as error:
        raise RunError(f"{path} describes what cannot be: {error.problem}", "Restore the file as it was.") from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "the file"
        problem = f"{path} is not as sfumato writes it: {place}: {first['msg']}"
        raise RunError(problem, "Restore the file, or name another.") from error


def write_tensors(path: Path, tensors: Mapping[str, Tensor], kind: str, notes: Mapping[str, Any]) -> None:
    """Writes a safetensors file with its kind, JSON notes and a digest of notes and tensors in its header.

    Raises:
        RunError: a value is not finite, or the file could not be written; an older file is left as it was.
    """
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    for name, tensor in plain.items():
        if not tensor.isfinite().all():
            raise RunError(
                f"{path} was not written, because {name} is no longer finite",
                "What was saved before is intact. Begin a new run with a lower --learning-rate.",
            )
    text = json.dumps(notes)
    header = {"format": kind, "notes": text, "digest": tensors_digest(text, plain)}
    with _replacing_durably(path) as temporary:
        try:
            save_file(plain, temporary, header)
            _sort_metadata(temporary)
        except SafetensorError as error:
            raise _system_error(error) from error


def _sort_metadata(path: Path) -> None:
    """Sorts the metadata of a safetensors file, whose order changes from process to process otherwise."""
    with path.open("r+b") as file:
        size = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(size))
        header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
        text = json.dumps(header, ensure_ascii=False, separators=(",", ":"))  # as compact as safetensors writes it
        file.seek(8)
        file.write(text.encode().ljust(size))


def _system_error(error: SafetensorError) -> OSError:
    """The error of the operating system that safetensors tells of."""
    number = re.search(r"os error (\d+)", str(error))
    return OSError(int(number[1]), os.strerror(int(number[1]))) if number else OSError(str(error))


def read_tensors(path: Path, kind: str) -> tuple[dict[str, Tensor], Any]:
    """The tensors (on the CPU) and notes of a file that `write_tensors` wrote.

    Raises:
        RunError: the file is missing, truncated, of another kind or program, or its tensors are not those it was
            written with.
    """
    with _opened(path, kind) as (file, header):
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    notes = header.get("notes", "")
    if tensors_digest(notes, tensors) != header.get("digest"):
        raise _changed(path, "its digest does not match its content")
    return tensors, parsed_json(notes, f"the header of {path}")


def read_notes(path: Path, kind: str) -> Any:  # noqa: ANN401 (JSON)
    """The notes of a file that `write_tensors` wrote; its tensors are neither read nor checked.

    Raises:
        RunError: the file is missing, truncated, or of another kind or program.
    """
    with _opened(path, kind) as (_, header):
        notes = header.get("notes", "")
    return parsed_json(notes, f"the header of {path}")


def _changed(path: Path, sign: str) -> RunError:
    return RunError(
        f"{path} has been changed since it was written: {sign}", "Restore it from a copy, or use another checkpoint."
    )


@contextmanager
def _opened(path: Path, kind: str) -> Iterator[tuple[Any, dict[str, str]]]:
    """A safetensors file of a kind, to read from, and its header."""
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
    """A hash of the notes, and of the tensors' names, dtypes, shapes and values."""
    digest = hashlib.blake2b(notes.encode(), digest_size=16)
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)};".encode())
        digest.update(tensor.cpu().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
