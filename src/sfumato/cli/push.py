"""`sfumato push`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from sfumato.cli.sampling_options import Run, current_or_best
from sfumato.utils.flags import optional_flag


@dataclass(frozen=True)
class Push:
    """Upload a trained model to the Hugging Face Hub.
    Its page shows samples, results of `sfumato eval` and training settings, in
    which paths are reduced to names. Log in before with: hf auth login

    Examples:
      sfumato push runs/flowers anna/flowers --license mit
      sfumato push runs/flowers anna/flowers --dry-run flowers-on-the-hub

      RUN                 run directory
      REPOSITORY          USER/NAME; an earlier push is replaced
      --license ID        such as mit, apache-2.0 or cc-by-4.0 (default: none)
      --private           make a new repository private
      --model best        best model of the run (default: current)
      --data-set NAME     data set on the Hub that the model was trained on
      --dry-run OUT       write a new folder, and upload nothing
      --device cuda:1     cpu, cuda, cuda:1 or mps (default: the fastest)
    """

    run_directory: Run
    repository: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="REPOSITORY")]
    """USER/NAME. It is created if it does not exist. An earlier push is replaced in one commit; a repository with files
    of another origin is not changed."""
    license: Annotated[str | None, optional_flag("ID", "none, or that of the earlier card")] = None
    """License of the model: an identifier of huggingface.co/docs/hub/repositories-licenses."""
    private: bool = False
    """Makes a new repository private. It is an error if the repository exists and is public."""
    model: Literal["current", "best"] = "current"
    """Current or best model of the run."""
    data_set: Annotated[tuple[str, ...], optional_flag("NAME [NAME ...]", "none")] = ()
    """Data sets on the Hub that the model was trained on, for the metadata of its page."""
    dry_run: Annotated[Path | None, optional_flag("OUT", "upload")] = None
    """Writes a new folder with all files, and uploads nothing. It needs neither a login nor a network."""
    device: str = "auto"
    """Device that samples images for the page: cpu, cuda, cuda:1, mps or auto (the fastest available)."""

    def run(self) -> int:
        """Pushes and returns the exit code."""
        from sfumato.sharing.push import push
        from sfumato.utils.devices import device_failures
        from sfumato.utils.progress import print_sentence
        from sfumato.utils.signals import interrupt_hint

        run = current_or_best(self.run_directory, self.model)
        remedy = "Run the same command again."
        hint = (
            f"The upload is one commit: the Hub has all of it or nothing. {remedy}" if self.dry_run is None else remedy
        )
        with interrupt_hint(hint), device_failures(remedy):
            place = push(
                run,
                self.repository,
                dry_run=self.dry_run,
                private=self.private,
                license=self.license,
                data_sets=self.data_set,
                device=self.device,
                say=print_sentence,
            )
        print_sentence(f"Model {'pushed' if self.dry_run is None else 'written'} to {place}")
        return 0
