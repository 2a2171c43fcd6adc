"""An evaluation in words: a table for a person."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from sfumato.evaluation.evaluate import FEW

Row = tuple[str, str, str]
"""A quantity, its value for the samples, and its value for held-out real images."""


def print_report(facts: dict[str, Any], as_json: bool) -> None:
    """Prints the facts as JSON, or the table, the verdicts, and where the pictures are."""
    if as_json:
        print(json.dumps(facts, ensure_ascii=False))
        return
    console = Console(highlight=False)
    table = Table(box=None, pad_edge=False)
    for title in ("", "samples", "held-out real images"):
        table.add_column(title)
    for name, value, yardstick in rows(facts):
        table.add_row(Text(name, style="bold"), Text(value), Text(yardstick))
    console.print(table)
    for sentence in sentences(facts):
        console.print(Text("\n" + sentence), soft_wrap=True)
    console.print(Text("\nLook at " + ", ".join(facts["pictures"])), soft_wrap=True)


def rows(facts: dict[str, Any]) -> Iterator[Row]:
    """The numbers that samples and held-out images share."""
    metrics = facts["metrics"]
    yield "images", f"{facts['samples']:,}", f"{facts['held_out']:,} (training images: {facts['train']:,})"
    if found := metrics.get("distance"):
        samples, real = found["samples"], found["held_out"]
        yield f"Frechet distance ({found['features']})", _with_interval(samples), _with_interval(real)
        same = found["as_many"]
        yield f"  of {same['images']:,} images each", _number(same["samples"]), _number(same["held_out"])
        yield "  for infinitely many", _number(samples["frechet_limit"]), _number(real["frechet_limit"])
        yield "kernel distance", _with_error(samples["kernel"]), _with_error(real["kernel"])
    if found := metrics.get("coverage"):
        for name in ("precision", "recall", "density", "coverage"):
            yield name, _field(found["samples"], name), _field(found["held_out"], name)
    if found := metrics.get("agreement"):
        yield "a classifier agrees with the label", _share(found["samples"]), _share(found["held_out"])
    if found := metrics.get("likelihood"):
        yield "bits per dimension", "", f"{found['bits']:.3f} +- {found['error']:.3f} ({found['images']:,} images)"


def sentences(facts: dict[str, Any]) -> Iterator[str]:
    """What a number cannot say."""
    metrics = facts["metrics"]
    if "distance" in metrics and facts["samples"] < FEW:
        yield (
            f"Distances grow when there are few images: these are of {facts['samples']:,} samples. Compare them with "
            f"others of the same number only, or draw {FEW:,} with --count {FEW}."
        )
    if found := metrics.get("memorization"):
        yield from (f"By {name}: {result['sentence']}" for name, result in found.items())
        yield (
            "closest.png shows the closest samples, each beside its training image, and then the closest held-out "
            "images beside theirs."
        )
    if found := metrics.get("drift"):
        yield found["sentence"]


def _number(value: float | None) -> str:
    return "too few images" if value is None else f"{value:.4g}"


def _with_interval(found: dict[str, Any]) -> str:
    low, high = found["frechet_interval"]
    return f"{found['frechet']:.4g} ({low:.4g} to {high:.4g})"


def _with_error(found: list[float] | None) -> str:
    return "too few images" if found is None else f"{found[0]:.3g} +- {found[1]:.1g}"


def _field(found: dict[str, Any] | None, name: str) -> str:
    return _number(None if found is None else found[name])


def _share(found: dict[str, Any] | None) -> str:
    return "" if found is None else f"{found['share']:.1%}"
