"""Flags that several verbs share: the run, the conditioning, the sampler and guidance."""

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from sfumato.errors import LabelError, RunError, SamplingError
from sfumato.utils.flags import optional_flag
from sfumato.utils.text import printable

if TYPE_CHECKING:
    import torch

    from sfumato.diffusion.denoiser import Denoiser, PreconditionedDenoiser
    from sfumato.sampling.sampler import SamplerConfig

Run = Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN", help="Run directory.")]

ModelPath = Annotated[
    Path,
    tyro.conf.Positional,
    tyro.conf.arg(metavar="RUN", help="Run directory, model folder, folder of diffusers, or hf:USER/NAME."),
]

Backbone = Annotated[
    str | None,
    tyro.conf.arg(
        metavar="PATH",
        help="Import path of the network's class, for a model that was trained with one: path/file.py:Class. Its code "
        "is run; no code runs because a file of RUN names it.",
        help_behavior_hint="(default: none)",
    ),
]


def current_or_best(run: Path, model: str) -> Path:
    """The path of the current or the best model of a run.

    Raises:
        RunError: the run has no best model.
    """
    from sfumato.models import BEST

    if model != "best":
        return run
    if not (run / BEST).is_dir():
        raise RunError(f"{run} has no best model", "Leave out --model, or name another run.")
    return run / BEST


@dataclass(frozen=True)
class ConditionOptions:
    """Conditioning of a model that was trained with --condition."""

    condition: Annotated[tuple[str, ...], optional_flag("COLUMN=VALUE [...]", "unconditional")] = ()
    """Values of the condition columns, such as: age=30 species=cat. Columns without a value stay unconditional. Several
    values of one column alternate between the images."""

    def parse(self) -> dict[str, list[str]]:
        """The values of each column.

        Raises:
            LabelError: a condition is not written as COLUMN=VALUE.
        """
        values: dict[str, list[str]] = {}
        for given in self.condition:
            name, equals, value = given.partition("=")
            if not (name and equals and value):
                raise LabelError(
                    f"the condition {given!r} is not written as COLUMN=VALUE", "Write, for example, age=30."
                )
            values.setdefault(name, []).append(value)
        return values

    def resolve(self, model: "Denoiser", labels: Sequence[str]) -> Sequence[str] | dict[str, list[str]]:
        """The class labels if there are any, otherwise the conditions.

        Prints a notice on stderr for each number outside the range of the training images.

        Raises:
            LabelError: both are given, or the model does not know a column or value.
        """
        from sfumato.data.conditions import beyond

        conditions = self.parse()
        if labels and conditions:
            raise LabelError("--label and --condition were both given", "Give one of them.")
        for notice in beyond(model.known_columns, conditions):
            print(f"sfumato: {printable(notice)}", file=sys.stderr)
        return labels or conditions


@dataclass(frozen=True)
class SamplerOptions:
    """Solver, time grid and number of steps."""

    solver: Annotated[str | None, optional_flag("NAME", "dpm-2m-sde; with autoguidance dpm-2m")] = None
    """Solver, such as ddpm, ddim, heun, dpm-2m, dpm-2m-sde, unipc-3 or adaptive; an unknown name lists all of them.
    Settings follow a colon: ddim:eta=0.5."""
    time_grid: Annotated[
        str | None,
        optional_flag("NAME", "logsnr; uniform with --solver ddpm; karras with autoguidance and no --solver"),
    ] = None
    """Spacing of the timesteps: uniform, trailing, leading or linspace in time; karras or logsnr in noise level.
    Settings follow a colon: karras:rho=5."""
    steps: Annotated[int | None, optional_flag("INT", "20; 10 with heun, 1000 with ddpm")] = None
    """Number of sampling steps."""
    clip: Annotated[str, tyro.conf.arg(metavar="NAME")] = "static"
    """Clipping of the predicted image: static (to the range of pixels), dynamic (rescales it, for a high guidance
    scale) or none."""

    def sampler(self, model: "Denoiser") -> "SamplerConfig":
        """Builds the sampler configuration.

        Args:
            model: with its guidance, on which the defaults depend.

        Raises:
            SamplingError: unknown name or setting, or an invalid combination; lists the valid ones.
        """
        from sfumato.sampling.sampler import default_sampler

        return default_sampler(model, solver=self.solver, time_grid=self.time_grid, steps=self.steps, clip=self.clip)


@dataclass(frozen=True)
class GuidanceOptions:
    """Classifier-free guidance, or autoguidance with a weaker model."""

    guidance: Annotated[
        float | None,
        optional_flag("FLOAT", "1; if the run has a guidance checkpoint 2, or 1.5 for a conditional model"),
    ] = None
    """Guidance scale. 1: no guidance. Above 1, such as 2 to 4: samples match their class more closely and vary less
    (classifier-free guidance). 0: the class is ignored. Below 0: away from the class. With --autoguidance: the scale
    of the extrapolation from the weaker model to this model."""
    guidance_rescale: float = 0.0
    """0 to 1: share of the contrast added by guidance that is removed again."""
    guidance_interval: Annotated[tuple[float, float] | None, optional_flag("FLOAT FLOAT", "all noise levels")] = None
    """Apply guidance only between two noise levels (sigma / alpha), such as 0.2 5. Faster, and samples vary more."""
    autoguidance: Annotated[
        Path | None, optional_flag("RUN", "off; on if the run has a guidance checkpoint and there is no --guidance")
    ] = None
    """Run of a weaker model of the same images (smaller, or trained for less time). Guidance then extrapolates from
    that model to this one, and not from the unconditional prediction. The RUN that is sampled stands for its own
    guidance checkpoint: the EMA weights from early in its training."""

    def guided(self, model: "Denoiser", path: Path, device: str) -> "Denoiser":
        """Wraps a model in guidance.

        Args:
            model: as loaded from `path`.
            path: run or model folder; hf:USER/NAME with its commit, as from `with_commit`.
            device: of the weaker model.

        Raises:
            LabelError: classifier-free guidance of an unconditional model, or a weaker model of other columns.
            SamplingError: a number out of range, a weaker model of another image size, or guidance settings at
                scale 1.
            RunError: the weaker model cannot be loaded, or the run has no guidance checkpoint.
        """
        from sfumato.diffusion.guidance import AutoGuided, ClassifierFree, Extrapolated, WithinLevels
        from sfumato.utils.devices import choose_device

        weaker, scale = self._weaker_model(model, path, choose_device(device))
        if scale == 1:
            self._check_unused_settings()
            return model
        if scale < 1:
            print(f"sfumato: {describe_guidance(scale, is_autoguidance=weaker is not None)}", file=sys.stderr)
        guided: Extrapolated
        if weaker is None:
            guided = ClassifierFree(model, scale, self.guidance_rescale)
        else:
            guided = AutoGuided(model, weaker, scale, self.guidance_rescale)
        return guided if self.guidance_interval is None else WithinLevels(guided, *self.guidance_interval)

    def _weaker_model(
        self, model: "Denoiser", path: Path, device: "torch.device"
    ) -> "tuple[PreconditionedDenoiser | None, float]":
        """The weaker model of autoguidance, or None, and the guidance scale.

        Raises:
            RunError: it cannot be loaded, or the run has no guidance checkpoint.
        """
        from sfumato.exchange.load import load, load_guidance_checkpoint, with_commit

        if self.guidance == 1 or (self.guidance is not None and self.autoguidance is None):
            return None, self.guidance
        if self.autoguidance is not None and not _is_same_run(with_commit(self.autoguidance), path):
            return (None, 1.0) if self.guidance is None else (load(self.autoguidance, device), self.guidance)
        checkpoint = load_guidance_checkpoint(path, device)
        if checkpoint is None and self.autoguidance is not None:
            raise RunError(
                f"--autoguidance {self.autoguidance} names the run of this model, which has no guidance checkpoint "
                "from before this model",
                "Name the run of a weaker model, sample the run instead of its best model, or train longer "
                "(`sfumato train --help-all`: --autoguidance-at and --autoguidance-min-steps).",
            )
        if checkpoint is None:
            return None, 1.0
        return checkpoint, _reported_scale(model, path) if self.guidance is None else self.guidance

    def _check_unused_settings(self) -> None:
        if self.autoguidance is not None or self.guidance_interval is not None or self.guidance_rescale:
            raise SamplingError(
                "guidance settings were given, but the guidance scale is 1, which means no guidance",
                "Set another scale, for example --guidance 2, or omit these settings.",
            )


def describe_guidance(scale: float, is_autoguidance: bool) -> str:
    """Explains the effect of a guidance scale below 1.

    Args:
        scale: guidance scale.
        is_autoguidance: the weaker prediction is that of another model, not the unconditional one.
    """
    weak, strong = (
        ("the weaker model", "the model") if is_autoguidance else ("the unconditional model", "the conditional model")
    )
    if scale < 0:
        effect = (
            "samples have more errors than those of the weaker model"
            if is_autoguidance
            else "samples avoid their class"
        )
        return f"guidance {scale:g} is negative: {effect}. For guidance, choose a scale above 1."
    if scale == 0:
        return f"guidance 0 uses {weak} alone. Choose 1 for {strong}, or above 1 for guidance."
    return f"guidance {scale:g} interpolates between {weak} (0) and {strong} (1). For guidance, choose a scale above 1."


def _reported_scale(model: "Denoiser", path: Path) -> float:
    """Prints the default scale on stderr and returns it."""
    from sfumato.diffusion.guidance import default_autoguidance_scale

    scale = default_autoguidance_scale(model)
    print(
        f"sfumato: autoguidance with the guidance checkpoint of the run, at scale {scale:g}: two network evaluations "
        "per step. To turn it off: --guidance 1. For another scale, such as 3: "
        f"--guidance 3 --autoguidance {printable(str(path))}",
        file=sys.stderr,
    )
    return scale


def _is_same_run(one: Path, other: Path) -> bool:
    """Whether two folders belong to one run or copied model: the run, its model or its best model.

    Raises:
        RunError: one has no model.
    """
    from sfumato.exchange.load import is_foreign
    from sfumato.models import BEST, MODEL, model_folder

    if is_foreign(one) or is_foreign(other):
        return one.resolve() == other.resolve()
    folders = [model_folder(path).resolve() for path in (one, other)]
    return len({folder.parent if folder.name in (MODEL, BEST) else folder for folder in folders}) == 1


def period(labels: Sequence[str] | dict[str, list[str]]) -> int:
    """Number of images after which the labels or conditions repeat."""
    return math.lcm(*map(len, labels.values())) if isinstance(labels, dict) else len(labels)
