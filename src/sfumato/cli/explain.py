"""`sfumato explain`."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from sfumato.cli.sampling_options import Backbone
from sfumato.training.data_config import ReadConfig
from sfumato.utils.flags import optional_flag


@dataclass(frozen=True)
class Explain:
    """Plot the diffusion process of a data set or a trained model.
    forward.png shows the forward process, reverse.png the reverse process with
    the predicted images, schedule.png the noise schedule, loss.png the training
    loss of a run. For a data set, the exact denoiser of its images is used, so
    that samples are copies of them.

    Examples:
      sfumato explain runs/digits --out pictures
      sfumato explain photos/ --size 64 --out pictures

      RUN|DATA            run, folder of diffusers, or images, as for train
                          (hf:NAME is a data set, not a model)
      --out PATH          folder for the figures (default: explained)
      --size 64|64x96     resize the images (default: their common size)
      --backbone PATH     class of your own network: nets.py:MyNet
      --device cuda:1     cpu, cuda, cuda:1 or mps (default: the fastest)
    """

    source: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="RUN|DATA")]
    """Run directory, folder of diffusers, or images as for `sfumato train`; hf:NAME is a data set."""
    out: Path = Path("explained")
    """Folder for the figures."""
    reading: Annotated[ReadConfig, tyro.conf.arg(name="")] = field(default_factory=ReadConfig)
    cache: Annotated[Path | None, optional_flag("PATH", "$SFUMATO_CACHE, or the user cache folder")] = None
    """Folder for decoded images."""
    backbone: Backbone = None
    device: str = "auto"
    """Device of a RUN: cpu, cuda, cuda:1, mps or auto (the fastest available)."""

    def run(self) -> int:
        """Plots and returns the exit code."""
        from sfumato.data import read_images
        from sfumato.exchange.from_diffusers import is_diffusers_folder
        from sfumato.exchange.load import load
        from sfumato.reports.explain import DATA_SCHEDULE, explain_data, explain_run, steps_of
        from sfumato.training.run_directory import is_model, run_containing, training_images
        from sfumato.utils.devices import choose_device
        from sfumato.utils.progress import print_sentence, sampling_bar

        run = Path(self.source)
        if is_model(run) or is_diffusers_folder(run):
            home = run_containing(run)
            model = load(run, choose_device(self.device), network=self.backbone)
            images = None if home is None else training_images(home, self.cache)
            if images is None:
                print_sentence("The training images were not found. Samples of the model are shown in their place.")
            with sampling_bar(2, steps_of(model.schedule)) as on_step:
                written = explain_run(model, home or run, images, self.out, on_step)
        else:
            images = read_images(self.source, self.reading.options(), cache=self.cache)
            for notice in filter(lambda notice: notice.matters, images.notices):
                print_sentence(str(notice))
            with sampling_bar(2, steps_of(DATA_SCHEDULE)) as on_step:
                written = explain_data(images, self.out, on_step)
        print_sentence(f"Saved {', '.join(str(path) for path in written)}")
        return 0
