"""Every setting of a training run, written once: the flags of `sfumato train`, the tables of `config.toml`, the API."""

import math
from dataclasses import asdict, astuple, dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import tyro

from sfumato.errors import ConfigError
from sfumato.utils.flags import optional_flag

if TYPE_CHECKING:
    from sfumato.data.sources import ReadOptions
    from sfumato.diffusion.loss import TimeDensity, Weight
    from sfumato.training.ema import Average

SOUND = {
    ("adam", "constant"),
    ("adam", "constant:decay=0.995"),
    ("muon", "power"),
    ("linear", False, 1.0, "noise", "uniform", False, "simple"),
    ("edm", False, 1.0, "edm", None, True, "simple"),
    ("edm", False, 1.0, "edm", "log-normal:mean=-0.5", True, "simple"),
}
"""Names in the presets, which are known to be right: `sfumato --help` need not wait for PyTorch to say so."""


def require(holds: bool, given: str, expected: str) -> None:
    """Raises `ConfigError` unless `holds`."""
    if not holds:
        raise ConfigError(given, expected)


def _column_names(requested: tuple[str, ...]) -> list[str]:
    """The names of the columns, without :number and :class."""
    if not requested:
        return []
    from sfumato.data.labels import name_and_kind

    return [name_and_kind(name)[0] for name in requested]


@dataclass(frozen=True)
class ReadConfig:
    """How images are read."""

    __pydantic_config__: ClassVar = {"extra": "forbid"}

    size: Annotated[int | str | None, optional_flag("SIDE|WIDTHxHEIGHT", "the images' own common size")] = None
    """Bring the images to this size (antialiased), such as 64 or 64x96."""
    fit: Literal["crop", "pad", "resize"] = "crop"
    """How to bring them there: crop keeps the middle, pad adds black (or transparent) borders, resize stretches."""
    channels: Literal["auto", "grey", "rgb", "rgba", "bands"] = "auto"
    """Convert the images; auto: what most of them are; bands: plain channels, none of which is opacity."""
    split: Annotated[str, tyro.conf.arg(metavar="auto|all|none|NAME")] = "auto"
    """Where folders or files are named as splits (train, val, test): auto learns train, validates by val and keeps test
    for `sfumato eval`; all learns every image; none takes the names for classes; NAME learns that split."""
    pages: Literal["auto", "first", "images", "channels"] = "auto"
    """What the pages of a TIFF are, where it does not say it."""
    range: Annotated[
        tuple[float, float] | Literal["auto"], optional_flag("LOW HIGH|auto", "auto, the range of the data")
    ] = "auto"
    """The values that are black and white; what lies outside is clipped."""
    nodata: Annotated[float | None, optional_flag("VALUE", "NaN, and what a file declares")] = None
    """The value of pixels without data, which get the mean of the other pixels of their image."""
    name_encoding: Annotated[str | None, optional_flag("NAME", "detected")] = None
    """The encoding of the names in a zip or tar, such as cp932 or gbk."""
    labels: bool = True
    """Learn the names of the first sub-folders as class labels, where every image lies in one."""

    def __post_init__(self) -> None:
        if self.size is not None:
            from sfumato.data.cache.size import parsed_size

            parsed_size(self.size)

    def options(self) -> "ReadOptions":
        """The same for `data.read_images`.

        Raises:
            ConfigError: They make no sense.
        """
        from sfumato.data import checked_options

        return checked_options(
            self.size, self.fit, self.channels, self.pages, self.split, self.range, self.nodata, self.name_encoding
        )


@dataclass(frozen=True)
class DataConfig(ReadConfig):
    """The images: how they are read, what is learned beside them, and how they are augmented."""

    __pydantic_config__: ClassVar = {"extra": "forbid"}

    condition: Annotated[tuple[str, ...], optional_flag("COLUMN [COLUMN ...]", "none")] = ()
    """Learn these columns of metadata.csv instead: text and few integers as classes, other numbers as numbers. Such as:
    age species; to say what a column is: age:number species:class."""
    flip: bool = False
    """Mirror half of the images, chosen anew each time they are seen."""
    translate: int = 0
    """Move each image by up to this many pixels, edges repeated, anew each time it is seen."""
    augment: Annotated[
        float | None, optional_flag("FLOAT", "0.15 if the images will be seen more than 400 times each, else 0")
    ] = 0.0
    """For fewer than about 5,000 images: flip, scale, turn, stretch and move them, each at this probability, and tell
    the network, so that samples are as the images were (EDM; 0.12 for CIFAR-10, 0.15 for faces)."""
    validation_share: float = 0.05
    """Share of the images kept from training, for the held-out loss (at least one image, at most 1024)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        moved = self.translate
        require(0 <= moved <= 2**14, f"--translate {moved} is no way to move an image", "Choose 0 to 2^14 pixels.")
        sound = self.augment is None or 0 <= self.augment <= 1
        require(sound, f"--augment {self.augment} is not a probability", "Choose 0 to 1.")
        names = tuple(name.strip() for given in self.condition for name in given.split(","))
        require(all(names), f"--condition {' '.join(self.condition)} has an empty name", "Name columns: age,species.")
        columns = _column_names(names)
        require(len(set(columns)) == len(names), f"--condition {' '.join(names)} repeats a column", "Name each once.")
        object.__setattr__(self, "condition", names)  # however they were written, they are the same run
        require(
            0 < self.validation_share < 1,
            f"--validation-share {self.validation_share} is not a share",
            "Choose a number between 0 and 1.",
        )


@dataclass(frozen=True)
class NetworkConfig:
    """The network. What is left open follows from the minutes, the images and the device."""

    __pydantic_config__: ClassVar = {"extra": "forbid"}

    backbone: Literal["unet", "convnet"] = "unet"
    """unet is DDPM's; convnet is a UNet of fewer, wider parts, made for the matrix units of GPUs."""
    width: Annotated[int | None, optional_flag("INT", "what suits the run")] = 128
    """Channels of the first level."""
    multipliers: Annotated[tuple[int, ...] | None, optional_flag("INT [INT ...]", "what suits the run")] = (1, 2, 2, 2)
    """Channels of each level in units of the width; every level halves the resolution."""
    blocks: Annotated[tuple[int, ...] | None, optional_flag("INT [INT ...]", "what suits the run")] = (2,)
    """Residual blocks a level: one number for all levels, or one for each."""
    attention: tuple[int, ...] = (16,)
    """Self-attention at the levels whose feature maps are about this many pixels wide."""
    patch: Annotated[int | None, optional_flag("INT", "what suits the run")] = 1
    """The first level sees squares of so many pixels a side (convnet only)."""
    dropout: float = 0.1
    """Dropout probability inside the residual blocks."""

    def __post_init__(self) -> None:
        require(min(self.attention, default=1) >= 1, f"--attention {self.attention} is no size", "Choose 1 or more.")
        blocks, levels = self.blocks, self.multipliers
        fits = blocks is None or len(blocks) == 1 or (levels is not None and len(blocks) == len(levels))
        require(fits, f"--blocks {blocks} of levels {levels}", "Give one number, or one for each level.")
        require(
            self.backbone == "convnet" or self.patch in (None, 1),
            f"--patch {self.patch}",
            "Choose 1, or --backbone convnet.",
        )
        require(0 <= self.dropout < 1, f"--dropout {self.dropout} is not a probability", "Choose 0 or more, below 1.")


@dataclass(frozen=True)
class DiffusionConfig:
    """The forward process, what the network predicts of it, and what its errors cost; DDPM's with --preset ddpm."""

    __pydantic_config__: ClassVar = {"extra": "forbid"}

    schedule: str = "linear"
    """How noise grows over time: linear (DDPM), scaled-linear (latents), cosine (gentler, for small images), sigmoid,
    edm (ever larger noise), flow (a straight line). With settings: cosine:timesteps=500, linear:beta_end=0.03."""
    zero_terminal_snr: bool = False
    """Leave no signal at the last step, so that very dark or bright images can be drawn; not with noise as prediction.
    For linear, scaled-linear, cosine and sigmoid; flow ends so anyway."""
    shift: float = 1.0
    """Above 1: more noise at every time, for images larger than the schedule was made for (2 for twice the side)."""
    parametrization: str = "noise"
    """What the network predicts: noise (DDPM), data, velocity (steady at every noise level, a safe choice), flow (goes
    with the schedule flow) or edm (goes with the schedule edm)."""
    times: Annotated[str | None, optional_flag("STR", "what suits the run")] = "uniform"
    """Which times are trained on most: uniform, log-normal (EDM's; goes with edm) or logit-normal (the middle times;
    goes with flow). With settings: log-normal:mean=-0.8,std=1.4."""
    stratified: bool = False
    """Spread the times of a batch evenly instead of drawing each on its own; the loss varies less."""
    weight: str = "simple"
    """How much an error counts by noise level: simple (as the network sees it), min-snr (often learns faster),
    soft-min-snr, snr, elbo (for likelihoods) or sigmoid (for large images). With settings: min-snr:gamma=1."""

    def __post_init__(self) -> None:
        if astuple(self) in SOUND:
            return
        from sfumato.models import checked_schedule

        checked_schedule(self.schedule, self.zero_terminal_snr, self.shift, self.parametrization)
        _ = self.loss_weight, None if self.times is None else self.time_density

    @cached_property
    def time_density(self) -> "TimeDensity":
        """How often each time is drawn.

        Raises:
            ConfigError: `times` is left open, an unknown name or has an unknown setting; lists what is possible.
        """
        from sfumato.diffusion.loss import times_for

        if self.times is None:
            raise ConfigError(
                "the settings leave the times open",
                "Settle them by `sfumato.training.autoconfig.planned`, or give them.",
            )
        return times_for(self.times)

    @cached_property
    def loss_weight(self) -> "Weight":
        """How much an error counts.

        Raises:
            ConfigError: `weight` is an unknown name or has an unknown setting; lists what is possible.
        """
        from sfumato.diffusion.loss import weight_for

        return weight_for(self.weight)


@dataclass(frozen=True)
class OptimizationConfig:
    """How long and how the network learns. What is left open follows from the preset, or from the minutes."""

    __pydantic_config__: ClassVar = {"extra": "forbid"}

    minutes: Annotated[float | None, optional_flag("FLOAT", "the preset's, unless --images is given")] = None
    """Minutes of training, over all the times that you go on with it. Preparation and previews are not counted."""
    images: Annotated[int | None, optional_flag("INT", "the preset's, unless --minutes is given")] = None
    """Images to train on, repeats counted, instead of --minutes; with both, whichever is reached first."""
    batch: Annotated[int | None, optional_flag("INT", "what suits the run")] = 128
    """Images a step."""
    optimizer: str = "adam"
    """adam, or muon for the matrices inside the network with Adam for the rest (learns faster). With settings:
    muon:rate=0.01, adam:beta2=0.99."""
    learning_rate: float = 2e-4
    """Adam's learning rate at its peak."""
    warmup: float = 0.00625
    """Share of the run over which the learning rate rises from 0."""
    decay: float = 0.0
    """Share of the run, at its end, over which the learning rate falls to 0."""
    ema: str = "constant"
    """Averaging of the weights, which gives those that sample: constant (with a decay a step, as in DDPM), or power
    (over the same share of any run, EDM2). With settings: constant:decay=0.999, power:length=0.1."""
    clip_gradient: float = 1.0
    """Largest norm of the gradient; larger ones are scaled down to it."""
    label_dropout: float = 0.1
    """Share of the labels hidden in training, so that guidance is possible."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Arithmetic of the network; auto: bfloat16 where the device has it (weights stay float32)."""
    seed: int = 0
    """Seed of everything random: weights, order, noise, previews."""

    def __post_init__(self) -> None:
        minutes, images, batch = self.minutes, self.images, self.batch
        require(minutes is None or 0 < minutes < 10**7, f"--minutes {minutes} is no time to train", "Choose above 0.")
        require(images is None or images >= 1, f"--images {images} is nothing to train on", "Choose 1 or more.")
        require(images is None or images < 10**12, f"--images {images} is too many", "Choose fewer than 10^12.")
        require(batch is None or 1 <= batch <= 2**20, f"--batch {batch} is no batch", "Choose 1 to 2^20.")
        rate = self.learning_rate
        require(0 < rate < math.inf, f"--learning-rate {rate} learns nothing", "Choose a finite number above 0.")
        for name in ("warmup", "decay"):
            share = getattr(self, name)
            require(0 <= share <= 1, f"--{name} {share} is not a share of the run", "Choose 0 to 1.")
        require(self.clip_gradient > 0, f"--clip-gradient {self.clip_gradient} stops learning", "Choose above 0.")
        require(
            0 <= self.label_dropout < 1,
            f"--label-dropout {self.label_dropout} is no share",
            "Choose 0 or more, below 1.",
        )
        require(0 <= self.seed < 2**63, f"--seed {self.seed} is out of range", "Choose 0 to 2^63 - 1.")
        if (self.optimizer, self.ema) not in SOUND:
            from sfumato.training.optim import optimizer_for

            optimizer_for(self.optimizer)
            _ = self.average

    @cached_property
    def average(self) -> "Average":
        """How the averaged weights follow.

        Raises:
            ConfigError: `ema` is an unknown name or has an unknown setting; lists what is possible.
        """
        from sfumato.training.ema import average_for

        return average_for(self.ema)

    @property
    def batch_size(self) -> int:
        """`batch`, where it is not left open.

        Raises:
            ConfigError: it is.
        """
        if self.batch is None:
            raise ConfigError(
                "the settings leave the batch open", "Settle it by `sfumato.training.autoconfig.planned`, or give it."
            )
        return self.batch


MONITORING_LIMITS = {
    "validate_every": (1, 10**12),
    "preview_count": (1, 10_000),
    "preview_steps": (1, 10**6),
    "validation_count": (1, 10**7),
    "keep": (1, 10**6),
    "eval_every": (1, 10**12),
    "eval_count": (2, 10**7),
    "autoguidance_min_steps": (0, 10**12),
}
"""The least and the most of the numbers in `MonitoringConfig`."""


@dataclass(frozen=True)
class MonitoringConfig:
    """What is measured, drawn and saved on the way. It changes nothing of what is learned."""

    __pydantic_config__: ClassVar = {"extra": "forbid"}

    validate_every: Annotated[int | None, optional_flag("INT", "20 looks, with more at the beginning")] = None
    """Images between two looks (held-out loss, preview grid)."""
    preview_count: int = 16
    """Images of the preview grid."""
    preview_steps: Annotated[int | None, optional_flag("INT", "as many as sfumato sample takes")] = None
    """Sampling steps of the preview grid."""
    validation_count: int = 256
    """Evaluations behind each held-out loss, spread evenly over ten noise levels."""
    save_minutes: float = 5.0
    """Minutes between two checkpoints; 0: one after every step."""
    keep: int = 2
    """How many checkpoints to keep."""
    eval_every: Annotated[int | None, optional_flag("INT", "none, and the held-out loss decides")] = None
    """Images between two small evaluations: the distance of some samples to the images, by which the best model is
    kept."""
    eval_count: int = 1000
    """Samples of a small evaluation."""
    eval_features: str = "pixels"
    """What a small evaluation measures in: pixels, efficientnet, inception, dinov2, or an exported network (.pt2 or
    .onnx)."""
    autoguidance_at: float = 0.0
    """Share of the run after which the averaged weights are kept beside the model, as the weaker self that guides it
    away from its mistakes (autoguidance); 0: never."""
    autoguidance_min_steps: int = 300
    """Keep those weights only if they have learned for so many steps by then; younger ones guide to nothing better."""

    def __post_init__(self) -> None:
        for name, (least, most) in MONITORING_LIMITS.items():
            value = getattr(self, name)
            sound = value is None or least <= value <= most
            require(sound, f"--{name.replace('_', '-')} {value} is out of range", f"Choose {least} to {most:,}.")
        require(
            0 <= self.autoguidance_at < 1,
            f"--autoguidance-at {self.autoguidance_at} is not a share",
            "Choose 0 or more, below 1.",
        )
        minutes = self.save_minutes
        require(0 <= minutes < math.inf, f"--save-minutes {minutes} is no time", "Choose a finite number, 0 or more.")


@dataclass(frozen=True)
class TrainConfig:
    """A training run, complete."""

    __pydantic_config__: ClassVar = {"extra": "forbid"}

    source: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="DATA")]
    """A folder of images, searched recursively; a zip or tar of one; an .npz, .npy or .parquet file; hf:NAME (a data
    set of the Hugging Face Hub); or the word `digits` (1,797 handwritten digits, built in)."""
    preset: Annotated[
        str,
        tyro.conf.arg(
            metavar="{default,ddpm,tiny}", help_behavior_hint="(default: tiny for digits, default for others)"
        ),
    ] = "ddpm"
    """The named configuration that the other settings start from: default makes the most of the minutes that you give
    it, ddpm is the paper's, tiny is for images of 8 to 16 pixels."""
    data: DataConfig = field(default_factory=DataConfig)
    network: NetworkConfig = field(default_factory=NetworkConfig)
    diffusion: DiffusionConfig = field(default_factory=DiffusionConfig)
    optimization: OptimizationConfig = field(default_factory=OptimizationConfig)
    monitoring: MonitoringConfig = field(default_factory=MonitoringConfig)


FREE_TO_CHANGE = {"monitoring", "optimization.images", "optimization.minutes", "source"}
"""Settings (or whole tables) that may differ when a run goes on: they do not change what it has learned so far."""


def differences(before: TrainConfig, now: TrainConfig) -> list[str]:
    """The settings that stand in the way of going on, as "--flag: before -> now"."""
    old, new = _flat(asdict(before)), _flat(asdict(now))
    changed = [name for name in old if old[name] != new[name]]
    fixed = [name for name in changed if name not in FREE_TO_CHANGE and name.split(".")[0] not in FREE_TO_CHANGE]
    return [f"--{name.split('.')[-1].replace('_', '-')}: {old[name]} -> {new[name]}" for name in fixed]


def _flat(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested tables as one, with dotted names."""
    leaves: dict[str, Any] = {}
    for name, value in tree.items():
        leaves |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value}
    return leaves
