"""Model card: the README.md of a model on the Hugging Face Hub, with its metadata."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import Any

from sfumato.evaluation.metric import Facts
from sfumato.models import Model
from sfumato.networks.convnet import ConvNet
from sfumato.sharing.published import without_folders
from sfumato.sharing.results import TASK, Results
from sfumato.training.run_directory import RunRecord
from sfumato.utils.depth import Depth
from sfumato.utils.hub import PREFIX, is_hub_name
from sfumato.utils.text import printable

SAMPLES = "samples.png"

MARK = "<!-- `sfumato push` writes everything above this line. Text below it is kept. -->"
"""Line in a card; a later push keeps the text after it."""

TAGS = ("sfumato", "diffusion")
"""Tags of each card. The first marks a repository that sfumato wrote."""

BUILT_IN = {
    "digits": "[handwritten digits](https://doi.org/10.24432/C50P49) (E. Alpaydin and C. Kaynak, 1998, CC BY 4.0)",
    "shapes": "coloured shapes that sfumato draws (`shapes`)",
}
"""Descriptions of the built-in data sets."""

MOST_NAMES = 20
"""Maximum number of classes that the text lists."""

COLOURS = {1: "grey", 3: "RGB"}


@dataclass(frozen=True)
class Publication:
    """A model for publication.

    Attributes:
        repository: USER/NAME.
        model: the model.
        weaker: its guidance checkpoint.
        is_stock: whether diffusers loads it with its own classes.
        record: configuration of its run, if known.
        measurements: lines of metrics.jsonl.
        evaluations: lines of evaluations.jsonl.
        license: identifier of the license.
        data_sets: names of its data sets on the Hub.
    """

    repository: str
    model: Model
    weaker: Model | None = None
    is_stock: bool = False
    record: RunRecord | None = None
    measurements: Sequence[Facts] = ()
    evaluations: Sequence[Facts] = ()
    license: str | None = None
    data_sets: Sequence[str] = ()

    @cached_property
    def results(self) -> Results:
        """The last results of all metrics."""
        return Results(self.evaluations)

    @property
    def source(self) -> str | None:
        """Source of the training images, without folders."""
        return None if self.record is None else without_folders(self.record.config.source)

    @property
    def start(self) -> str | None:
        """Model that the training started from, without folders."""
        start = None if self.record is None else self.record.config.network.start
        return start if start is None or is_hub_name(start) else without_folders(start)


def card(publication: Publication, picture: str, kept: Mapping[str, Any], notes: str = "") -> str:
    """Writes a model card.

    Args:
        publication: the model.
        picture: sentence on the picture of samples.
        kept: metadata of an earlier card. The license, the tags, and the fields that sfumato does not write are kept.
        notes: text for the end, from an earlier card.
    """
    sections = [
        f"# {publication.repository.partition('/')[2]}",
        f"{_introduction(publication)}\n\n![Samples]({SAMPLES})\n\n{picture}",
        _use(publication),
        _results(publication),
        _details(publication),
        _limits(publication, bool(publication.license or kept.get("license"))),
        MARK,
    ]
    text = "\n\n".join(section for section in sections if section)
    end = f"\n\n{notes.strip()}\n" if notes.strip() else "\n"
    return f"---\n{_metadata(publication, kept)}\n---\n\n{text}{end}"


def _metadata(publication: Publication, kept: Mapping[str, Any]) -> str:
    """YAML of the metadata, written and checked by huggingface_hub."""
    from huggingface_hub import ModelCardData

    tags, name, start = kept.get("tags"), publication.source or "training images", publication.start or ""
    data_set = publication.data_sets[0] if publication.data_sets else None
    entries = publication.results.entries(data_set or "images", data_set or name)
    own: dict[str, Any] = {
        "license": publication.license or kept.get("license"),
        "library_name": "diffusers",
        "pipeline_tag": TASK,
        "base_model": start.removeprefix(PREFIX).partition("@")[0] if is_hub_name(start) else None,
        "datasets": list(publication.data_sets) or None,
        "tags": [*TAGS, *(tag for tag in (tags if isinstance(tags, list) else []) if tag not in TAGS)],
        "model_name": publication.repository.partition("/")[2] if entries else None,
        "eval_results": entries or None,
    }
    others = {key: value for key, value in kept.items() if isinstance(key, str) and key not in {*own, "model-index"}}
    return ModelCardData(**others, **own).to_yaml()


def _introduction(publication: Publication) -> str:
    model = publication.model
    channels, height, width = model.image_shape
    kind = "class-conditional" if model.label_names else "conditional" if model.columns else "unconditional"
    start = f"{'An' if kind == 'unconditional' else 'A'} {kind} diffusion model of images of {width}x{height} pixels"
    source = "" if publication.source is None else f", trained on {_data(publication)}"
    return f"{start} ({_colour(channels, model.depth)}){source}."


def _data(publication: Publication) -> str:
    """The data set, in words."""
    source = publication.source or ""
    if publication.data_sets:
        return " and ".join(f"[{name}](https://huggingface.co/datasets/{name})" for name in publication.data_sets)
    return BUILT_IN.get(source, f"images in `{printable(source)}`")


def _colour(channels: int, depth: Depth) -> str:
    colours = COLOURS | ({4: "RGBA"} if depth.opacity else {})
    bits = {"uint8": "8 bits", "uint16": "16 bits", "float32": "32-bit floats"}[depth.dtype]
    return f"{colours.get(channels, f'{channels} channels')}, {bits}"


def _use(publication: Publication) -> str:
    name, labels = publication.repository, list(publication.model.label_names)
    chosen = f", class_labels={json.dumps(labels[:2], ensure_ascii=False)}" if labels else ""
    all_labels = ", labels=list(model.label_names)" if labels else ""
    output = "" if publication.model.image_shape[0] in (1, 3, 4) else ', output_type="np"'
    pipeline, trust = (
        ("DDPMPipeline", "") if publication.is_stock else ("DiffusionPipeline", ", trust_remote_code=True")
    )
    note = (
        ""
        if publication.is_stock
        else (
            "\n`trust_remote_code=True` lets diffusers run the code in this repository: `pipeline.py` and the files of "
            "the network and the noise schedule, which are plain PyTorch. sfumato does not run them.\n"
        )
    )
    return f"""## Use

With [diffusers](https://huggingface.co/docs/diffusers):

```python
from diffusers import {pipeline}

pipeline = {pipeline}.from_pretrained("{name}"{trust})
images = pipeline(batch_size=4{chosen}{output}).images
```
{note}
With sfumato:

```python
import sfumato as sf

model = sf.load("hf:{name}")
sf.save_grid(sf.sample(model, count=16{all_labels}), "samples.png")
```

On the command line, `sfumato sample hf:{name}` samples images, and `sfumato train DATA --from hf:{name}` trains it
further on other images."""


def _results(publication: Publication) -> str:
    parts = []
    for caption, rows in publication.results.tables():
        lines = [f"| {row.label} | {row.samples} | {row.held_out} |" for row in rows]
        parts.append("\n".join([f"{caption}\n", "| | samples | real images |", "| --- | --- | --- |", *lines]))
    if parts:
        parts.append(
            "Distances: lower is better. Precision, recall, density and coverage: higher is better. A perfect model "
            "has about the values of the real images. Compare Frechet distances, recall and coverage only between "
            "equal numbers of images."
        )
    if copies := publication.results.copies():
        parts.append(
            "Comparison of each sample with all training images:\n\n" + "\n".join(f"- {one}" for one in copies)
        )
    return "\n\n".join(["## Results", *parts]) if parts else ""


def _details(publication: Publication) -> str:
    """Table of the model and its training."""
    model, record = publication.model, publication.record
    config = model.config
    kind = "ConvNet" if isinstance(model.network, ConvNet) else "UNet"
    parameters = sum(parameter.numel() for parameter in model.network.parameters())
    shift = f", shifted by {config.shift:g}" if config.shift != 1 else ""
    terminal = ", rescaled to zero terminal SNR" if config.zero_terminal_snr else ""
    steps = f", {model.schedule.timesteps:,} timesteps" if model.schedule.timesteps else ""
    rows = {
        "classes": _names(model.label_names),
        "conditions": ", ".join(map(escaped, map(str, model.columns))),
        "network": f"{kind}, {parameters:,} parameters",
        "noise schedule": f"{config.schedule}{steps}{shift}{terminal}",
        "prediction target": config.parametrization,
    }
    if record is not None:
        last = [m for m in publication.measurements if m["kind"] == "train" and m["images"] <= model.images_seen][-1:]
        rows |= {
            "training images": f"{record.learned.images:,}, some of them for validation: {_data(publication)}",
            "started from": escaped(publication.start or ""),
            "preset": record.config.preset,
            "steps": f"{last[0]['steps']:,}" if last else "",
            "training time": f"{last[0]['seconds'] / 60:.1f} minutes" if last else "",
        }
    rows["images seen"] = f"{model.images_seen:,}, repetitions included"
    lines = [f"| {name} | {value} |" for name, value in rows.items() if value]
    files = "\n\nAll settings are in [config.toml](config.toml). Paths are reduced to names." if record else ""
    return "\n".join(["## Model and training", "", "| | |", "| --- | --- |", *lines]) + files


def _names(names: Sequence[str]) -> str:
    if not names:
        return ""
    shown = ", ".join(map(escaped, islice(names, MOST_NAMES)))
    return f"{len(names):,}: {shown}{', ...' if len(names) > MOST_NAMES else ''}"


def _limits(publication: Publication, has_license: bool) -> str:
    sentences = ["The model knows only the images that it was trained on, and has their biases."]
    if not publication.results.copies():
        sentences.append("Whether its samples copy training images was not measured.")
    if not has_license:
        sentences.append("The author has not chosen a license.")
    return "## Limits\n\n" + " ".join(sentences)


def escaped(text: str) -> str:
    r"""Text with the special characters of Markdown escaped.

    >>> print(escaped("cats_and|dogs"))
    cats\_and\|dogs
    """
    return re.sub(r"([\\`*_\[\]<>|$&~#])", r"\\\1", printable(text))
