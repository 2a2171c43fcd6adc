"""Summary of a run: a table, JSON, and curves."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from sfumato.data.conditions import Category, Number
from sfumato.diffusion.schedules import build_schedule
from sfumato.models import DESCRIPTION, MODEL, read_description
from sfumato.networks.convnet import ConvNetConfig
from sfumato.networks.custom import CustomConfig
from sfumato.reports.curves import distance_panels, loss_panels
from sfumato.training.measurements import best_of, read_metrics
from sfumato.training.run_directory import kept_best, read_record
from sfumato.training.state import Budget, Counters
from sfumato.utils import pictures
from sfumato.utils.text import printable_lines

MOST_NAMED_CLASSES = 20


def summarize(run: Path) -> dict[str, Any]:
    """Facts on the run in a run directory: data, model, training progress, latest losses, files.

    Raises:
        RunError: It is not a run, or its files are invalid.
    """
    record = read_record(run)
    config, learned = record.config, record.learned
    measurements = read_metrics(run)
    training = [m for m in measurements if m["kind"] == "train"]
    validation = [m for m in measurements if m["kind"] == "validation"]
    evaluations = [m for m in measurements if m["kind"] == "evaluation"]
    best = best_of(measurements)
    kept = kept_best(run, best)
    last: dict[str, Any] = {"images": 0, "steps": 0, "seconds": 0.0, "loss": None, "skipped": 0}
    last |= training[-1] if training else {}
    budget = Budget.of(config.optimization)
    checkpoints = sorted((run / "checkpoints").glob("*.safetensors"))
    return {
        "run": str(run),
        "data": {"source": config.source, "images": learned.images, "image_shape": list(learned.image_shape)},
        "labels": list(learned.label_names),
        "columns": [asdict(column) for column in learned.columns],
        "preset": config.preset,
        "schedule": config.diffusion.schedule,
        "parametrization": config.diffusion.parametrization,
        "network": _network(run / MODEL),
        "images_seen": last["images"],
        "images": config.optimization.images,
        "minutes": config.optimization.minutes,
        "share": budget.spent(Counters(images_seen=last["images"], seconds=last["seconds"])),
        "steps": last["steps"],
        "skipped_steps": last["skipped"],
        "seconds": last["seconds"],
        "loss": last["loss"],
        "heldout_loss": validation[-1]["loss"] if validation else None,
        "evaluation": evaluations[-1] if evaluations else None,
        "best": best and asdict(best) | {"model": kept and str(kept)},
        "checkpoints": [str(path) for path in checkpoints],
    }


def save_curves(run: Path, file: Path) -> Path | None:
    """Plots the measurements of a run to `file`, with the best checkpoint marked; None without measurements.

    Raises:
        RunError: It is not a run, its files are invalid, or `file` could not be written.
    """
    measurements = read_metrics(run)
    if not measurements:
        return None
    diffusion = read_record(run).config.diffusion
    schedule = build_schedule(diffusion.schedule, zero_terminal_snr=diffusion.zero_terminal_snr, shift=diffusion.shift)
    pictures.plot([*loss_panels(measurements, schedule), *distance_panels(measurements)], file)
    return file


def print_summary(summary: dict[str, Any], as_json: bool) -> None:
    """Prints the facts of `summarize` as JSON or as a table."""
    if as_json:
        print(json.dumps(summary))
        return
    table = Table(show_header=False, box=None)
    for name, value in _sentences(summary):
        table.add_row(Text(name, style="bold"), Text(printable_lines(value)))
    Console(highlight=False).print(table)


def _network(model: Path) -> dict[str, Any] | None:
    if not (model / DESCRIPTION).is_file():
        return None
    network = read_description(model).network
    if isinstance(network, CustomConfig):
        return {"kind": network.architecture}
    kind = "ConvNet" if isinstance(network, ConvNetConfig) else "UNet"
    return {"kind": kind, "width": network.width, "multipliers": list(network.multipliers), "blocks": network.blocks}


def _distance(evaluation: dict[str, Any]) -> str:
    if evaluation["distance"] is None:
        return "the samples are not finite"
    real = evaluation.get("held_out")
    comparison = "" if real is None else f"; equal number of held-out images: {real:.4g}"
    samples = f"{evaluation['features']}, {evaluation['count']:,} samples"
    return f"{evaluation['distance']:.4g} (Frechet, {samples}{comparison})"


def _best(best: dict[str, Any] | None) -> str:
    if best is None:
        return "none yet"
    what = {"distance": "distance", "loss": "validation loss"}[best["quantity"]]
    kept = "the model was not kept" if best["model"] is None else f"the model is {best['model']}"
    return f"after {best['images']:,} images, by {what} ({best['value']:.4g}); {kept}"


def _sentences(facts: dict[str, Any]) -> list[tuple[str, str]]:
    """Headings and sentences of the table."""
    data, network, labels, evaluation = facts["data"], facts["network"], facts["labels"], facts["evaluation"]
    channels, height, width = data["image_shape"]
    shown = ", ".join(labels[:MOST_NAMED_CLASSES]) + (", ..." if len(labels) > MOST_NAMED_CLASSES else "")
    columns = [Number(**each) if each["kind"] == "number" else Category(**each) for each in facts["columns"]]
    own = "{kind}, {width} channels x {multipliers}, blocks per level: {blocks}"
    model = "none yet" if network is None else network["kind"] if len(network) == 1 else own.format(**network)
    losses = {"training": facts["loss"], "held out": facts["heldout_loss"]}
    return [
        ("run", facts["run"]),
        ("data", f"{data['source']}: {data['images']:,} images of {height}x{width}x{channels}"),
        ("classes", f"{len(labels)}: {shown}" if labels else "none"),
        ("conditions", ", ".join(map(str, columns)) or "none"),
        ("model", f"preset {facts['preset']}: {model}"),
        ("process", f"schedule {facts['schedule']}; the network predicts {facts['parametrization']}"),
        (
            "progress",
            f"{facts['share']:.0%} of {Budget(facts['images'], facts['minutes'])}: {facts['images_seen']:,} images in "
            f"{facts['steps']:,} steps, {facts['seconds'] / 60:.1f} minutes; {facts['skipped_steps']} steps skipped",
        ),
        ("loss", ", ".join(f"{name} {loss:.4f}" for name, loss in losses.items() if loss is not None) or "none yet"),
        *([] if evaluation is None else [("distance", _distance(evaluation))]),
        ("best", _best(facts["best"])),
        ("checkpoints", "\n".join(facts["checkpoints"]) or "none yet"),
        ("curves", facts["curves"] or "none yet"),
    ]
