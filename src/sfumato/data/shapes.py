"""The built-in data set of coloured shapes, drawn by code; its distribution is known exactly.

The four columns of an image are independent, except that the range of the angle depends on the shape:

* `shape`: uniform over `SHAPES`;
* `colour`: uniform over `COLOURS`;
* `size`: diameter of the circumscribed circle as a fraction of the shorter side of the image, uniform in `SIZES`;
* `angle`: counter-clockwise, in degrees, uniform in [0, 360 / fold), where rotation by 360 / fold leaves the shape
  unchanged; None for circles.

An image is a function of its columns: `BACKGROUND + coverage * (colour - BACKGROUND)`, rounded to integers, with
coverage = clamp(1/2 - d, 0, 1) of each pixel, where d is the signed distance of its centre to the outline in pixels,
negative inside. The shape is centred.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

from sfumato.data.rng import Purpose, uniform
from sfumato.data.sources import Cell, Columns, ReadOptions
from sfumato.data.sources.parallel import progress_bar
from sfumato.errors import DataError

COUNT, SIDE = 4096, 32
"""Number of images of the data set, and their default side in pixels."""

SIZES = (0.5, 0.9)
"""Smallest and largest size."""

BACKGROUND = (24, 27, 44)
COLOURS = {
    "blue": (52, 120, 255),
    "green": (76, 196, 96),
    "purple": (190, 96, 246),
    "red": (242, 64, 64),
    "white": (244, 244, 240),
    "yellow": (255, 221, 64),
}
"""RGB by name, 0 to 255."""

CHUNK = 2**18
"""Maximum number of pixels that are drawn together, if one image has no more."""

BLOCK = 8
"""Side in pixels of the blocks of an image; only in blocks at the outline, the distance of each pixel is computed."""

GRID_SIZES, GRID_ANGLE, REFINEMENTS = torch.linspace(0.4, 1.0, 13, dtype=torch.float64), 6.0, 8
"""Grid of `measure`: sizes, step of the angles in degrees, and number of refinements, each with half of the steps."""


@dataclass(frozen=True)
class Shape:
    """A polygon that contains the segments from its centre to all of its points, with `fold` axes of symmetry.

    Attributes:
        fold: rotation by 360 / fold degrees, and reflection in the vertical axis, leave the polygon unchanged.
        outline: vertices (distance to the centre, angle to the vertical axis in radians) from angle 0 to pi / fold; the
            circumscribed circle has radius 1. Symmetry gives the other vertices.
        has_angle: whether the angle is a column of the images.
    """

    fold: int
    outline: tuple[tuple[float, float], ...]
    has_angle: bool = True

    @property
    def turn(self) -> float:
        """Smallest rotation in degrees that leaves the shape unchanged; 0 if it has no angle."""
        return 360 / self.fold if self.has_angle else 0.0


def _polar(*points: tuple[float, float]) -> tuple[tuple[float, float], ...]:
    """Polar coordinates of points (to the side, up), scaled to a circumscribed circle of radius 1."""
    radius = max(math.hypot(*point) for point in points)
    return tuple((math.hypot(*point) / radius, math.atan2(*point)) for point in points)


def _heart(t: float) -> tuple[float, float]:
    """Point of the heart curve, from the notch (t = 0) to the tip (t = pi)."""
    up = 13 * math.cos(t) - 5 * math.cos(2 * t) - 2 * math.cos(3 * t) - math.cos(4 * t)
    return 16 * math.sin(t) ** 3, up


SHAPES = {
    "circle": Shape(60, ((1.0, 0.0), (math.cos(math.pi / 60), math.pi / 60)), has_angle=False),
    "cross": Shape(4, _polar((0, 3), (1, 3), (1, 1))),
    "heart": Shape(1, _polar((0, 5), *(_heart(math.pi * i / 24) for i in range(1, 24)), (0, -17))),
    "square": Shape(4, _polar((0, 1), (1, 1))),
    "star": Shape(5, ((1.0, 0.0), (0.45, math.pi / 5))),
    "triangle": Shape(3, ((1.0, 0.0), (0.5, math.pi / 3))),
}


def load_shapes(options: ReadOptions) -> tuple[UInt8[Tensor, "n 3 h w"], Columns]:
    """The 4,096 images of the data set, by default of 32x32 pixels, and their columns."""
    columns = sampled_columns(COUNT)
    with progress_bar("Drawing shapes", COUNT) as on_images:
        return draw(columns, options.size or (SIDE, SIDE), on_images), columns


def sampled_columns(count: int) -> Columns:
    """Columns of the first images of an endless random sequence, which is the same on every machine."""
    shapes, colours, sizes, angles = uniform(0, Purpose.SHAPES, 0, count, 4).T.tolist()
    names = [list(SHAPES)[int(number * len(SHAPES))] for number in shapes]
    low, high = SIZES
    return {
        "shape": names,
        "colour": [list(COLOURS)[int(number * len(COLOURS))] for number in colours],
        "size": [low + (high - low) * number for number in sizes],
        "angle": [SHAPES[name].turn * number or None for name, number in zip(names, angles, strict=True)],
    }


def draw(
    columns: Columns, side: int | tuple[int, int] = SIDE, on_images: Callable[[int], None] = lambda _: None
) -> UInt8[Tensor, "n 3 h w"]:
    """Draws an image for each row of the columns.

    Args:
        columns: shape, colour, size and angle; the angle of a circle is ignored.
        side: side of the images in pixels, or (width, height).
        on_images: called with the number of images drawn since the last call.

    Raises:
        DataError: a shape or colour is unknown.
    """
    width, height = (side, side) if isinstance(side, int) else side
    names = columns["shape"]
    _check_names("shape", names, SHAPES)
    _check_names("colour", columns["colour"], COLOURS)
    values = torch.tensor([columns["size"], [angle or 0 for angle in columns["angle"]]], dtype=torch.float64)
    colours = torch.tensor([COLOURS[str(name)] for name in columns["colour"]], dtype=torch.float64).view(-1, 3)
    background = torch.tensor(BACKGROUND, dtype=torch.float64)
    images = torch.empty(len(names), 3, height, width, dtype=torch.uint8)
    for shape in SHAPES:
        rows = torch.tensor([row for row, name in enumerate(names) if name == shape], dtype=torch.int64)
        for part in rows.split(max(1, CHUNK // (width * height))):
            covered = coverage(shape, *values[:, part], width=width, height=height)
            plain = colours[part, :, None, None].byte(), background[:, None, None].byte()
            drawn = torch.where(covered[:, None] == 1, *plain)
            image, row, column = ((covered > 0) & (covered < 1)).nonzero().T
            offsets = covered[image, row, column, None] * (colours[part[image]] - background)
            drawn.movedim(1, -1)[image, row, column] = (background + offsets).round().byte()
            images[part] = drawn
            on_images(len(part))
    return images


def _check_names(column: str, names: Sequence[Cell], known: Mapping[str, object]) -> None:
    if unknown := [name for name in names if name not in known]:
        raise DataError(f"the {column} {unknown[0]!r} is unknown", f"Choose among: {', '.join(known)}.")


def measure(images: UInt8[Tensor, "n 3 h w"] | Float[Tensor, "n 3 h w"]) -> dict[str, list[Cell]]:
    """Columns of the drawable image that is nearest to each image in squared error, with sizes from 0.4 to 1.

    Searches all shapes and colours with a grid of sizes and angles, and refines size and angle of the nearest one.

    Args:
        images: uint8, or floats in [-1, 1].
    """
    height, width = images.shape[2:]
    pixels = images.double() if images.dtype == torch.uint8 else (images.double() + 1) * 127.5
    pixels = (pixels - torch.tensor(BACKGROUND)[:, None, None]).flatten(2)
    turns = (torch.arange(0, shape.turn or 1, GRID_ANGLE, dtype=torch.float64) for shape in SHAPES.values())
    grids = [torch.cartesian_prod(GRID_SIZES, angles) for angles in turns]
    found = [
        _gains(pixels, coverage(name, *grid.T, width=width, height=height)).flatten(1).max(1)
        for name, grid in zip(SHAPES, grids, strict=True)
    ]
    nearest = torch.stack([gain for gain, _ in found]).argmax(0)
    cells: dict[str, list[Cell]] = {name: [None] * len(images) for name in ("shape", "colour", "size", "angle")}
    for index, (name, shape) in enumerate(SHAPES.items()):
        rows = (nearest == index).nonzero()[:, 0]
        start = grids[index][found[index][1][rows] % len(grids[index])]
        colours, values = _refined(pixels[rows], name, start, width, height)
        for row, colour, (size, angle) in zip(rows.tolist(), colours.tolist(), values.tolist(), strict=True):
            cells["shape"][row], cells["colour"][row], cells["size"][row] = name, list(COLOURS)[colour], size
            cells["angle"][row] = angle % shape.turn if shape.has_angle else None
    return cells


def _refined(
    pixels: Float[Tensor, "n 3 p"], shape: str, values: Float[Tensor, "n 2"], width: int, height: int
) -> tuple[Int64[Tensor, " n"], Float[Tensor, "n 2"]]:
    """Index of the best colour, and (size, angle), from those of the grid point that is nearest to each image."""
    steps = torch.tensor([float(GRID_SIZES[1] - GRID_SIZES[0]), GRID_ANGLE], dtype=torch.float64)
    around = torch.cartesian_prod(torch.arange(-1, 2), torch.arange(-1, 2))
    for _ in range(REFINEMENTS):
        steps = steps / 2
        candidates = (values[:, None] + around * steps).flatten(0, 1)
        candidates[:, 0].clamp_(GRID_SIZES[0], GRID_SIZES[-1])
        covered = coverage(shape, *candidates.T, width=width, height=height).unflatten(0, (len(pixels), len(around)))
        best = _gains(pixels, covered).flatten(1).argmax(1)
        values = candidates.unflatten(0, covered.shape[:2])[torch.arange(len(pixels)), best % len(around)]
    return best // len(around), values


def _gains(pixels: Float[Tensor, "n 3 p"], covered: Float[Tensor, "*n g h w"]) -> Float[Tensor, "n colours g"]:
    """Decrease of the squared distance from an image to the background when each shape is drawn in each colour."""
    offsets = torch.tensor(list(COLOURS.values()), dtype=torch.float64) - torch.tensor(BACKGROUND)
    covered = covered.flatten(-2)
    areas = covered.square().sum(-1)[..., None, :]
    return 2 * offsets @ (pixels @ covered.mT) - offsets.square().sum(1)[:, None] * areas


def coverage(
    shape: str, size: Float[Tensor, " n"], angle: Float[Tensor, " n"], *, width: int, height: int
) -> Float[Tensor, "n h w"]:
    """Share of each pixel that a shape covers, with the dtype of `size`; angle in degrees."""
    across = _blocks(width, size.dtype)
    up = -_blocks(height, size.dtype)
    radius = (size * min(width, height) / 2)[:, None, None]
    turned = angle.deg2rad()[:, None, None]
    inward = _inward(SHAPES[shape], across.mean(1), up.mean(1)[:, None], radius, turned)
    covered = (inward > 0).to(size.dtype)[..., None, None].repeat(1, 1, 1, BLOCK, BLOCK)
    image, row, column = (inward.abs() < BLOCK / math.sqrt(2) + 0.5).nonzero().T  # blocks that the outline may cross
    inward = _inward(SHAPES[shape], across[column][:, None], up[row][..., None], radius[image], turned[image])
    covered[image, row, column] = (0.5 + inward).clamp(0, 1)
    return covered.transpose(2, 3).flatten(3, 4).flatten(1, 2)[:, :height, :width]


def _blocks(side: int, dtype: torch.dtype) -> Float[Tensor, "blocks pixels"]:
    """Distances of pixels to the centre along a side, in blocks; the last block may extend beyond the image."""
    count = -(-side // BLOCK)
    return (torch.arange(count * BLOCK, dtype=dtype) - (side - 1) / 2).view(count, BLOCK)


def _inward(
    shape: Shape, across: Float[Tensor, ...], up: Float[Tensor, ...], radius: Tensor, angle: Tensor
) -> Float[Tensor, ...]:
    """Distance of points to the outline, positive inside; coordinates and radius in pixels, angle in radians."""
    radii, angles = torch.tensor(shape.outline, dtype=across.dtype).T
    corners = torch.stack([radii * angles.cos(), radii * angles.sin()], 1)
    edges = corners.diff(dim=0)
    sector = 2 * math.pi / shape.fold
    turned = torch.atan2(across, up) + angle
    folded = (turned - sector * (turned / sector).round()).abs()  # by symmetry into the sector of the outline
    distance = torch.hypot(across, up) / radius
    x, y = distance * folded.cos(), distance * folded.sin()
    squared = torch.full_like(folded, math.inf)
    for (x0, y0), (dx, dy) in zip(corners[:-1].tolist(), edges.tolist(), strict=True):
        length = dx**2 + dy**2
        along = ((x - x0) * (dx / length) + (y - y0) * (dy / length)).clamp(0, 1)
        squared = torch.minimum(squared, (x - x0 - along * dx) ** 2 + (y - y0 - along * dy) ** 2)
    crossed = torch.bucketize(folded, angles[1:-1].contiguous())  # edge that the ray from the centre crosses
    (x0, y0), (dx, dy) = corners[crossed].movedim(-1, 0), edges[crossed].movedim(-1, 0)
    inward = torch.where(dx * (y - y0) >= dy * (x - x0), squared.sqrt(), -squared.sqrt())
    inward *= radius
    return inward
