"""Publication of a model on the Hugging Face Hub."""

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from sfumato.diffusion.guidance import AutoGuided, default_autoguidance_scale
from sfumato.errors import ConfigError, RunError
from sfumato.evaluation.evaluate import RECORD
from sfumato.exchange.export import created, export
from sfumato.exchange.load import is_foreign, load_with_guidance_checkpoint
from sfumato.models import Model, model_folder, read_description
from sfumato.networks.custom import CustomConfig
from sfumato.sampling.generate import generate
from sfumato.sampling.sampler import default_sampler
from sfumato.sampling.solvers import solver_name
from sfumato.sharing.card import SAMPLES, Publication, card
from sfumato.sharing.published import as_lines, published_config, published_evaluations
from sfumato.sharing.repository import CARD, Existing, Repository
from sfumato.training.measurements import METRICS_FILE, read_metrics
from sfumato.training.run_directory import CONFIG, read_record, run_containing
from sfumato.utils import pictures
from sfumato.utils.devices import choose_device
from sfumato.utils.hub import PREFIX, checked_name
from sfumato.utils.imports import require_packages
from sfumato.utils.progress import sampling_bar

COLUMNS, MOST_COLUMNS = 8, 10
"""Columns of the picture without classes, and their maximum number with classes; it has two rows."""


def push(
    model: str | Path,
    repository: str,
    *,
    dry_run: str | Path | None = None,
    private: bool = False,
    license: str | None = None,
    data_sets: str | Sequence[str] = (),
    device: str = "auto",
    say: Callable[[str], None] = print,
) -> str:
    """Uploads a model to the Hugging Face Hub in one commit: its export to diffusers, and a model card.

    The card has samples, the results of `sfumato eval` for this model, and the settings of the run, in which paths are
    reduced to names. `sf.load("hf:USER/NAME")` loads the model. Tokens are left to huggingface_hub.

    Args:
        model: run directory, or another path as for `sf.load` (RUN/best is the best model of a run).
        repository: USER/NAME. An earlier push is replaced; other repositories are not.
        dry_run: new folder to which the files are written instead, without a login or a network; None: upload.
        private: whether a new repository is private.
        license: identifier of a license in the list of the Hub, such as "mit"; None: the card has none, or that of an
            earlier card.
        data_sets: names of the data sets on the Hub that the model was trained on.
        device: device that samples the images of the card: "cpu", "cuda" or "auto".
        say: called with messages for the user.

    Returns:
        Address of the repository, or path of the folder.

    Raises:
        ConfigError: an invalid name, a model that diffusers cannot contain, or `private` for a folder.
        RunError: there is no model, `dry_run` exists, huggingface_hub is missing, nobody is logged in, or the Hub does
            not accept the upload. No file is left on this computer, and none in the repository is changed; a new
            repository may exist, without files.
    """
    require_packages("a model card", "hub", "huggingface_hub")
    license, hub = None if license is None else license.lower(), Repository(checked_name(repository))
    names = [checked_name(each, "data set") for each in ([data_sets] if isinstance(data_sets, str) else data_sets)]
    if dry_run is not None and private:
        raise ConfigError("a folder was given as output, which cannot be private", "Leave out --private.")
    if dry_run is not None and (Path(dry_run).exists() or Path(dry_run).is_symlink()):
        raise RunError(f"{dry_run} exists already", "Choose another folder, or remove it.")
    with (
        tempfile.TemporaryDirectory(prefix="sfumato-") as scratch,
        created(Path(dry_run or f"{scratch}/model")) as folder,
    ):
        publication = _exported(Path(model), folder, hub.name, license, names, device)
        existing = hub.existing(private) if dry_run is None else None
        _write_card(publication, folder, existing, say)
        if dry_run is None:
            hub.upload(folder, existing, private, say)
    return hub.address if dry_run is None else str(dry_run)


def _exported(
    path: Path, folder: Path, repository: str, license: str | None, data_sets: Sequence[str], device: str
) -> Publication:
    """Exports a model to a new folder, with the files of its run."""
    network = None if is_foreign(path) else read_description(model_folder(path)).network
    if isinstance(network, CustomConfig):
        raise ConfigError(
            f"the network {network.architecture} is not part of sfumato, and a folder of diffusers cannot contain it",
            "Share the run directory and the file of the network instead; sf.load opens them with network=.",
        )
    chosen = choose_device(device)
    model, weaker = load_with_guidance_checkpoint(path, chosen)
    export(model, folder, guidance_checkpoint=weaker)
    assert isinstance(model, Model)  # others cannot be exported
    run = run_containing(path)
    publication = Publication(
        repository=repository,
        model=model,
        weaker=weaker,
        is_stock=not (folder / "pipeline.py").exists(),
        record=None if run is None else read_record(run),
        measurements=[] if run is None else read_metrics(run),
        evaluations=[] if run is None else published_evaluations(run, model.images_seen),
        license=license,
        data_sets=data_sets,
    )
    texts = {
        CONFIG: "" if run is None else published_config(run),
        METRICS_FILE: as_lines(publication.measurements),
        RECORD: as_lines(publication.evaluations),
    }
    for file, text in texts.items():
        if text:
            (folder / file).write_text(text, encoding="utf-8", newline="\n")
    return publication


def _write_card(publication: Publication, folder: Path, existing: Existing | None, say: Callable[[str], None]) -> None:
    """Writes the card with its picture, and says what the card lacks."""
    kept, notes = ({}, "") if existing is None else (existing.metadata, existing.notes)
    picture = _save_samples(publication.model, publication.weaker, folder / SAMPLES)
    (folder / CARD).write_text(card(publication, picture, kept, notes), encoding="utf-8", newline="\n")
    record = publication.record
    if publication.license is None and "license" not in kept:
        say("The card has no license: add --license ID, such as --license mit, or choose one on the Hub")
    if record is None:
        say("The card has no results, because evaluations belong to a run, and this is a model without its run")
    elif not publication.evaluations:
        say("The card has no results of this model: run sfumato eval first to add them")
    if record is not None and record.config.source.startswith(PREFIX) and not publication.data_sets:
        say("The card names no data set: add --data-set NAME if the images are from the Hub")


def _save_samples(model: Model, weaker: Model | None, file: Path) -> str:
    """Writes a picture of samples, and returns a sentence on it."""
    names = model.label_names
    columns = MOST_COLUMNS // len(names) * len(names) if 1 < len(names) <= MOST_COLUMNS else COLUMNS
    labels, count = names[: 2 * columns], 2 * columns
    scale = default_autoguidance_scale(model)
    guided = model if weaker is None else AutoGuided(model, weaker, scale)
    sampler = default_sampler(guided)
    steps = len(sampler.timesteps) - 1
    with sampling_bar(count, steps) as on_step:
        batches = generate(guided, count, sampler, labels=labels or None, seed=0, on_step=on_step)
        images = torch.cat([images for images, _ in batches])
    titles = [labels[i % len(labels)] for i in range(count)] if labels else None
    pictures.save_grid(model.depth.viewable(images), file, columns, titles)
    guidance = "without guidance" if weaker is None else f"autoguidance at scale {scale:g}"
    return f"{count} samples, not selected: {steps} steps of `{solver_name(sampler.solver)}`, {guidance}, seed 0."
