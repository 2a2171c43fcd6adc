"""The search over flips and shifts against all differences in float64."""

import math

import pytest
import torch
from torch import Tensor

from metrics.blobs import blobs, closest, noise
from sfumato.errors import DataError
from sfumato.metrics.memorization import search as room
from sfumato.metrics.memorization.shifts import Shift, shifted, shifts_within


def all_distances(queries: Tensor, base: Tensor, reach: int, flips: bool) -> tuple[Tensor, Tensor]:
    """Smallest root mean square difference of each pair (m, n) by the definition, and the index of its move."""
    height, width = base.shape[2:]
    middle = base[:, :, reach : height - reach, reach : width - reach]
    found = []
    for flipped, down, right in shifts_within(reach, flips):
        seen = queries[:, :, reach + down : height - reach + down, reach + right : width - reach + right]
        seen = seen.flip(3) if flipped else seen
        found.append(((seen[:, None].double() - middle.double()) / 2).square().mean((2, 3, 4)).sqrt())
    distances, places = torch.stack(found).min(0)
    return distances, places


@pytest.mark.parametrize(("reach", "flips"), [(0, False), (0, True), (1, False), (2, True)])
@pytest.mark.parametrize("kind", ["images", "white noise"])
def test_the_search_gives_the_result_of_comparing_all(
    kind: str, reach: int, flips: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With very narrow sketches, in many rounds and blocks; sketches of white noise are useless."""
    monkeypatch.setattr(room, "SKETCH_WIDTHS", (1, 2, 3))
    monkeypatch.setattr(room, "LEARNED", 40)
    monkeypatch.setattr(room, "FIRST", 8)
    monkeypatch.setattr(room, "LIKELY", 10)
    monkeypatch.setattr(room, "HELD", 200_000)
    queries, base = blobs(30, 0), blobs(150, 1)
    if kind == "white noise":
        queries, base = noise(queries, 0.5, 0), noise(base, 0.5, 1)
    distances, places = all_distances(queries, base, reach, flips)
    expected = distances.sort(1)
    found = closest(queries, base, 7, reach=reach, flips=flips)
    torch.testing.assert_close(found.distances.double(), expected.values[:, :7], rtol=1e-5, atol=0)
    assert (found.indices == expected.indices[:, :7]).all()
    moves = shifts_within(reach, flips)
    assert found.moves == tuple(moves[places[i, j]] for i, j in enumerate(expected.indices[:, 0]))


def test_few_images_are_compared_pixel_by_pixel(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sketches must exclude most images to be useful."""
    compared = []
    exact = room._differences

    def counted(windows: Tensor, images: Tensor) -> tuple[Tensor, Tensor]:
        compared.append(len(images))
        return exact(windows, images)

    monkeypatch.setattr(room, "_differences", counted)
    monkeypatch.setattr(room, "FIRST", 8)
    monkeypatch.setattr(room, "LIKELY", 32)
    closest(blobs(20, 0), blobs(600, 1), 3, reach=1)
    assert sum(compared) < 0.1 * 20 * 600


def test_the_first_of_equal_images_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "FIRST", 3)
    monkeypatch.setattr(room, "LIKELY", 3)
    base = blobs(50, 1)[torch.arange(200) % 50]
    found = closest(base[:50] + 0.01, base, 3, reach=1)
    assert found.indices.tolist() == [[i, i + 50, i + 100] for i in range(50)]


def test_the_closest_image_is_found_despite_a_smaller_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """The components only contain the first row, in which the farther image equals the query."""
    monkeypatch.setattr(room, "LIKELY", 1)
    monkeypatch.setattr(room, "LEARNED", 20)
    monkeypatch.setattr(room, "SKETCH_WIDTHS", (4, 4, 4))
    base = torch.zeros(60, 1, 8, 8)
    base[:, 0, 0] = noise(torch.empty(60, 8), 2.0, 0)
    query = torch.zeros(1, 1, 8, 8)
    query[0, 0, 3, 0] = 1.0
    base[4], base[7] = 0.0, query[0]
    base[4, 0, 5, 0] = 1.0
    base[7, 0, 0, 2] = 1.38
    found = closest(query, base, 1, reach=0, flips=False)
    assert found.indices.tolist() == [[7]]


@pytest.mark.parametrize(
    ("queries", "images", "shape", "count"),
    [
        (10, 50, (1, 4, 4), 5),
        (10, 50, (2, 3, 5), 5),
        (10, 50, (1, 5, 3), 50),
        (10, 50, (3, 1, 1), 5),
        (10, 300, (4, 9, 12), 7),
        (3, 300, (3, 12, 9), 300),
        (1, 40, (1, 8, 8), 2),
        (5, 1, (3, 8, 8), 1),
        (1, 1, (1, 8, 8), 1),
    ],
)
@pytest.mark.parametrize("flips", [False, True])
@pytest.mark.parametrize("likely", [1, 256])
def test_any_number_of_images_of_any_shape_is_supported(
    queries: int,
    images: int,
    shape: tuple[int, int, int],
    count: int,
    flips: bool,
    likely: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Images of one column have no odd half. Every third image is a duplicate, and one query is constant."""
    monkeypatch.setattr(room, "LIKELY", likely)
    made = torch.rand(queries + images, *shape, generator=torch.Generator().manual_seed(0)) * 2 - 1
    made[0] = 0.25
    queried, base = made[:queries], made[queries:]
    base[1::3] = base[: len(base[1::3])].clone()
    reach = min(2, (min(shape[1:]) - 1) // 2)
    found = closest(queried, base, count, reach=reach, flips=flips)
    expected = all_distances(queried, base, reach, flips)[0].sort(dim=1, stable=True)
    torch.testing.assert_close(found.distances.double(), expected.values[:, :count], rtol=1e-4, atol=1e-6)
    assert (found.indices == expected.indices[:, :count]).all()


def test_a_flipped_and_shifted_copy_is_found_at_distance_0(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "LIKELY", 2)
    base = blobs(150, 1)
    moves = shifts_within(2, flips=True)
    copies = torch.stack([shifted(image, move) for image, move in zip(base, moves, strict=False)])
    found = closest(copies, base, 2, reach=2)
    assert found.indices[:, 0].tolist() == list(range(len(moves)))
    assert found.moves == moves
    assert (found.distances[:, 0] == 0).all()
    expected = all_distances(copies, base, 2, flips=True)[0].sort(1).values[:, 1]
    torch.testing.assert_close(found.distances[:, 1].double(), expected, rtol=1e-5, atol=0)


def test_moves_of_faint_images_are_distinguished() -> None:
    """As in 16 bits: shifts differ by much less than the rounding error of products of pixels."""
    base = 0.9 + 1e-4 * noise(torch.empty(60, 1, 12, 12), 1.0, 1)
    moves = shifts_within(2, flips=True)
    copies = torch.stack([shifted(image, move) for image, move in zip(base, moves, strict=False)])
    found = closest(copies, base, 1, reach=2)
    assert found.indices[:, 0].tolist() == list(range(len(moves)))
    assert found.moves == moves
    assert (found.distances == 0).all()


def test_the_distance_from_black_to_white_is_1() -> None:
    found = closest(torch.ones(1, 3, 4, 4), -torch.ones(2, 3, 4, 4), 1, reach=1)
    assert found.distances.item() == 1


def test_batches_do_not_change_the_result(monkeypatch: pytest.MonkeyPatch) -> None:
    queries, base = blobs(40, 0), blobs(100, 1)
    whole = closest(queries, base, 5, reach=1)
    parts = [closest(part, base, 5, reach=1) for part in queries.split(7)]
    monkeypatch.setattr(room, "HELD", 1)
    singly = closest(queries, base, 5, reach=1)
    for distances in (torch.cat([part.distances for part in parts]), singly.distances):
        torch.testing.assert_close(distances, whole.distances, rtol=1e-6, atol=0)
    assert (singly.indices == whole.indices).all()
    assert (torch.cat([part.indices for part in parts]) == whole.indices).all()
    assert sum((part.moves for part in parts), ()) == whole.moves


def test_progress_counts_each_query(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "HELD", 100_000)
    counts: list[int] = []
    room.Search(blobs(30, 1), reach=1).closest(blobs(25, 0), 1, counts.append)
    assert sum(counts) == 25
    assert len(counts) > 1


def test_constant_images_are_supported() -> None:
    greys = torch.linspace(-1, 1, 12).reshape(12, 1, 1, 1).expand(12, 1, 6, 6)
    found = closest(greys[3:5] + 0.01, greys, 2, reach=1)
    assert found.indices.tolist() == [[3, 4], [4, 5]]
    assert found.moves == (Shift(),) * 2


@pytest.mark.parametrize(
    ("queries", "base", "count", "problem"),
    [
        (blobs(2, 0), blobs(5, 1, side=12), 1, "3x16x16 .* 3x12x12"),
        (blobs(2, 0, channels=1), blobs(5, 1), 1, "1x16x16 .* 3x16x16"),
        (blobs(2, 0)[:0], blobs(5, 1), 1, "for 0 images"),
        (blobs(2, 0), blobs(5, 1), 6, "6 closest of 5"),
        (blobs(2, 0) * math.nan, blobs(5, 1), 1, "NaN"),
        (blobs(2, 0), blobs(5, 1) * math.inf, 1, "NaN or infinite"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_images_that_cannot_be_compared_are_rejected(queries: Tensor, base: Tensor, count: int, problem: str) -> None:
    with pytest.raises(DataError, match=problem):
        closest(queries, base, count, reach=1)
