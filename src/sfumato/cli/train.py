"""`sfumato train`."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from sfumato.training.config import TrainConfig
from sfumato.utils.flags import optional_flag
from sfumato.utils.hub import is_hub_name

ARCHIVE = re.compile(r"(\.tar)?\.(zip|tar|gz|tgz|xz|txz|bz2|tbz2|npz|npy|parquet)$", re.IGNORECASE)


@dataclass(frozen=True)
class Train:
    """Train a model on a folder of images, or resume training.
    Ctrl-C saves a checkpoint and stops. The same command resumes the run.

    Examples:
      sfumato train photos/ --size 64 --minutes 30
      sfumato train digits

      DATA                folder of images, .zip, .tar, .npz, .npy, .parquet,
                          hf:NAME (Hugging Face Hub), digits or shapes
      --size 64|64x96     resize the images (default: their common size)
      --minutes 30        training time, in total over all resumes
      --out PATH          run directory (default: runs/NAME)
      --preset NAME       default, ddpm (the paper), tiny (8 to 16 pixels), patches
      --condition COLUMN  condition on columns of a table, not on sub-folders
      --no-labels         do not use the names of sub-folders as class labels
      --augment 0.12      augment, for fewer than about 5000 images; or: --flip
      --from RUN          start from the weights of another model (fine-tuning)
      --backbone NAME     convnet, unet, or your own network: nets.py:MyNet
      --device cuda:1     cpu, cuda, cuda:1 or mps (default: the fastest)
    """

    config: Annotated[TrainConfig, tyro.conf.arg(name="")]
    out: Annotated[Path | None, optional_flag("PATH", "runs/NAME, with the name of DATA")] = None
    """Run directory."""
    device: str = "auto"
    """cpu, cuda, cuda:1, mps or auto (the fastest available)."""
    cache: Annotated[Path | None, optional_flag("PATH", "$SFUMATO_CACHE, or the user cache folder")] = None
    """Folder for decoded images and compiled code."""
    debug: bool = False
    """Run GPU operations synchronously (slower), so that an error shows the operation that failed."""

    def run(self) -> int:
        """Trains and returns the exit code."""
        from sfumato.training.architecture import register_custom_code
        from sfumato.training.loop import run_training
        from sfumato.utils.progress import TrainingBar
        from sfumato.utils.signals import stop_request

        register_custom_code(self.config)
        out = self.out or Path("runs") / run_name(self.config.source)
        with stop_request() as stop, TrainingBar() as progress:
            state, _, share = run_training(
                self.config,
                out,
                device=self.device,
                cache=self.cache,
                debug=self.debug,
                reporter=progress,
                should_stop=stop,
            )
            seen = state.counters.images_seen
            if seen == 0:
                progress.say("Stopped before the first step. To start training, run the same command.")
            elif share < 1:
                progress.say(
                    f"Stopped and saved at {share:.0%}, after {seen:,} images. To resume, run the same command."
                )
            else:
                minutes = state.counters.seconds / 60
                network = self.config.network
                named = f" --backbone {network.backbone}" if network.is_custom else ""
                progress.say(
                    f"Done: {seen:,} images in {minutes:.1f} minutes. To sample new images: sfumato sample {out}{named}"
                )
        return stop.exit_code if share < 1 else 0


def run_name(source: str) -> str:
    """Default name of a run: the name of the folder, file or data set, without its extension."""
    name = re.split(r"[/\\:]", source.rstrip("/\\"))[-1] if is_hub_name(source) else Path(source).resolve().name
    return ARCHIVE.sub("", name) or "images"
