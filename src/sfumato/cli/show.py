"""`sfumato show`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from sfumato.cli.sampling_options import Run
from sfumato.errors import RunError
from sfumato.utils.flags import optional_flag


@dataclass(frozen=True)
class Show:
    """Show a run's configuration, progress and curves.
    It can be used during training.

    Example:
      sfumato show runs/digits

      RUN                 run directory
      --out PATH          file for the curves (default: curves.png in RUN)
      --json              print JSON
    """

    run_directory: Run
    out: Annotated[Path | None, optional_flag("PATH", "curves.png in the run directory")] = None
    """File for the curves. The default is skipped if the run directory is read-only."""
    json: bool = False
    """Print JSON."""

    def run(self) -> int:
        """Prints the summary and returns the exit code."""
        from sfumato.reports.summary import print_summary, save_curves, summarize
        from sfumato.training.run_directory import run_containing
        from sfumato.utils.progress import print_sentence

        run = run_containing(self.run_directory) or self.run_directory
        summary = summarize(run)
        curves, code = None, 0
        try:
            curves = save_curves(run, self.out or run / "curves.png")
        except RunError as error:
            print_sentence(f"sfumato: {error}", stderr=True)
            code = 0 if self.out is None else 2
        print_summary(summary | {"curves": curves and str(curves)}, self.json)
        return code
