"""Sends the measurements and previews of a run to TensorBoard or Weights & Biases, in addition to metrics.jsonl."""

from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol, runtime_checkable
from uuid import uuid4

import numpy as np
from PIL import Image

from sfumato.errors import ConfigError
from sfumato.training.config import LogChoice
from sfumato.utils.files import write_whole

PROJECT = "sfumato"
"""Project of the runs in Weights & Biases."""

WANDB_ID = "wandb.txt"
"""In the run directory: the ID of the run in Weights & Biases, under which it resumes."""


@runtime_checkable
class Writer(Protocol):
    """Sends numbers and pictures to a service. The step is the number of images seen."""

    def add_scalars(self, values: Mapping[str, float], images: int) -> None:
        """Sends numbers by their names."""

    def add_picture(self, name: str, file: Path, images: int) -> None:
        """Sends an image file."""

    def close(self) -> None:
        """Sends all pending data."""


class Logger:
    """Sends measurements and previews to a writer. If that fails, it reports the error once and sends nothing more.

    Args:
        writer: service; None sends nothing.
        say: called with messages for the user.
    """

    def __init__(self, writer: Writer | None = None, say: Callable[[str], None] = print) -> None:
        self.writer, self.say = writer, say
        self.last: tuple[int, float] | None = None

    def add_measurement(self, measurement: Mapping[str, Any]) -> None:
        """Sends the numbers of a line of metrics.jsonl, and the images per second since the last line."""
        if self.writer is None:
            return
        kind, images = measurement["kind"], measurement["images"]
        values = {name: value for name, value in measurement.items() if name != "images"}
        values |= {f"loss_at_time_{time}": loss for time, loss in measurement.get("by_time", {}).items()}
        if kind == "train":
            now = images, measurement["seconds"]
            if self.last is not None and now[1] > self.last[1]:
                values["images_per_second"] = (now[0] - self.last[0]) / (now[1] - self.last[1])
            self.last = now
        numbers = {f"{kind}/{name}": float(value) for name, value in values.items() if isinstance(value, int | float)}
        self._send(lambda writer: writer.add_scalars(numbers, images))

    def add_preview(self, file: Path, images: int) -> None:
        """Sends a preview grid."""
        self._send(lambda writer: writer.add_picture("preview", file, images))

    def close(self) -> None:
        """Sends all pending data."""
        self._send(lambda writer: writer.close())

    def _send(self, send: Callable[[Writer], None]) -> None:
        if self.writer is None:
            return
        try:
            send(self.writer)
        except Exception as error:  # errors of a service must not end training
            self.writer = None
            self.say(f"Logging stopped, but metrics.jsonl continues. {type(error).__name__}: {error}")


class TensorBoardWriter:
    """Writes event files to RUN/tensorboard.

    Args:
        run: run directory.
        config: settings, as text.
        start: images seen at the start of this process. Later events of an interrupted process are hidden.
    """

    def __init__(self, run: Path, config: str, start: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self.events = SummaryWriter(str(run / "tensorboard"), purge_step=start + 1)
        self.events.add_text("config", "\n".join(f"    {line}" for line in config.splitlines()), start)

    def add_scalars(self, values: Mapping[str, float], images: int) -> None:
        """Sends numbers by their names."""
        for name, value in values.items():
            self.events.add_scalar(name, value, images)

    def add_picture(self, name: str, file: Path, images: int) -> None:
        """Sends an image file."""
        with Image.open(file) as picture:
            self.events.add_image(name, np.asarray(picture.convert("RGB")), images, dataformats="HWC")

    def close(self) -> None:
        """Writes all pending events."""
        self.events.close()


class WandbWriter:
    """Sends to the project "sfumato" of Weights & Biases, whose own settings (WANDB_MODE, WANDB_ENTITY) apply.

    Args:
        run: run directory.
        config: settings, as text.
        start: images seen at the start of this process.
    """

    def __init__(self, run: Path, config: str, start: int) -> None:
        import wandb

        file = run / WANDB_ID
        if not file.exists() or not start:
            write_whole(file, uuid4().hex[:8].encode())
        self.wandb, settings = wandb, {"config.toml": config}
        self.run = wandb.init(
            project=PROJECT, name=run.name, dir=str(run), id=file.read_text("ascii"), resume="allow", config=settings
        )
        self.run.define_metric("*", step_metric="images")  # wandb drops steps that go back, as after a resume

    def add_scalars(self, values: Mapping[str, float], images: int) -> None:
        """Sends numbers by their names."""
        self.run.log({**values, "images": images})

    def add_picture(self, name: str, file: Path, images: int) -> None:
        """Sends an image file."""
        self.run.log({name: self.wandb.Image(str(file)), "images": images})

    def close(self) -> None:
        """Sends all pending data."""
        self.run.finish()


WRITERS: dict[str, Callable[[Path, str, int], Writer]] = {"tensorboard": TensorBoardWriter, "wandb": WandbWriter}


def check_log(choice: LogChoice) -> None:
    """Raises `ConfigError` if the package of `--log` is not installed."""
    if choice != "none" and find_spec(choice) is None:
        raise ConfigError(
            f"--log {choice} needs the package {choice}, which is not installed",
            f"Install it with: pip install 'sfumato[{choice}]'.",
        )


def logger_for(choice: LogChoice, run: Path, config: str, start: int, say: Callable[[str], None]) -> Logger:
    """The logger of `--log`.

    Args:
        choice: "tensorboard", "wandb" or "none".
        run: run directory.
        config: settings, as text.
        start: images seen at the start of this process.
        say: called with messages for the user.

    Raises:
        ConfigError: the service cannot be used, for example without a login.
    """
    if choice == "none":
        return Logger()
    try:
        return Logger(WRITERS[choice](run, config, start), say)
    except Exception as error:  # each service has its own exceptions
        problem = f"--log {choice} cannot be started: {type(error).__name__}: {error}"
        raise ConfigError(problem, f"Set {choice} up, or leave out --log {choice}.") from error
