"""Settings of a training run: the flags of `sfumato train`, the tables of `config.toml` and the Python API."""

import math
from collections.abc import Mapping
from dataclasses import asdict, astuple, dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import tyro

from sfumato.errors import ConfigError
from sfumato.training.data_config import DataConfig, require
from sfumato.utils.flags import optional_flag
from sfumato.utils.imports import is_import_path

if TYPE_CHECKING:
    from sfumato.diffusion.losses import Loss, Weight
    from sfumato.diffusion.time_densities import TimeDensity
    from sfumato.training.ema import EMADecay

PRESET_SETTINGS = {
    ("adam", "constant"),
    ("adam", "constant:decay=0.995"),
    ("muon", "power"),
    ("linear", False, 1.0, "noise", "uniform", False, "simple", "squared-error"),
    ("edm", False, 1.0, "edm", None, True, "simple", "squared-error"),
    ("edm", False, 1.0, "edm", "log-normal:mean=-0.5", True, "simple", "squared-error"),
    ("edm", False, 1.0, "data", "log-normal:mean=0.5", True, "simple", "squared-error"),
}
"""Settings of the presets, which are valid: checking them would import PyTorch for `sfumato --help`."""


BACKBONES = ("unet", "convnet")

LogChoice = Literal["none", "tensorboard", "wandb"]


@dataclass(frozen=True)
class NetworkConfig:
    """Architecture of the network. Defaults are chosen for the training budget, the images and the device."""

    __pydantic_config__: ClassVar = {"extra": "forbid"}

    backbone: Annotated[str, tyro.conf.arg(metavar="NAME")] = "unet"
    """unet: the UNet of DDPM; convnet: a UNet with fewer and wider layers, fast on tensor cores; or the import path of
    your own network: path/file.py:Class or package.module:Class (docs/extending.md)."""
    width: Annotated[int | None, optional_flag("INT", "automatic")] = 128
    """Channels of the first level."""
    multipliers: Annotated[tuple[int, ...] | None, optional_flag("INT [INT ...]", "automatic")] = (1, 2, 2, 2)
    """Channels of each level as multiples of the width. Each level halves the resolution."""
    blocks: Annotated[tuple[int, ...] | None, optional_flag("INT [INT ...]", "automatic")] = (2,)
    """Residual blocks per level: one number for all levels, or one for each level."""
    attention: tuple[int, ...] = (16,)
    """Self-attention at the levels with about this resolution (width of the feature map in pixels)."""
    patch: Annotated[int | None, optional_flag("INT", "automatic")] = 1
    """Patch size of the first level in pixels (convnet only)."""
    dropout: float = 0.1
    """Dropout probability in the residual blocks."""
    start: Annotated[str | None, tyro.conf.arg(name="from", metavar="RUN", help_behavior_hint="(default: none)")] = None
    """Start from the weights of another model: a run, a model folder, a folder of diffusers, or hf:USER/NAME. The run
    has the network, noise schedule and parametrization of that model, whose flags cannot be given; images, classes,
    budget and optimizer are those of this command."""

    def __post_init__(self) -> None:
        require(min(self.attention, default=1) >= 1, f"--attention {self.attention} is too small", "Choose 1 or more.")
        blocks, levels = self.blocks, self.multipliers
        fits = blocks is None or len(blocks) == 1 or (levels is not None and len(blocks) == len(levels))
        require(fits, f"--blocks {blocks} with --multipliers {levels}", "Give one number, or one for each level.")
        require(
            self.is_custom or self.backbone in BACKBONES,
            f"--backbone {self.backbone} is unknown",
            f"Choose {' or '.join(BACKBONES)}, or the import path of a network: path/file.py:Class.",
        )
        require(
            self.backbone != "unet" or self.patch in (None, 1),
            f"--patch {self.patch} requires --backbone convnet",
            "Choose --patch 1, or --backbone convnet.",
        )
        require(0 <= self.dropout < 1, f"--dropout {self.dropout} is not a probability", "Choose 0 or more, below 1.")

    @property
    def is_custom(self) -> bool:
        """Whether the network is from outside the package."""
        return is_import_path(self.backbone)


@dataclass(frozen=True)
class DiffusionConfig:
    """Noise schedule, parametrization and loss. --preset ddpm gives those of DDPM."""

    __pydantic_config__: ClassVar = {"extra": "forbid"}

    schedule: str = "linear"
    """Noise schedule: linear (DDPM), scaled-linear (for latents), cosine (for small images), sigmoid, edm (variance
    exploding) or flow (flow matching). With settings: cosine:timesteps=500, linear:beta_end=0.03."""
    zero_terminal_snr: bool = False
    """Rescale the schedule to zero SNR at the last timestep, so that samples can be very dark or bright. For linear,
    scaled-linear, cosine and sigmoid; not with --parametrization noise."""
    shift: float = 1.0
    """Shift of the schedule towards more noise, for larger images: 2 for twice the side length."""
    parametrization: str = "noise"
    """Prediction target of the network: noise (DDPM), data, velocity (stable at every noise level), flow (for the
    schedule flow) or edm (for the schedule edm)."""
    times: Annotated[str | None, optional_flag("STR", "automatic")] = "uniform"
    """Distribution of the training times: uniform, log-normal (for the schedule edm) or logit-normal (mostly middle
    times, for the schedule flow). With settings: log-normal:mean=-0.8,std=1.4."""
    stratified: bool = False
    """Stratified sampling of the times of a batch, which lowers the variance of the loss."""
    weight: str = "simple"
    """Loss weighting by noise level: simple (constant for the prediction target), min-snr (often converges faster),
    soft-min-snr, snr, elbo (for likelihoods) or sigmoid (for large images). With settings: min-snr:gamma=1."""

    loss: Annotated[str, tyro.conf.arg(metavar="NAME")] = "squared-error"
    """squared-error, or the import path of your own loss: path/file.py:function or package.module:function
    (docs/extending.md)."""

    def __post_init__(self) -> None:
        if astuple(self) in PRESET_SETTINGS:
            return
        from sfumato.models import checked_schedule

        checked_schedule(self.schedule, self.zero_terminal_snr, self.shift, self.parametrization)
        _ = self.loss_weight, None if self.times is None else self.time_density
        require(
            self.loss == "squared-error" or is_import_path(self.loss),
            f"--loss {self.loss} is unknown",
            "Choose squared-error, or the import path of a function: path/file.py:function.",
        )

    @cached_property
    def time_density(self) -> "TimeDensity":
        """Density of the training times."""
        from sfumato.diffusion.time_densities import TIME_DENSITIES

        if self.times is None:
            raise ConfigError(
                "the distribution of the times is not set",
                "Set `times`, or complete the settings with `sfumato.training.autoconfig.resolve_config`.",
            )
        return TIME_DENSITIES.parse(self.times)

    @property
    def custom_loss(self) -> "Loss | None":
        """The loss from outside the package; None for the weighted squared error."""
        from sfumato.diffusion.losses import CUSTOM_LOSSES

        return CUSTOM_LOSSES.find(self.loss) if is_import_path(self.loss) else None

    @cached_property
    def loss_weight(self) -> "Weight":
        """Loss weighting."""
        from sfumato.diffusion.losses import WEIGHTS

        return WEIGHTS.parse(self.weight)


@dataclass(frozen=True)
class OptimizationConfig:
    """Training budget and optimizer. Defaults come from the preset, or are chosen for the training budget."""

    __pydantic_config__: ClassVar = {"extra": "forbid"}

    minutes: Annotated[float | None, optional_flag("FLOAT", "from the preset, unless --images is given")] = None
    """Training time in minutes, in total over all resumes. Preparation and previews are not counted."""
    images: Annotated[int | None, optional_flag("INT", "from the preset, unless --minutes is given")] = None
    """Training length in images, repetitions included. With --minutes too, training ends at the first limit."""
    batch: Annotated[int | None, optional_flag("INT", "automatic")] = 128
    """Batch size."""
    optimizer: str = "adam"
    """adam, or muon: Muon for the matrices inside the network and Adam for all other parameters (trains faster). With
    settings: muon:rate=0.01, adam:beta2=0.99."""
    learning_rate: float = 2e-4
    """Peak learning rate of Adam."""
    warmup: float = 0.00625
    """Share of the run over which the learning rate rises from 0."""
    decay: float = 0.0
    """Share of the run, at its end, over which the learning rate falls to 0."""
    ema: str = "constant"
    """EMA of the weights, used for sampling: constant (constant decay per step, DDPM) or power (length relative to the
    run, EDM2). With settings: constant:decay=0.999, power:length=0.1."""
    clip_gradient: float = 1.0
    """Maximum norm of the gradient. Larger gradients are scaled down to it."""
    label_dropout: float = 0.1
    """Drops each image's labels with this probability (classifier-free guidance)."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Precision of the network. auto: bfloat16 if the device supports it. The weights stay float32."""
    seed: int = 0
    """Random seed of the weights, the order of the images, the noise and the previews."""

    def __post_init__(self) -> None:
        minutes, images, batch = self.minutes, self.images, self.batch
        require(minutes is None or 0 < minutes < 10**7, f"--minutes {minutes} is out of range", "Choose more than 0.")
        require(images is None or images >= 1, f"--images {images} is out of range", "Choose 1 or more.")
        require(images is None or images < 10**12, f"--images {images} is out of range", "Choose less than 10^12.")
        require(batch is None or 1 <= batch <= 2**20, f"--batch {batch} is out of range", "Choose 1 to 2^20.")
        rate = self.learning_rate
        require(0 < rate < math.inf, f"--learning-rate {rate} is out of range", "Choose a finite number above 0.")
        for name in ("warmup", "decay"):
            share = getattr(self, name)
            require(0 <= share <= 1, f"--{name} {share} is out of range", "Choose a share of the run, 0 to 1.")
        require(self.clip_gradient > 0, f"--clip-gradient {self.clip_gradient} is out of range", "Choose above 0.")
        require(
            0 <= self.label_dropout < 1,
            f"--label-dropout {self.label_dropout} is not a probability",
            "Choose 0 or more, below 1.",
        )
        require(0 <= self.seed < 2**63, f"--seed {self.seed} is out of range", "Choose 0 to 2^63 - 1.")
        if (self.optimizer, self.ema) not in PRESET_SETTINGS:
            from sfumato.training.optim import OPTIMIZERS

            OPTIMIZERS.parse(self.optimizer)
            _ = self.ema_decay

    @cached_property
    def ema_decay(self) -> "EMADecay":
        """EMA of the weights."""
        from sfumato.training.ema import EMA_DECAYS

        return EMA_DECAYS.parse(self.ema)

    @property
    def batch_size(self) -> int:
        """Batch size."""
        if self.batch is None:
            raise ConfigError(
                "the batch size is not set",
                "Set `batch`, or complete the settings with `sfumato.training.autoconfig.resolve_config`.",
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
"""Minimum and maximum of the numbers in `MonitoringConfig`."""


@dataclass(frozen=True)
class MonitoringConfig:
    """Validation, previews and checkpoints. They do not change the training result."""

    __pydantic_config__: ClassVar = {"extra": "forbid"}

    log: LogChoice = "none"
    """Send losses, previews and images per second to TensorBoard (RUN/tensorboard) or Weights & Biases, in addition to
    metrics.jsonl."""
    validate_every: Annotated[int | None, optional_flag("INT", "20 validations, more often at the start")] = None
    """Images between validations (validation loss and preview grid)."""
    preview_count: int = 16
    """Number of images in the preview grid."""
    preview_steps: Annotated[int | None, optional_flag("INT", "as for sfumato sample")] = None
    """Sampling steps of the preview grid."""
    validation_count: int = 256
    """Network evaluations per validation loss, spread evenly over ten noise levels."""
    save_minutes: float = 5.0
    """Minutes between checkpoints. 0: a checkpoint after every step."""
    keep: int = 2
    """Number of checkpoints to keep."""
    eval_every: Annotated[int | None, optional_flag("INT", "never; the validation loss selects the best model")] = None
    """Images between quick evaluations, which select the best model by the Frechet distance of a few samples to the
    training images."""
    eval_count: int = 1000
    """Number of samples of a quick evaluation."""
    eval_features: str = "pixels"
    """Feature space of a quick evaluation: pixels, efficientnet, inception, dinov2, an .onnx file, or the import path
    of your own network: path/file.py:Class (docs/extending.md)."""
    autoguidance_at: float = 0.0
    """Share of the run after which the EMA weights are saved as the guidance checkpoint: the weaker model of
    autoguidance. 0: never."""
    autoguidance_min_steps: int = 300
    """Save the guidance checkpoint only after at least this many steps; from fewer steps, autoguidance does not improve
    samples."""

    def __post_init__(self) -> None:
        for name, (least, most) in MONITORING_LIMITS.items():
            value = getattr(self, name)
            is_valid = value is None or least <= value <= most
            require(is_valid, f"--{name.replace('_', '-')} {value} is out of range", f"Choose {least} to {most:,}.")
        require(
            0 <= self.autoguidance_at < 1,
            f"--autoguidance-at {self.autoguidance_at} is out of range",
            "Choose 0 or more, below 1.",
        )
        minutes = self.save_minutes
        require(0 <= minutes < math.inf, f"--save-minutes {minutes} is invalid", "Choose a finite number, 0 or more.")


@dataclass(frozen=True)
class TrainConfig:
    """Settings of a training run."""

    __pydantic_config__: ClassVar = {"extra": "forbid"}

    source: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="DATA")]
    """Folder of images, searched recursively; a zip or tar of one; an .npz, .npy or .parquet file; hf:NAME (a data set
    of the Hugging Face Hub); or a built-in data set: digits (1797 handwritten digits) or shapes (4096 coloured
    shapes)."""
    preset: Annotated[
        str,
        tyro.conf.arg(
            metavar="{default,ddpm,tiny,patches}",
            help_behavior_hint="(default: tiny for digits, patches for shapes, otherwise default)",
        ),
    ] = "ddpm"
    """Named configuration, which the other flags override. default: the best result in the given minutes; ddpm: the
    configuration of the paper; tiny: for images of 8 to 16 pixels; patches: for simple images of 32 pixels, in minutes
    on a CPU."""
    data: DataConfig = field(default_factory=DataConfig)
    network: NetworkConfig = field(default_factory=NetworkConfig)
    diffusion: DiffusionConfig = field(default_factory=DiffusionConfig)
    optimization: OptimizationConfig = field(default_factory=OptimizationConfig)
    monitoring: MonitoringConfig = field(default_factory=MonitoringConfig)


ADOPTED = (
    *("backbone", "width", "multipliers", "blocks", "attention", "patch"),
    *("schedule", "zero_terminal_snr", "shift", "parametrization"),
)
"""Settings that a run with `--from` has from the model that it starts from."""


def with_settings(config: TrainConfig, values: Mapping[str, Any]) -> TrainConfig:
    """The configuration with other values of settings of the network and the noise levels, by name."""
    network, diffusion = (
        {name: value for name, value in values.items() if hasattr(table, name)}
        for table in (config.network, config.diffusion)
    )
    return replace(config, network=replace(config.network, **network), diffusion=replace(config.diffusion, **diffusion))


FREE_TO_CHANGE = {"monitoring", "optimization.images", "optimization.minutes", "source"}
"""Settings (or whole tables) that may change on resume, as they do not affect the training so far."""


def differences(before: TrainConfig, now: TrainConfig) -> list[str]:
    """Changed settings that prevent resuming, as "--flag: before -> now"."""
    old, new = _flat(asdict(before)), _flat(asdict(now))
    changed = [name for name in old if old[name] != new[name]]
    fixed = [name for name in changed if name not in FREE_TO_CHANGE and name.split(".")[0] not in FREE_TO_CHANGE]
    return [f"{_flag(name)}: {old[name]} -> {new[name]}" for name in fixed]


def _flag(name: str) -> str:
    """The flag of a setting with a dotted name."""
    return f"--{flag_name(name.split('.')[-1])}".replace("_", "-")


def flag_name(field: str) -> str:
    """The name of a setting for users: `from` is a keyword of Python and cannot be a field."""
    return "from" if field == "start" else field


def _flat(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Flattens nested tables to dotted names."""
    leaves: dict[str, Any] = {}
    for name, value in tree.items():
        leaves |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value}
    return leaves
