"""Prints the result of an inspection as a table or JSON."""

import json
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from sfumato.utils.text import printable, printable_lines, size_title

MOST_KINDS = 6
LISTED_CLASSES = 20
MOST_FILES = 3

IMBALANCE = 10
"""Ratio of class sizes from which the classes are reported as imbalanced."""


def print_findings(facts: dict[str, Any], written: list[str], as_json: bool) -> None:
    """Prints the facts of `inspection.inspect` and the paths of the written pictures as JSON or as a table."""
    if as_json:
        print(json.dumps(facts | {"pictures": written}))
        return
    table = Table(show_header=False, box=None)
    for name, value in sentences(facts):
        table.add_row(Text(name, style="bold"), Text(printable_lines(value)))
    if written:
        table.add_row(Text("pictures", style="bold"), Text(printable(", ".join(written))))
    console = Console(highlight=False)
    console.print(table)
    console.print(Text(f"\nTo train on it:\n  {printable(facts['command'])}"), soft_wrap=True)


def sentences(facts: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Headings and sentences of the table."""
    size = facts["bytes"]
    yield (
        "images",
        f"{facts['images']:,}" + "".join(f"; {count:,} for {name}" for name, count in facts["splits"].items()),
    )
    yield "sizes", _listed(facts["sizes"], MOST_KINDS)
    yield "modes", _listed(facts["modes"], MOST_KINDS)
    yield "depths", _listed(facts["depths"], MOST_KINDS)
    yield "values", _values(facts["values"])
    if facts["columns"]:
        yield "columns", ", ".join(facts["columns"])
    else:
        yield "classes", _classes(facts["classes"])
    yield "unreadable", _unreadable(facts["unreadable"])
    if facts["other_files"]:
        yield "other files", _listed(facts["other_files"], MOST_KINDS)
    yield "duplicates", _duplicates(facts)
    for notice in facts["notices"]:
        if notice["topic"] not in ("unreadable", "range"):  # these have their own rows
            yield notice["topic"], notice["text"] + (f" To change it: {notice['flag']}." if notice["flag"] else "")
    yield "training format", "{width}x{height} pixels, {mode}, {depth}".format(**facts["learned_as"])
    yield (
        "memory",
        f"{size_title(size['images'])} on disk for the decoded images, and the same on the device if available; "
        f"{size_title(size['network'])} for the network; "
        f"{size_title(size['batch'])} for a batch, half of that in bfloat16",
    )
    if facts["forecast"]:
        yield "forecast", "\n".join(facts["forecast"])


def _values(values: dict[str, Any]) -> str:
    black, white = values["black"], values["white"]
    low, high = values.get("low", black), values.get("high", white)
    if (low, high) == (black, white):
        return f"{low:,.6g} to {high:,.6g}, used as black and white (--range LOW HIGH)"
    return f"{low:,.6g} to {high:,.6g}; {black:,.6g} and {white:,.6g} are used as black and white (--range LOW HIGH)"


def _listed(counts: dict[str, int], most: int) -> str:
    shown = ", ".join(f"{count:,} of {name}" for name, count in list(counts.items())[:most])
    return shown + (f", and {len(counts) - most:,} more kinds" if len(counts) > most else "")


def _classes(counts: dict[str, int]) -> str:
    if not counts:
        return "none"
    shown = ", ".join(f"{name} ({count:,})" for name, count in list(counts.items())[:LISTED_CLASSES])
    more = f", and {len(counts) - LISTED_CLASSES:,} more" if len(counts) > LISTED_CLASSES else ""
    largest, smallest = max(counts, key=counts.__getitem__), min(counts, key=counts.__getitem__)
    ratio = counts[largest] / max(counts[smallest], 1)
    uneven = f"\nimbalanced: {largest} has {ratio:.0f} times as many images as {smallest}" if ratio >= IMBALANCE else ""
    return f"{len(counts)}: {shown}{more}{uneven}"


def _unreadable(files: list[dict[str, str]]) -> str:
    """Number of unreadable files for each reason, most frequent first, with some of their names."""
    if not files:
        return "none"
    by_reason = defaultdict(list)
    for file in files:
        by_reason[file["reason"]].append(file["name"])
    lines = [f"{len(files):,}, skipped in training (--json lists all)"]
    for reason, names in sorted(by_reason.items(), key=lambda item: -len(item[1]))[:MOST_KINDS]:
        shown = ", ".join(names[:MOST_FILES]) + (", ..." if len(names) > MOST_FILES else "")
        lines.append(f"{len(names):,}: {reason} ({shown})")
    return "\n".join(lines)


def _duplicates(facts: dict[str, Any]) -> str:
    same, alike = facts["duplicates"], facts["near_duplicates"]
    words = [f"{same['images']:,} images have the same pixels as another" if same["images"] else "none"]
    if alike is not None and alike["images"] > same["images"]:
        groups = f"{alike['groups']:,} group{'s' if alike['groups'] > 1 else ''}"
        words.append(f"{alike['images']:,} images are nearly equal to another ({groups})")
    return "; ".join(words)
