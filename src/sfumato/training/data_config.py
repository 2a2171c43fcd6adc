"""Settings of how images are read, conditioned and augmented."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import tyro

from sfumato.errors import ConfigError
from sfumato.utils.flags import optional_flag

if TYPE_CHECKING:
    from sfumato.data.sources import ReadOptions


def require(holds: bool, given: str, expected: str) -> None:
    """Raises `ConfigError` unless `holds`."""
    if not holds:
        raise ConfigError(given, expected)


@dataclass(frozen=True)
class ReadConfig:
    """How images are read."""

    __pydantic_config__: ClassVar = {"extra": "forbid"}

    size: Annotated[int | str | None, optional_flag("SIDE|WIDTHxHEIGHT", "the common size of the images")] = None
    """Resize the images to this size (antialiased), such as 64 or 64x96."""
    fit: Literal["crop", "pad", "resize"] = "crop"
    """How to change the aspect ratio: crop keeps the center, pad adds black or transparent borders, resize distorts."""
    channels: Literal["auto", "grey", "rgb", "rgba", "bands"] = "auto"
    """Convert the images. auto: to the mode of most images; bands: any channels, none of which is opacity."""
    split: Annotated[str, tyro.conf.arg(metavar="auto|all|none|NAME")] = "auto"
    """Split to train on, if folders or files are named train, val or test. auto: train on train, validate on val, keep
    test for `sfumato eval`; all: train on all images; none: the names are class labels; NAME: train on that split."""
    pages: Literal["auto", "first", "images", "channels"] = "auto"
    """Meaning of TIFF pages, if the file does not declare it: images, channels of one image, or first (reads only the
    first page). auto: such a file is skipped."""
    range: Annotated[
        tuple[float, float] | Literal["auto"], optional_flag("LOW HIGH|auto", "auto, the range of the data")
    ] = "auto"
    """Values of black and white. Values outside are clipped."""
    nodata: Annotated[float | None, optional_flag("VALUE", "NaN, and the value that a file declares")] = None
    """Value of pixels without data. They are replaced by the mean of the other pixels of the image."""
    name_encoding: Annotated[str | None, optional_flag("NAME", "detected")] = None
    """Encoding of the file names in a zip or tar, such as cp932 or gbk."""
    labels: bool = True
    """Use the names of the top sub-folders as class labels, if every image is in one."""

    def __post_init__(self) -> None:
        if self.size is not None:
            from sfumato.data.sources.options import parsed_size

            parsed_size(self.size)

    def options(self) -> "ReadOptions":
        """The options for `data.read_images`."""
        from sfumato.data import checked_options

        return checked_options(
            self.size, self.fit, self.channels, self.pages, self.split, self.range, self.nodata, self.name_encoding
        )


@dataclass(frozen=True)
class DataConfig(ReadConfig):
    """Reading, conditioning and augmentation of the images."""

    __pydantic_config__: ClassVar = {"extra": "forbid"}

    condition: Annotated[tuple[str, ...], optional_flag("COLUMN [COLUMN ...]", "none")] = ()
    """Condition on these columns of metadata.csv and not on the folders, such as: age species. Text and few distinct
    integers are classes, other numbers are numbers. To set the type: age:number species:class."""
    flip: bool = False
    """Flip images horizontally at random (probability 0.5)."""
    translate: int = 0
    """Shift images at random by up to this many pixels. Edge pixels are repeated."""
    augment: Annotated[
        float | None, optional_flag("FLOAT", "0.15 if each image is seen more than 400 times, else 0")
    ] = 0.0
    """Probability of each augmentation: flip, scale, rotate, stretch, shift. For fewer than about 5000 images. The
    network is conditioned on them, so samples are not augmented (EDM; 0.12 for CIFAR-10, 0.15 for faces)."""
    validation_share: float = 0.05
    """Share of the images held out from training for the validation loss (at least 1 image, at most 1024)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        moved = self.translate
        require(0 <= moved <= 2**14, f"--translate {moved} is out of range", "Choose 0 to 16,384 pixels.")
        is_valid = self.augment is None or 0 <= self.augment <= 1
        require(is_valid, f"--augment {self.augment} is not a probability", "Choose 0 to 1.")
        names = tuple(name.strip() for given in self.condition for name in given.split(","))
        require(all(names), f"--condition {' '.join(self.condition)} has an empty name", "Give names: age,species.")
        if names:
            from sfumato.data.labels import name_and_kind

            columns = {name_and_kind(name)[0] for name in names}
            require(len(columns) == len(names), f"--condition {' '.join(names)} repeats a column", "Give each once.")
        object.__setattr__(self, "condition", names)  # so that a different spelling is the same run
        require(
            0 < self.validation_share < 1,
            f"--validation-share {self.validation_share} is out of range",
            "Choose a number between 0 and 1.",
        )
