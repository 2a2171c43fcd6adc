"""How samples are drawn, written once: the flags that `sfumato sample` and `sfumato interpolate` share."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from sfumato.errors import LabelError, RunError, SamplingError
from sfumato.sampling import defaults
from sfumato.utils.flags import optional_flag
from sfumato.utils.text import printable

if TYPE_CHECKING:
    import torch

    from sfumato.diffusion.denoiser import Denoiser, PreconditionedDenoiser
    from sfumato.sampling.sampler import SamplerConfig


@dataclass(frozen=True)
class ConditionOptions:
    """What the images are to be, of a model that was trained with --condition."""

    condition: Annotated[tuple[str, ...], optional_flag("COLUMN=VALUE [...]", "none")] = ()
    """A value for each column that matters, such as: age=30 species=cat. Columns that are left out may be anything."""

    def asked(self) -> dict[str, list[str]]:
        """The values of each column that is named.

        Raises:
            LabelError: a condition that is not written as COLUMN=VALUE.
        """
        asked: dict[str, list[str]] = {}
        for given in self.condition:
            name, equals, value = given.partition("=")
            if not (name and equals and value):
                raise LabelError(f"the condition {given!r} is not written as COLUMN=VALUE", "Write, say, age=30.")
            asked.setdefault(name, []).append(value)
        return asked

    def wanted(self, model: "Denoiser", labels: Sequence[str]) -> Sequence[str] | dict[str, list[str]]:
        """The labels, or else the conditions; says on stderr which numbers lie beyond the training images.

        Raises:
            LabelError: both were given; columns or values that the model does not know.
        """
        from sfumato.data.conditions import beyond

        asked = self.asked()
        if labels and asked:
            raise LabelError("--label and --condition were both given", "Give one of them.")
        for notice in beyond(model.known_columns, asked):
            print(f"sfumato: {printable(notice)}", file=sys.stderr)
        return labels or asked


@dataclass(frozen=True)
class SamplerOptions:
    """The way from noise to images."""

    solver: Annotated[str | None, optional_flag("NAME", "dpm-2m-sde; for a model guided by a weaker one, dpm-2m")] = (
        None
    )
    """The step rule, such as ddpm, ddim, heun, dpm-2m, dpm-2m-sde, unipc-3 or adaptive; any other word lists them all.
    Settings follow a colon: ddim:eta=0.5."""
    time_grid: Annotated[
        str | None,
        optional_flag(
            "NAME", "logsnr, or uniform for ddpm; without --solver, for a model guided by a weaker one, karras"
        ),
    ] = None
    """Where it stops: uniform, trailing, leading or linspace in time; karras or logsnr by noise level. Settings
    follow a colon: karras:rho=5."""
    steps: Annotated[int | None, optional_flag("INT", "what suits the solver: 20; heun 10, ddpm 1000")] = None
    """Steps from noise to image."""
    clip: Annotated[str, tyro.conf.arg(metavar="NAME")] = defaults.CLIP
    """How estimates keep to the range of images: static (cut off), dynamic (scaled down, for strong guidance), none."""

    def sampler(self, model: "Denoiser") -> "SamplerConfig":
        """The route that suits a model, guided as it is going to be.

        Raises:
            SamplingError: an unknown name or setting, or a combination that cannot be; lists what is possible.
        """
        from sfumato.sampling.sampler import default_sampler

        return default_sampler(model, solver=self.solver, time_grid=self.time_grid, steps=self.steps, clip=self.clip)


@dataclass(frozen=True)
class GuidanceOptions:
    """What steers the model: towards a class, or away from mistakes."""

    guidance: Annotated[
        float | None,
        optional_flag("FLOAT", "1; away from the model's own early self, if that was kept, 2, or 1.5 with classes"),
    ] = None
    """How far to go beyond the model: 1 is no guidance, 2 to 4 make the class more pronounced and the images less
    varied (classifier-free guidance), 0 ignores the class, below 0 goes away from it; with --autoguide, how far away
    from the weaker model."""
    guidance_rescale: float = 0.0
    """0 to 1: how much of the contrast that guidance adds is taken back."""
    guidance_interval: Annotated[tuple[float, float] | None, optional_flag("FLOAT FLOAT", "all levels")] = None
    """Guide only between two noise levels (sigma / alpha), such as 0.2 5; faster, and more varied images."""
    autoguide: Annotated[Path | None, optional_flag("RUN", "none, but see --guidance")] = None
    """A weaker model of the same images (smaller, or trained less): guide away from its mistakes instead of towards
    the class (autoguidance). The model's own RUN (or its model or best) means its early self."""

    def guided(self, model: "Denoiser", path: Path, device: str) -> "Denoiser":
        """The model that was loaded from `path`, with the guidance around it.

        Raises:
            LabelError: guidance towards a class of a model that knows none, or a guide of other classes or columns.
            SamplingError: a number out of range, a guide of another image size, or settings of a guidance that was
                not asked.
            RunError: the guide cannot be loaded, or is to be an early self that was not kept.
        """
        from sfumato.diffusion.guidance import AutoGuided, ClassifierFree, Extrapolated, WithinLevels
        from sfumato.utils.devices import choose_device

        weaker, scale = self._guide(model, path, choose_device(device))
        if scale == 1:
            self._check_unused_settings()
            return model
        if scale < 1:
            print(f"sfumato: {describe_guidance(scale, has_guide=weaker is not None)}", file=sys.stderr)
        guided: Extrapolated
        if weaker is None:
            guided = ClassifierFree(model, scale, self.guidance_rescale)
        else:
            guided = AutoGuided(model, weaker, scale, self.guidance_rescale)
        return guided if self.guidance_interval is None else WithinLevels(guided, *self.guidance_interval)

    def _guide(
        self, model: "Denoiser", path: Path, device: "torch.device"
    ) -> "tuple[PreconditionedDenoiser | None, float]":
        """The weaker model that guides the one from `path`, if one does, and how far to go beyond the model.

        Raises:
            RunError: it cannot be loaded, or is to be an early self that was not kept.
        """
        from sfumato.models import load, load_guidance_checkpoint

        if self.guidance == 1 or (self.guidance is not None and self.autoguide is None):
            return None, self.guidance
        if self.autoguide is not None and not _is_same_run(self.autoguide, path):
            return (None, 1.0) if self.guidance is None else (load(self.autoguide, device), self.guidance)
        early_self = load_guidance_checkpoint(path, device)
        if early_self is None and self.autoguide is not None:
            raise RunError(
                f"{self.autoguide} is the run of the model itself, which kept no early self from before this model",
                "Name a weaker model of the same images, sample the run instead of its best, or train longer "
                "(`sfumato train --help`: --autoguidance-at and --autoguidance-min-steps).",
            )
        if early_self is None:
            return None, 1.0
        return early_self, _reported_scale(model, path) if self.guidance is None else self.guidance

    def _check_unused_settings(self) -> None:
        if self.autoguide is not None or self.guidance_interval is not None or self.guidance_rescale:
            raise SamplingError(
                "settings of guidance were given, but its scale is 1, which is none", "Add --guidance 2, for example."
            )


def describe_guidance(scale: float, has_guide: bool) -> str:
    """What guidance below 1 does, in a sentence.

    Args:
        scale: of the guidance.
        has_guide: whether a weaker model guides, instead of the class or condition.
    """
    weak, strong = (
        ("the weaker model", "the model") if has_guide else ("the model without a class", "the model with its class")
    )
    if scale < 0:
        aim = "the model, towards more mistakes" if has_guide else "the class that was named"
        return f"guidance {scale:g} is negative: it goes away from {aim}. For more of it, choose above 1."
    if scale == 0:
        return f"guidance 0 draws by {weak} alone. For {strong}, choose 1; for more, above 1."
    return f"guidance {scale:g} lies between {weak} (0) and {strong} (1). For more than that, choose above 1."


def default_autoguidance_scale(model: "Denoiser") -> float:
    """How far a model is guided away from its early self, if nothing else is asked."""
    return defaults.CONDITIONAL_AUTOGUIDANCE_SCALE if model.is_conditional else defaults.AUTOGUIDANCE_SCALE


def _reported_scale(model: "Denoiser", path: Path) -> float:
    """The same of the model from `path`, which is said on stderr."""
    scale = default_autoguidance_scale(model)
    print(
        f"sfumato: guided by the model's early self at a scale of {scale:g}, with two evaluations a step. The model "
        f"alone: --guidance 1 and no --autoguide; another scale: --guidance 3 --autoguide {printable(str(path))}",
        file=sys.stderr,
    )
    return scale


def _is_same_run(one: Path, other: Path) -> bool:
    """Whether two folders are of one run or copied model: the run itself, its model or its best.

    Raises:
        RunError: one holds no model.
    """
    from sfumato.models import BEST, MODEL, model_folder

    folders = [model_folder(path).resolve() for path in (one, other)]
    return len({folder.parent if folder.name in (MODEL, BEST) else folder for folder in folders}) == 1
