"""Prints the result of an evaluation as tables and sentences, or as JSON."""

import json
from collections.abc import Iterator, Sequence
from statistics import fmean
from typing import Any

from rich import table as rich_table
from rich.console import Console
from rich.text import Text

from sfumato.evaluation.evaluate import Evaluation
from sfumato.evaluation.metric import ClassColumn, Measurement, ReportTable, counted
from sfumato.utils.text import printable

MOST_CLASSES = 20
"""Maximum number of classes in the printed table; the JSON output has all."""


def print_report(evaluation: Evaluation, as_json: bool) -> None:
    """Prints JSON; or the numbers of images, the tables, the sentences, and the paths of the pictures."""
    facts, measurements = evaluation.facts, list(evaluation.measurements.values())
    if as_json:
        print(json.dumps(facts))
        return
    console = Console(highlight=False)
    for sentence in (*facts["notices"], image_counts(facts)):
        console.print(Text(printable(sentence)), soft_wrap=True)
    for table in tables(measurements):
        if table.rows:
            console.print()
            console.print(_drawn(table))
    sentences = [sentence for found in measurements for sentence in found.sentences]
    warnings = [facts["warning"]] if facts["warning"] else []
    for sentence in (*warnings, *sentences, "Pictures: " + ", ".join(facts["pictures"])):
        console.print(Text("\n" + printable(sentence)), soft_wrap=True)


def image_counts(facts: dict[str, Any]) -> str:
    """Sentence with the numbers of images of each kind and the features."""
    kinds = {"samples": "sample", "train": "training image", "held_out": "held-out real image"}
    samples, train, held_out = (counted(facts[kind], noun) for kind, noun in kinds.items())
    return f"{facts['subject']}: {samples} compared with {train} and {held_out}; features {facts['features']}."


def tables(measurements: Sequence[Measurement]) -> Iterator[ReportTable]:
    """All tables: the main one, that of classes, and those of single metrics; some may be empty."""
    rows = [(row.label, row.samples, row.held_out) for found in measurements for row in found.rows]
    yield ReportTable(("", "samples", "held-out real images"), rows)
    yield class_table([column for found in measurements for column in found.class_columns])
    for found in measurements:
        yield from found.tables


def class_table(columns: Sequence[ClassColumn]) -> ReportTable:
    """Table of at most `MOST_CLASSES` classes, those with the lowest mean score first."""
    values: dict[str, dict[str, float]] = {name: {} for column in columns for name in column.values}
    for column in columns:
        for name, value in column.values.items():
            if value is not None:
                values[name][column.title] = value
    titles = list(dict.fromkeys(column.title for column in columns))
    scores = {column.title for column in columns if column.is_score}
    measured = [name for name, found in values.items() if scores & found.keys()]
    measured.sort(key=lambda name: (fmean(values[name][title] for title in scores & values[name].keys()), name))
    rows = [(name, *(_cell(values[name].get(title)) for title in titles)) for name in measured[:MOST_CLASSES]]
    if rows and len(rows) < len(values):
        rows.append((f"... and {len(values) - len(rows):,} more",))
    return ReportTable(("worst classes", *titles), rows)


def _cell(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:,}" if isinstance(value, int) else f"{value:.3f}"


def _drawn(table: ReportTable) -> rich_table.Table:
    """Table without lines, with a bold first column."""
    drawn = rich_table.Table(box=None, pad_edge=False)
    for title in table.titles:
        drawn.add_column(title)
    for name, *cells in table.rows:
        drawn.add_row(Text(printable(name), style="bold"), *map(Text, cells))
    return drawn
