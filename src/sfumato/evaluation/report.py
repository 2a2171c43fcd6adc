"""An evaluation in words: tables for a person."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from sfumato.evaluation.evaluate import FEW
from sfumato.utils.text import printable

Row = tuple[str, ...]

MOST_CLASSES = 20
"""Shown to a person; all are in the record."""

COVERED = ("precision", "recall", "density", "coverage")

NO_NUMBER = "too few images"


def print_report(facts: dict[str, Any], as_json: bool) -> None:
    """Prints the facts as JSON; or what was compared, the tables, the verdicts, and where the pictures are."""
    if as_json:
        print(json.dumps(facts))
        return
    console = Console(highlight=False)
    for sentence in (*facts["notices"], compared(facts)):
        console.print(Text(printable(sentence)), soft_wrap=True)
    numbers = _table(("", "samples", "held-out real images"), rows(facts["metrics"]))
    for table in (numbers, classes(facts["metrics"]), drift(facts["metrics"])):
        if table.row_count:
            console.print()
            console.print(table)
    for sentence in (*sentences(facts), "Look at " + ", ".join(facts["pictures"])):
        console.print(Text("\n" + printable(sentence)), soft_wrap=True)


def compared(facts: dict[str, Any]) -> str:
    """How many images of which kind, in which features."""
    kinds = {"samples": "sample", "train": "training image", "held_out": "held-out real image"}
    samples, train, held_out = (_counted(facts[kind], what) for kind, what in kinds.items())
    return f"{facts['subject']}: {samples} beside {train} and {held_out}; features {facts['features']}."


def rows(metrics: dict[str, Any]) -> Iterator[Row]:
    """The numbers that samples and held-out images share."""
    if found := metrics.get("distance"):
        samples, real, same = found["samples"], found["held_out"], found["as_many"]
        yield "Frechet distance", _with_interval(samples), _with_interval(real)
        yield f"  {_counted(same['images'], 'image')} each", _number(same["samples"]), _number(same["held_out"])
        yield "  for infinitely many", _number(samples["frechet_limit"]), _number(real["frechet_limit"])
        yield "kernel distance", _with_error(samples["kernel"]), _with_error(real["kernel"])
    if found := metrics.get("coverage"):
        for name in COVERED:
            yield name, _field(found["samples"], name), _field(found["held_out"], name)
            if name in ("recall", "coverage"):
                same = found["as_many"]
                both = (_field(same[kind], name) for kind in ("samples", "held_out"))
                yield f"  {_counted(same['images'], 'image')} each", *both
    if found := metrics.get("agreement"):
        yield "classifier agrees", _share(found["samples"]), _share(found["held_out"])
    if found := metrics.get("likelihood"):
        yield "bits per dimension", "", f"{found['bits']:.3f} +- {found['error']:.3f} ({found['images']:,} images)"


def classes(metrics: dict[str, Any]) -> Table:
    """What is known of each class, those with the lowest shares first; without rows where there are none."""
    covered = (metrics.get("coverage") or {}).get("classes") or {}
    recognised = ((metrics.get("agreement") or {}).get("samples") or {}).get("classes") or {}
    asked = covered.keys() | recognised.keys()
    known = {name: (covered.get(name) or {}) | _agreed(recognised.get(name)) for name in asked}
    shown = sorted((name for name in known if known[name]), key=lambda name: (_worth(known[name]), name))[:MOST_CLASSES]
    counts = {"samples": "images"} | ({"real": "real"} if covered else {})
    shares = (*(COVERED if covered else ()), *(("agrees",) if recognised else ()))
    listed: list[Row] = [(name, *_cells(known[name], [*counts.values()], shares)) for name in shown]
    if shown and len(shown) < len(known):
        listed.append((f"... and {len(known) - len(shown):,} more",))
    return _table(("class, worst first", *counts, *shares), listed)


def _agreed(found: dict[str, Any] | None) -> dict[str, Any]:
    return {} if found is None else {"images": found["images"], "agrees": found["share"]}


def _worth(of: dict[str, Any]) -> float:
    """The mean of the shares that are known of a class."""
    shares = [of[name] for name in ("precision", "recall", "coverage", "agrees") if name in of]
    return float(sum(shares)) / len(shares)


def _cells(of: dict[str, Any], counts: Sequence[str], shares: Sequence[str]) -> list[str]:
    numbers = [f"{of[name]:,}" if name in of else "-" for name in counts]
    return numbers + [f"{of[name]:.3f}" if name in of else "-" for name in shares]


def drift(metrics: dict[str, Any]) -> Table:
    """Every quantity of colour, contrast and detail; without rows where none was measured."""
    changes = (metrics.get("drift") or {}).get("changes") or ()
    titles = ("drift", "samples", "training images", "change", "")
    return _table(titles, [(*_drifted(each), "significant" if each["significant"] else "") for each in changes])


def _drifted(change: dict[str, Any]) -> Row:
    size = f"{100 * change['change']:+.1f} +- {100 * change['error']:.1f} %"
    return change["quantity"], f"{change['samples']:.4f}", f"{change['data']:.4f}", size


def sentences(facts: dict[str, Any]) -> Iterator[str]:
    """What a number cannot say."""
    metrics, warning = facts["metrics"], facts["warning"]
    if warning:
        yield warning
    if found := metrics.get("memorization"):
        yield from (f"By {name}: {result['sentence']}" for name, result in found.items())
    if found := metrics.get("drift"):
        yield found["sentence"]


def warning_of(samples: int, metrics: dict[str, Any]) -> str | None:
    """What to beware of when there are few samples; None where there are enough, or what is measured needs none."""
    if samples >= FEW or not metrics.keys() & {"distance", "coverage"}:
        return None
    return (
        f"Few samples: Frechet distances, recall and coverage depend on how many there are, here {samples:,}. Compare "
        f"them only with those of as many samples, or judge {FEW:,} or more."
    )


def _table(titles: Row, listed: Iterator[Row] | list[Row]) -> Table:
    """A plain table whose first column is bold."""
    table = Table(box=None, pad_edge=False)
    for title in titles:
        table.add_column(title)
    for name, *cells in listed:
        table.add_row(Text(printable(name), style="bold"), *map(Text, cells))
    return table


def _number(value: float | None) -> str:
    return NO_NUMBER if value is None else f"{value:.4g}"


def _with_interval(found: dict[str, Any]) -> str:
    if found["frechet"] is None:
        return NO_NUMBER
    low, high = found["frechet_interval"]
    return f"{found['frechet']:.4g} ({low:.4g} to {high:.4g})"


def _with_error(found: dict[str, Any] | None) -> str:
    return NO_NUMBER if found is None else f"{found['distance']:.3g} +- {found['error']:.1g}"


def _field(found: dict[str, Any] | None, name: str) -> str:
    return _number(None if found is None else found[name])


def _share(found: dict[str, Any] | None) -> str:
    return "" if found is None else f"{100 * found['share']:.1f} %"


def _counted(count: int, what: str) -> str:
    return f"{count:,} {what}{'s' if count != 1 else ''}"
