"""`sfumato inspect`."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from sfumato.training.data_config import ReadConfig
from sfumato.utils.flags import optional_flag


@dataclass(frozen=True)
class Inspect:
    """Inspect a data set before training.
    Prints sizes, modes, classes, duplicates, unreadable files and a train command.
    The decoded images are cached for training.

    Examples:
      sfumato inspect photos/
      sfumato inspect photos.zip --size 64x96 --fit pad

      DATA                images, as for train
      --size 64|64x96     resize the images (default: their common size)
      --fit crop          crop, pad or resize to the aspect ratio of --size
      --channels auto     grey, rgb, rgba or bands (default: those of most images)
      --no-near-duplicates  find identical images only
      --out PATH          folder for the figures (default: inspected)
      --json              print JSON
    """

    source: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="DATA")]
    """Images, as for `sfumato train`: a folder, zip, tar, .npz, .npy or .parquet file, hf:NAME, digits or shapes."""
    reading: Annotated[ReadConfig, tyro.conf.arg(name="")] = field(default_factory=ReadConfig)
    near_duplicates: bool = True
    """Find near-duplicates as well."""
    out: Path = Path("inspected")
    """Folder for the figures: a contact sheet and the duplicates."""
    cache: Annotated[Path | None, optional_flag("PATH", "$SFUMATO_CACHE, or the user cache folder")] = None
    """Folder for decoded images."""
    json: bool = False
    """Print JSON."""

    def run(self) -> int:
        """Inspects and returns the exit code."""
        from sfumato.reports.findings import print_findings
        from sfumato.reports.inspection import inspect, save_pictures
        from sfumato.utils.progress import comparison_bar

        with comparison_bar() as on_images:
            found = inspect(
                self.source,
                self.reading.options(),
                labels=self.reading.labels,
                near_duplicates=self.near_duplicates,
                cache=self.cache,
                on_images=on_images,
            )
        written = save_pictures(found, self.out)
        print_findings(found.facts, [str(path) for path in written], self.json)
        return 0
