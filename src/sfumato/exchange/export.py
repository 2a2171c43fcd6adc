"""Export of a model to the formats of other programs."""

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from torch import nn

from sfumato.diffusion.denoiser import PreconditionedDenoiser
from sfumato.errors import ConfigError, RunError
from sfumato.exchange.foreign import ForeignModel
from sfumato.exchange.load import load_with_guidance_checkpoint
from sfumato.exchange.onnx import to_onnx
from sfumato.exchange.to_diffusers import write_diffusers
from sfumato.exchange.web import to_web
from sfumato.models import Model
from sfumato.networks.custom import Builder
from sfumato.utils.files import UNFINISHED, cannot_write
from sfumato.utils.filesystem import flush_file, flush_folder

FORMATS = {"diffusers": (), "onnx": ("half",), "web": ("half", "runtime")}
"""Formats, and the arguments of `export` that each of them has besides the model."""


def export(
    model: PreconditionedDenoiser | str | Path,
    out: str | Path,
    to: str = "diffusers",
    *,
    half: bool = False,
    runtime: str | Path | None = None,
    guidance_checkpoint: Model | None = None,
    network: str | Builder | nn.Module | None = None,
) -> str:
    """Exports a model to a new file or folder. After an error or an interruption, it does not exist.

    Args:
        model: run directory or another path as for `sf.load` (RUN/best is the best model of a run), or a model from
            `sf.load` or `sf.train`.
        out: file (ONNX) or folder to create.
        to: format: "diffusers", "onnx" or "web".
        half: whether to store the weights in float16 (ONNX and web), which halves the file.
        runtime: folder with the npm package onnxruntime-web, which is copied to the page (web). None: the page loads it
            from a public server.
        guidance_checkpoint: weaker model for autoguidance (diffusers), if `model` is a loaded model; that of a run
            directory is found.
        network: custom network of a model that is given by its path, as for `sf.load`.

    Returns:
        Sentences about what was written.

    Raises:
        ConfigError: an unknown format, an argument that the format does not have, or a model that the format cannot
            contain.
        RunError: there is no model, `out` exists or cannot be written, or a package is missing.
    """
    out = Path(out)
    _check_format(to, {"half": half, "runtime": runtime is not None})
    if out.exists() or out.is_symlink():
        raise RunError(f"{out} exists already", "Choose another path, or remove it.")
    if isinstance(model, str | Path):
        if guidance_checkpoint is not None:
            raise ConfigError(
                f"a guidance checkpoint was given for {model}, which has its own", "Leave it out, or load the model."
            )
        model, guidance_checkpoint = load_with_guidance_checkpoint(model, network=network)
    elif network is not None:
        raise ConfigError("a network was given for a loaded model, which has its own", "Leave it out.")
    with created(out) as temporary:
        if to == "diffusers":
            temporary.mkdir()
            message = write_diffusers(_trainable(model), guidance_checkpoint, temporary)
        else:
            error = to_onnx(model, temporary, half) if to == "onnx" else to_web(model, temporary, runtime, half)
            message = _comparison(error, guidance_checkpoint)
    return message.replace("{out}", str(out))


def _check_format(to: str, given: Mapping[str, bool]) -> None:
    """Raises `ConfigError` for an unknown format, and for arguments that it does not have."""
    if to not in FORMATS:
        raise ConfigError(f"the format {to!r} is unknown", f"Choose among: {', '.join(FORMATS)}.")
    for name in (name for name, is_given in given.items() if is_given and name not in FORMATS[to]):
        having = " or ".join(other for other, names in FORMATS.items() if name in names)
        raise ConfigError(f"--{name} was given, which the format {to} does not have", f"It belongs to {having}.")


def _trainable(model: PreconditionedDenoiser) -> Model:
    """The model, if its network is one of sfumato."""
    if isinstance(model, ForeignModel):
        raise ConfigError(
            "the model has a network of diffusers already", "Share its own folder, or export it to onnx or web."
        )
    if not isinstance(model, Model):
        kind = type(model).__name__
        raise ConfigError(f"a {kind} cannot be exported", "Export the model from sf.load or sf.train.")
    return model


def _comparison(error: float, weaker: Model | None) -> str:
    """Sentences on an ONNX file and its largest difference from PyTorch."""
    compared = f"Largest difference from PyTorch in onnxruntime: {error:.1g}, relative to the largest estimate."
    return compared if weaker is None else f"{compared} The guidance checkpoint is not included."


@contextmanager
def created(out: Path) -> Iterator[Path]:
    """A temporary path that becomes `out` at the end, a file or a folder; nothing is left after a failure.

    Raises:
        RunError: it cannot be written.
    """
    missing = [folder for folder in out.absolute().parents if not folder.exists()]
    try:
        try:
            out.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(prefix=UNFINISHED, dir=out.parent) as folder:
                temporary = Path(folder) / out.name
                yield temporary
                _flush(temporary)
                temporary.rename(out)
            flush_folder(out.parent)
        except BaseException:
            for parent in missing:
                with suppress(OSError):
                    parent.rmdir()
            raise
    except OSError as error:
        raise cannot_write(out, error) from error


def _flush(path: Path) -> None:
    """Makes files readable for everyone, as others are, and waits until they are on disk."""
    paths = [path, *path.rglob("*")] if path.is_dir() else [path]
    for each in reversed(paths):
        each.chmod(0o755 if each.is_dir() else 0o644)
        (flush_folder if each.is_dir() else flush_file)(each)
