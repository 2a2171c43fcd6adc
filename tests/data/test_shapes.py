"""The built-in shapes: their distribution, the drawings, the measurement, and how they are loaded."""

from __future__ import annotations

import hashlib
import math
from itertools import combinations, pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw
from scipy.stats import chi2
from torch import Tensor

from sfumato.data import load_images, shapes
from sfumato.data.conditions import Category, Number
from sfumato.data.shapes import BACKGROUND, COLOURS, SHAPES, SIZES, Shape, coverage, draw, measure, sampled_columns
from sfumato.data.sources import ChannelChoice, Notice
from sfumato.errors import ConfigError, DataError

ANGLED = [name for name, shape in SHAPES.items() if shape.has_angle]
BINS = 6


def bins(count: int) -> dict[str, np.ndarray]:
    """Columns of the data set as integers from 0 to 5, which are uniform for all columns; -1: no angle."""
    columns = sampled_columns(count)
    low, high = SIZES
    sizes = (np.array(columns["size"]) - low) / (high - low)
    turns = np.array([SHAPES[name].turn for name in columns["shape"]])
    has_angle = turns > 0
    angles = np.array([angle or 0.0 for angle in columns["angle"]]) / np.where(has_angle, turns, 1)
    assert (has_angle == [angle is not None for angle in columns["angle"]]).all()
    assert all(((part >= 0) & (part < 1)).all() for part in (sizes, angles))
    return {
        "shape": np.array([list(SHAPES).index(name) for name in columns["shape"]]),
        "colour": np.array([list(COLOURS).index(name) for name in columns["colour"]]),
        "size": (sizes * BINS).astype(int),
        "angle": np.where(has_angle, (angles * BINS).astype(int), -1),
    }


@pytest.mark.parametrize("pair", [*combinations(("shape", "colour", "size", "angle"), 2)])
def test_columns_are_uniform_and_pairwise_independent(pair: tuple[str, str]) -> None:
    coded = bins(60_000)
    first, second = (coded[name][coded["angle"] >= 0] if "angle" in pair else coded[name] for name in pair)
    table = np.unique(first * BINS + second, return_counts=True)[1]
    cells = (len(ANGLED) if pair == ("shape", "angle") else BINS) * BINS
    assert len(table) == cells
    expected = len(first) / cells
    assert ((table - expected) ** 2 / expected).sum() < chi2.isf(1e-3, cells - 1)


def test_sizes_and_angles_are_uniform_in_finer_bins() -> None:
    columns = sampled_columns(60_000)
    low, high = SIZES
    for values in (
        (np.array(columns["size"]) - low) / (high - low),
        np.array([a / SHAPES[s].turn for s, a in zip(columns["shape"], columns["angle"], strict=True) if a]),
    ):
        ordered = np.sort(values)
        gap = np.abs(ordered - (np.arange(len(ordered)) + 0.5) / len(ordered)).max()
        assert gap < 1.95 / math.sqrt(len(ordered))  # Kolmogorov-Smirnov, exceeded with probability 1e-3


def test_the_data_set_is_the_start_of_the_random_sequence() -> None:
    assert sampled_columns(8)["size"] == sampled_columns(9)["size"][:8]
    images = load_images("shapes")
    assert images.image_shape == (3, 32, 32)
    assert len(images) == 4096
    assert torch.equal(images.images[:64], draw(sampled_columns(64)))


def test_the_images_of_the_default_size_never_change() -> None:
    digest = hashlib.sha256(load_images("shapes").images.numpy().tobytes()).hexdigest()
    assert digest == "e53cf85dc708a1ae7fd72fa406fa4ce596ec5355e5f1e2de2edd12dc15f21888"


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("frame", [(67, 50), (21, 96)])
def test_blocks_do_not_change_the_coverage(name: str, frame: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    size, angle = torch.linspace(0.4, 1, 8, dtype=torch.float64), torch.linspace(0, 100, 8, dtype=torch.float64)
    covered = coverage(name, size, angle, width=frame[0], height=frame[1])
    monkeypatch.setattr(shapes, "BLOCK", 1)
    assert covered.shape == (8, frame[1], frame[0])
    assert (covered - coverage(name, size, angle, width=frame[0], height=frame[1])).abs().max() < 1e-9


def test_large_images_are_drawn_in_chunks_and_with_few_distances(monkeypatch: pytest.MonkeyPatch) -> None:
    points, inward = [], shapes._inward

    def counted(shape: Shape, *coordinates: Tensor) -> Tensor:
        distances = inward(shape, *coordinates)
        points.append(distances.numel())
        return distances

    monkeypatch.setattr(shapes, "_inward", counted)
    done: list[int] = []
    draw(sampled_columns(96), 256, done.append)
    assert sum(done) == 96
    assert max(done) * 256**2 <= shapes.CHUNK
    assert max(points) <= shapes.CHUNK
    assert sum(points) < 0.2 * 96 * 256**2


def test_no_rows_are_no_images() -> None:
    assert draw({name: [] for name in ("shape", "colour", "size", "angle")}, (8, 4)).shape == (0, 3, 4, 8)


@pytest.mark.parametrize(("column", "name"), [("shape", "pentagon"), ("colour", "black"), ("shape", None)])
def test_unknown_names_are_rejected(column: str, name: str | None) -> None:
    columns = {"shape": ["star"], "colour": ["red"], "size": [0.5], "angle": [0.0], column: [name]}
    known = ", ".join(SHAPES if column == "shape" else COLOURS)
    with pytest.raises(DataError, match=f"the {column} {name!r} is unknown. Choose among: {known}"):
        draw(columns)


def polygon(name: str, size: float, angle: float, width: int, height: int) -> np.ndarray:
    """Coverage of the polygon with all of its vertices, drawn by Pillow with 16x16 points per pixel."""
    shape, sector, finer = SHAPES[name], 2 * math.pi / SHAPES[name].fold, 16
    halves = [*shape.outline, *((radius, -at) for radius, at in reversed(shape.outline))]
    vertices = [(radius, at + sector * turn) for turn in range(shape.fold) for radius, at in halves]
    vertices.sort(key=lambda vertex: vertex[1] % (2 * math.pi))
    radius = size * min(width, height) / 2
    ends = [
        (
            finer * (width / 2 - length * radius * math.sin(at + math.radians(angle))) - 0.5,
            finer * (height / 2 - length * radius * math.cos(at + math.radians(angle))) - 0.5,
        )
        for length, at in vertices
    ]
    canvas = Image.new("L", (width * finer, height * finer))
    ImageDraw.Draw(canvas).polygon(ends, fill=255)
    return np.asarray(canvas).reshape(height, finer, width, finer).mean((1, 3)) / 255


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize(
    ("size", "angle", "frame"), [(0.9, 0.0, (64, 64)), (0.6, 17.0, (64, 48)), (0.5, 50.0, (32, 40))]
)
def test_coverage_is_that_of_the_polygon(name: str, size: float, angle: float, frame: tuple[int, int]) -> None:
    values = torch.tensor([[size], [angle]], dtype=torch.float64)
    covered = coverage(name, *values, width=frame[0], height=frame[1])[0].numpy()
    exact = polygon(name, size, angle, *frame)
    assert np.abs(covered - exact).max() < 0.35  # at sharp corners
    assert np.sqrt(((covered - exact) ** 2).mean()) < 0.02


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("side", [32, 128])
def test_areas_are_those_of_the_polygons(name: str, side: int) -> None:
    outline = SHAPES[name].outline
    triangles = pairwise(outline)
    unit = SHAPES[name].fold * sum(near * far * math.sin(end - start) for (near, start), (far, end) in triangles)
    size, angle = torch.linspace(0.5, 0.9, 9, dtype=torch.float64), torch.linspace(0, 40, 9, dtype=torch.float64)
    covered = coverage(name, size, angle, width=side, height=side).sum((1, 2))
    error = (covered - unit * (size * side / 2) ** 2) / side**2
    assert error.abs().max() < 0.0012 * 32 / side  # the error is proportional to the outline, not to the area


@pytest.mark.parametrize("name", ANGLED)
def test_rotation_by_the_symmetry_angle_leaves_the_image_unchanged(name: str) -> None:
    turn = SHAPES[name].turn
    start, turned, half = draw(
        {"shape": [name] * 3, "colour": ["white"] * 3, "size": [0.8] * 3, "angle": [11.0, 11.0 + turn, 11.0 + turn / 2]}
    ).int()
    assert (start - turned).abs().max() <= 1
    assert (start - half).abs().max() > 150


def test_pixels_mix_background_and_colour() -> None:
    image = draw({"shape": ["square"], "colour": ["red"], "size": [math.sqrt(0.5)], "angle": [0.0]}, 9)[0]
    mixed = [
        [round(b + share * (c - b)) for b, c in zip(BACKGROUND, COLOURS["red"], strict=True)] for share in (0, 0.75, 1)
    ]
    assert image[:, 4].T.tolist() == [mixed[0]] * 2 + [mixed[1]] + [mixed[2]] * 3 + [mixed[1]] + [mixed[0]] * 2


def test_colours_are_far_apart() -> None:
    colours = torch.tensor([*COLOURS.values(), BACKGROUND], dtype=torch.float64)
    assert torch.pdist(colours).min() > 120


@pytest.mark.parametrize("frame", [(32, 32), (40, 24)])
def test_measure_inverts_draw(frame: tuple[int, int]) -> None:
    columns = sampled_columns(150)
    images = draw(columns, frame)
    found = measure(images)
    assert (found["shape"], found["colour"]) == (columns["shape"], columns["colour"])
    assert found["size"] == pytest.approx(columns["size"], abs=2e-3)
    for name, angle, expected in zip(found["shape"], found["angle"], columns["angle"], strict=True):
        assert (angle is None) == (expected is None) == (name == "circle")
        if angle is not None:
            turn = SHAPES[str(name)].turn
            assert abs((float(angle) - float(expected or 0) + turn / 2) % turn - turn / 2) < 0.2
    assert measure(images[:20].float() / 127.5 - 1) == {name: cells[:20] for name, cells in found.items()}


@pytest.mark.parametrize(("size", "limit"), [(0.3, 0.4), (1.2, 1.0)])
def test_measured_sizes_stay_within_the_limits(size: float, limit: float) -> None:
    columns = {"shape": ["circle"], "colour": ["red"], "size": [size], "angle": [None]}
    assert measure(draw(columns))["size"] == [pytest.approx(limit, abs=1e-12)]


def test_measure_finds_the_nearest_image_despite_noise() -> None:
    columns = sampled_columns(100)
    images = draw(columns).float() / 127.5 - 1
    found = measure(images + 0.2 * torch.randn(images.shape, generator=torch.Generator().manual_seed(0)))
    assert (found["shape"], found["colour"]) == (columns["shape"], columns["colour"])
    assert found["size"] == pytest.approx(columns["size"], abs=0.03)


@pytest.mark.parametrize(
    ("size", "channels", "shape"),
    [(None, "auto", (3, 32, 32)), (16, "grey", (1, 16, 16)), ("12x8", "rgba", (4, 8, 12)), (8, "bands", (3, 8, 8))],
)
def test_size_and_channels_are_applied(
    size: int | str | None, channels: ChannelChoice, shape: tuple[int, int, int]
) -> None:
    images = load_images("shapes", size=size, channels=channels, labels=False)
    assert images.image_shape == shape
    assert images.depth.opacity == (channels == "rgba")
    if channels == "rgba":
        assert (images.images[:, 3] == 255).all()


def test_all_columns_are_labels_by_default() -> None:
    images, columns = load_images("shapes", size=4), sampled_columns(4096)
    shape, colour, size, angle = images.columns
    assert shape == Category("shape", tuple(SHAPES))
    assert colour == Category("colour", tuple(COLOURS))
    assert isinstance(size, Number)
    assert isinstance(angle, Number)
    assert images.labels is not None
    assert images.labels.isnan().any(0).tolist() == [False, False, False, True]
    names = [shape.value(code) for code in images.labels[:, 0].tolist()]
    assert names == columns["shape"]
    assert [size.value(code) for code in images.labels[:50, 2].tolist()] == pytest.approx(
        columns["size"][:50], abs=1e-4
    )


def test_a_requested_column_is_the_only_label() -> None:
    images = load_images("shapes", size=4, condition=["colour"])
    assert images.label_names == tuple(COLOURS)
    assert images.columns == ()
    assert [column.name for column in load_images("shapes", size=4, condition=["angle", "shape"]).columns] == [
        "angle",
        "shape",
    ]
    assert load_images("shapes", size=4, labels=False).labels is None
    with pytest.raises(DataError, match="no column 'age'; the columns are: shape, colour, size, angle"):
        load_images("shapes", size=4, condition=["age"])


def test_options_that_do_not_apply_are_rejected() -> None:
    with pytest.raises(ConfigError, match=r"--split, --nodata cannot be applied to the data source shapes"):
        load_images("shapes", size=4, split="train", nodata=0)


def test_a_folder_named_shapes_is_opened_by_its_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("shapes").mkdir()
    for name in "ab":
        Image.new("RGB", (8, 8)).save(f"shapes/{name}.png")
    assert len(load_images("./shapes")) == len(load_images(Path("shapes"))) == 2
    assert load_images("shapes", size=4).notices == (
        Notice("source", "shapes is the built-in data set; the file or folder of this name is ./shapes."),
    )
    assert load_images("digits").notices == ()
