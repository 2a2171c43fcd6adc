"""Writes pictures: grids, strips and plots as PNG, and animations as GIF."""

import builtins
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from PIL import Image
from torch import Tensor

from sfumato.utils import captions
from sfumato.utils.depth import EIGHT_BITS
from sfumato.utils.files import cannot_write, write_whole

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SMALLEST_TILE = 64
"""Minimum side in pixels to which small images are enlarged, by an integer factor."""

GAP = 2

MILLISECONDS_A_FRAME = 80


def to_picture(image: Tensor) -> Image.Image:
    """Converts an image, (C, H, W) float in [-1, 1], to a Pillow image; see `viewable`."""
    pixels = EIGHT_BITS.to_pixels(viewable(image.detach().cpu().float())).permute(1, 2, 0).numpy()
    return Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)


def viewable(image: Tensor) -> Tensor:
    """Converts an image (C, H, W) in [-1, 1] to 1 (grey), 3 (RGB) or 4 (RGBA) channels; uses the first 3 of others."""
    if len(image) in (1, 3, 4):
        return image
    black = image.new_full((max(3 - len(image), 0), *image.shape[1:]), -1)
    return torch.cat([image[:3], black])


def grid(images: Tensor, columns: int | None = None, titles: Sequence[str] | None = None) -> Image.Image:
    """Grid of images; small images are enlarged.

    Args:
        images: (n, C, H, W) float in [-1, 1].
        columns: Number of columns; None: about the number of rows.
        titles: n titles; if all rows have the same titles, they are only written above the first row.
    """
    columns = columns or math.ceil(math.sqrt(len(images)))
    rows = math.ceil(len(images) / columns)
    _, _, height, width = images.shape
    factor = math.ceil(SMALLEST_TILE / max(height, width))
    height, width = height * factor, width * factor
    tiles = [to_picture(image).resize((width, height), Image.Resampling.NEAREST) for image in images]
    mode = tiles[0].mode
    background = "#ffffff00" if mode == "RGBA" else "white"
    titled = _titled_rows(titles, rows, columns)
    tops = [GAP + row * (height + GAP) + captions.HEIGHT * min(row + 1, titled) for row in range(rows)]
    sheet = Image.new(mode, (columns * (width + GAP) + GAP, tops[-1] + height + GAP), background)
    for index, tile in enumerate(tiles):
        row, column = divmod(index, columns)
        left = GAP + column * (width + GAP)
        sheet.paste(tile, (left, tops[row]))
        if titles and row < titled:
            captions.draw(sheet, titles[index], left, tops[row] - captions.HEIGHT, width)
    return sheet


def _titled_rows(titles: Sequence[str] | None, rows: int, columns: int) -> int:
    """Number of rows with titles: none, the first if all rows have the same titles, or all."""
    if not titles:
        return 0
    return 1 if all(title == titles[index % columns] for index, title in enumerate(titles)) else rows


def save_grid(
    images: Tensor, path: str | Path, columns: int | None = None, titles: Sequence[str] | None = None
) -> Path:
    """Writes a grid of images to a PNG file; small images are enlarged.

    Args:
        images: (n, C, H, W) float in [-1, 1].
        path: File to write; its folder is created if it does not exist.
        columns: Number of columns; None: sqrt(n), rounded up.
        titles: Titles of the n images; None: no titles.

    Returns:
        The path of the file.

    Raises:
        RunError: The file could not be written.
    """
    path = Path(path)
    save_picture(grid(images, columns, titles), path)
    return path


def show(images: Tensor, columns: int | None = None, titles: Sequence[str] | None = None) -> None:
    """Shows a grid of images in the notebook, or in the image viewer of the system.

    Args:
        images: (n, C, H, W) float in [-1, 1].
        columns: Number of columns; None: sqrt(n), rounded up.
        titles: Titles of the n images; None: no titles.
    """
    picture = grid(images, columns, titles)
    if "get_ipython" in vars(builtins):
        from IPython.display import display

        display(picture)
    else:
        picture.show()


def save_film(images: Tensor, path: Path) -> None:
    """Writes an animation that plays forwards and backwards in a loop, as GIF, and creates its folder."""
    first, *others = [grid(image[None]) for image in (*images, *images[1:-1].flip(0))]
    content = BytesIO()
    first.save(content, format="GIF", save_all=True, append_images=others, duration=MILLISECONDS_A_FRAME, loop=0)
    write_whole(path, content.getvalue())


def save_picture(picture: Image.Image, path: Path) -> None:
    """Writes a PNG, and creates its folder."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        picture.save(path, format="PNG")
    except OSError as error:
        raise cannot_write(path, error) from error


def strip(rows: Sequence[Tensor], row_titles: Sequence[str], column_titles: Sequence[str], path: Path) -> None:
    """Writes a table of images with titles."""
    with _figure(path) as figure:
        figure.set_size_inches(0.6 + 1.05 * len(column_titles), 0.3 + 1.1 * len(rows))
        axes = figure.subplots(len(rows), len(column_titles), squeeze=False)
        for row, images in enumerate(rows):
            for column, image in enumerate(images):
                cell = axes[row, column]
                cell.imshow(to_picture(image), cmap="gray", vmin=0, vmax=255, interpolation="nearest")
                cell.set(xticks=[], yticks=[])
                cell.spines[:].set_visible(False)
                if row == 0:
                    cell.set_title(column_titles[column], fontsize=9)
            axes[row, 0].set_ylabel(row_titles[row], fontsize=9)


@dataclass(frozen=True)
class Panel:
    """One plot of a figure: curves (x, y) and vertical lines at x, by name."""

    title: str
    x_label: str
    curves: Mapping[str, tuple[Sequence[float], Sequence[float]]]
    log_y: bool = False
    marks: Mapping[str, float] = field(default_factory=dict)


def plot(panels: Sequence[Panel], path: Path) -> None:
    """Writes a figure of several panels."""
    with _figure(path) as figure:
        figure.set_size_inches(4.6 * len(panels), 3.4)
        for axes, panel in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
            for name, (x, y) in panel.curves.items():
                axes.plot(x, y, label=name, linewidth=1.6, marker="." if len(x) == 1 else None)
            for name, place in panel.marks.items():
                axes.axvline(place, label=name, color="black", linewidth=1, linestyle="--")
            has_positive = any(value > 0 for _, y in panel.curves.values() for value in y)
            scale = "log" if panel.log_y and has_positive else "linear"
            axes.set(title=panel.title, xlabel=panel.x_label, yscale=scale)
            axes.grid(alpha=0.25)
            axes.spines[["top", "right"]].set_visible(False)
            named = len(panel.curves) + len(panel.marks)
            if named > 5:
                axes.legend(fontsize=7, frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
            elif named > 1:
                axes.legend(fontsize=7, frameon=False)


@contextmanager
def _figure(path: Path) -> Iterator["Figure"]:
    """Matplotlib figure that is written to `path` at the end; it needs no display and no global state."""
    from matplotlib.figure import Figure

    figure = Figure(layout="constrained")
    yield figure
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=130)
    except OSError as error:
        raise cannot_write(path, error) from error
