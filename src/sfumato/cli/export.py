"""`sfumato export`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from sfumato.cli.sampling_options import Backbone, ModelPath, current_or_best
from sfumato.errors import ConfigError
from sfumato.utils.flags import optional_flag


@dataclass(frozen=True)
class Export:
    """Export a trained model for other programs.
    diffusers: a folder for DiffusionPipeline.from_pretrained.
    onnx: a file for onnxruntime. web: a page that samples in the browser.

    Examples:
      sfumato export runs/digits digits-diffusers
      sfumato export runs/digits digits.onnx --to onnx
      sfumato export runs/flowers page --to web --model best --serve

      RUN                 run directory, folder of diffusers, or hf:USER/NAME
      OUT                 new folder, or new file for onnx
      --to FORMAT         diffusers (default), onnx or web
      --model best        best model of the run (default: current)
      --half              weights in float16: half the size (onnx, web)
      --runtime DIR       npm package onnxruntime-web, to copy it (web)
      --serve             show the page on this computer (web)
      --backbone PATH     class of your own network: nets.py:MyNet
    """

    run_directory: ModelPath
    out: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="OUT", help="New folder, or new file for onnx.")]
    to: Annotated[str, tyro.conf.arg(metavar="FORMAT")] = "diffusers"
    """diffusers: folder for `DiffusionPipeline.from_pretrained`. onnx: one file, whose inputs and output its metadata
    describe. web: folder with a web page that samples in the browser, for any web server."""
    model: Literal["current", "best"] = "current"
    """Current or best model of the run."""
    half: bool = False
    """Stores the weights in float16 (onnx, web). The difference from PyTorch is printed."""
    runtime: Annotated[Path | None, optional_flag("DIR", "the page loads it from a public server")] = None
    """Folder with the npm package onnxruntime-web, which is copied to the page for use without a network (web)."""
    serve: bool = False
    """Serves the page on this computer until Ctrl-C (web)."""
    backbone: Backbone = None

    def run(self) -> int:
        """Exports and returns the exit code."""
        from sfumato.exchange.export import export
        from sfumato.utils.progress import print_sentence, stages_bar

        if self.serve and self.to != "web":
            raise ConfigError("--serve was given without --to web", "Leave it out, or add --to web.")
        run = current_or_best(self.run_directory, self.model)
        with stages_bar() as begin:
            begin(f"export of {run}", 1)
            message = export(run, self.out, self.to, half=self.half, runtime=self.runtime, network=self.backbone)
        print_sentence(f"Model exported to {self.out}. {message}")
        if self.serve:
            _serve(self.out)
        elif self.to == "web":
            print_sentence(f"Any web server can serve it, such as: python -m http.server --directory {self.out}")
        return 0


def _serve(folder: Path) -> None:
    """Serves a page until Ctrl-C."""
    import threading
    from contextlib import suppress

    from sfumato.exchange.web import serve
    from sfumato.utils.progress import print_sentence

    with serve(folder) as address, suppress(KeyboardInterrupt):
        print_sentence(f"Open {address} in a browser. Press Ctrl-C to stop the server")
        threading.Event().wait()
