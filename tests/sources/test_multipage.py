"""Pages of TIFF files and frames of animations: channels or images."""

from __future__ import annotations

import io
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from images import encoded, noise, png, tiff, write
from sfumato.data.sources import memory_limit, multipage
from sfumato.data.sources.archives import TarSource, ZipSource
from sfumato.data.sources.decode import open_image
from sfumato.data.sources.entry import BadImageError, FileEntry
from sfumato.data.sources.folder import FolderSource
from sfumato.data.sources.multipage import with_pages
from sfumato.data.sources.options import PageChoice, ReadOptions
from sfumato.data.sources.source import Listing

from .containers import tarred
from .test_colour import SWAPPED

FIVE = noise(5, 11, 9, dtype="uint16")
STACK = noise(3, 2, 11, 9)
GREY = {"photometric": "minisblack"}
AMBIGUOUS = "give --pages images, channels or first"


def pages(arrays: list[np.ndarray], **options: object) -> bytes:
    """A TIFF file with these pages."""
    content = io.BytesIO()
    with tifffile.TiffWriter(content) as writer:
        for array in arrays:
            writer.write(array, metadata=None, **options)  # type: ignore[arg-type]
    return content.getvalue()


def images(content: bytes, tmp_path: Path, choice: PageChoice = "auto") -> list[np.ndarray]:
    """Images of a file after its pages became entries."""
    (tmp_path / "a.tif").write_bytes(content)
    options = ReadOptions(pages=choice)
    listing = with_pages(Listing([FileEntry("a.tif", tmp_path / "a.tif")]), options)
    return [open_image(entry.read(), options).pixels() for entry in listing.entries]


CHANNELS = np.moveaxis(FIVE, 0, 2)
RGB_PAGES = [noise(11, 9, 3, seed=page) for page in range(3)]

DECIDED: dict[str, tuple[bytes, list[np.ndarray]]] = {
    "OME, C": (tiff(FIVE, ome=True, metadata={"axes": "CYX"}, **GREY), [CHANNELS]),
    "OME, T": (tiff(FIVE, ome=True, metadata={"axes": "TYX"}, **GREY), [page[:, :, None] for page in FIVE]),
    "OME, ZC": (tiff(STACK, ome=True, metadata={"axes": "ZCYX"}, **GREY), [np.moveaxis(z, 0, 2) for z in STACK]),
    "OME, CZ": (
        tiff(STACK, ome=True, metadata={"axes": "CZYX"}, **GREY),
        [np.moveaxis(STACK[:, z], 0, 2) for z in range(2)],
    ),
    "ImageJ, C": (tiff(FIVE, imagej=True, metadata={"axes": "CYX"}), [CHANNELS]),
    "ImageJ, Z": (tiff(FIVE, imagej=True, metadata={"axes": "ZYX"}), [page[:, :, None] for page in FIVE]),
    "ImageJ, TC": (tiff(STACK, imagej=True, metadata={"axes": "TCYX"}), [np.moveaxis(t, 0, 2) for t in STACK]),
    "tifffile, C": (tiff(FIVE, metadata={"axes": "CYX"}, **GREY), [CHANNELS]),
    "tifffile, T": (tiff(FIVE, metadata={"axes": "TYX"}, **GREY), [page[:, :, None] for page in FIVE]),
    "RGB, T": (tiff(np.stack(RGB_PAGES), metadata={"axes": "TYXS"}, photometric="rgb"), RGB_PAGES),
    "flag of pages": (pages(RGB_PAGES, subfiletype=2, photometric="rgb"), RGB_PAGES),
    "big-endian": (tiff(FIVE, metadata={"axes": "TYX"}, byteorder=">", **GREY), [page[:, :, None] for page in FIVE]),
    "BigTIFF": (tiff(FIVE, metadata={"axes": "TYX"}, bigtiff=True, **GREY), [page[:, :, None] for page in FIVE]),
    "packed": (
        tiff(FIVE, metadata={"axes": "TYX"}, compression="zlib", **GREY),
        [page[:, :, None] for page in FIVE],
    ),
    "tiles": (tiff(FIVE, metadata={"axes": "TYX"}, tile=(16, 16), **GREY), [page[:, :, None] for page in FIVE]),
    "strips": (tiff(FIVE, metadata={"axes": "TYX"}, rowsperstrip=2, **GREY), [page[:, :, None] for page in FIVE]),
    "one page": (tiff(FIVE[0], **GREY), [FIVE[0][:, :, None]]),
    "one page of samples": (tiff(CHANNELS, planarconfig="contig", **GREY), [CHANNELS]),
    "pyramid": (pages([noise(32, 32), noise(16, 16), noise(8, 8)], **GREY), [noise(32, 32)[:, :, None]]),
}


@pytest.mark.parametrize("name", DECIDED)
def test_pages_follow_the_metadata(name: str, tmp_path: Path) -> None:
    content, expected = DECIDED[name]
    found = images(content, tmp_path)
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert np.array_equal(one, other)
    assert np.array_equal(open_image(content).pixels(), expected[0])


@pytest.mark.parametrize("flag", [1, 4, 5])
def test_previews_and_masks_are_not_images(flag: int, tmp_path: Path) -> None:
    whole, is_mask = noise(32, 32), flag & 4
    content = io.BytesIO()
    with tifffile.TiffWriter(content) as writer:
        writer.write(noise(16, 16) > 99 if is_mask else noise(16, 16), subfiletype=flag, metadata=None, **GREY)
        writer.write(whole, metadata=None, **GREY)
        writer.write(noise(32, 32) > 99 if is_mask else noise(32, 32, seed=1), subfiletype=flag, metadata=None, **GREY)
    assert [np.array_equal(found[:, :, 0], whole) for found in images(content.getvalue(), tmp_path)] == [True]


ASKED: dict[str, tuple[bytes, np.ndarray, list[np.ndarray]]] = {
    "plain pages": (pages(list(FIVE), **GREY), CHANNELS, [page[:, :, None] for page in FIVE]),
    "(5, H, W) of tifffile": (tiff(FIVE), CHANNELS, [page[:, :, None] for page in FIVE]),
    "(H, W, 5) of tifffile": (tiff(CHANNELS), CHANNELS, [row[:, :, None] for row in CHANNELS]),
    "Pillow's pages": (
        encoded(
            Image.fromarray(STACK[0, 0]),
            "TIFF",
            save_all=True,
            append_images=[Image.fromarray(page[0]) for page in STACK[1:]],
        ),
        np.moveaxis(STACK[:, 0], 0, 2),
        [page[0][:, :, None] for page in STACK],
    ),
    "RGB pages": (
        pages(RGB_PAGES, photometric="rgb"),
        np.concatenate(RGB_PAGES, axis=2),
        RGB_PAGES,
    ),
}


@pytest.mark.parametrize("name", ASKED)
def test_ambiguous_pages_are_rejected(name: str, tmp_path: Path) -> None:
    content, channels, single = ASKED[name]
    with pytest.raises(BadImageError, match=f"it has {len(single)} pages of one size, .*: {AMBIGUOUS}"):
        images(content, tmp_path)
    (stacked,) = images(content, tmp_path, "channels")
    assert np.array_equal(stacked, channels)
    (first,) = images(content, tmp_path, "first")
    assert np.array_equal(first, single[0])
    found = images(content, tmp_path, "images")
    assert len(found) == len(single)
    assert all(np.array_equal(one, other) for one, other in zip(found, single, strict=True))


def test_a_request_overrides_the_metadata(tmp_path: Path) -> None:
    content, _ = DECIDED["OME, ZC"]
    assert [image.shape for image in images(content, tmp_path, "images")] == [(11, 9, 1)] * 6
    assert [image.shape for image in images(content, tmp_path, "channels")] == [(11, 9, 6)]


def test_pages_of_different_sizes_are_rejected(tmp_path: Path) -> None:
    content = pages([noise(10, 12), noise(13, 12)], **GREY)
    with pytest.raises(BadImageError, match="2 pages of different kinds: give --pages images or first"):
        images(content, tmp_path)
    with pytest.raises(BadImageError, match="cannot be channels"):
        images(content, tmp_path, "channels")
    assert [image.shape for image in images(content, tmp_path, "images")] == [(10, 12, 1), (13, 12, 1)]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (tiff(FIVE, truncate=True, metadata={"axes": "TYX"}, **GREY), "5 images with a single directory"),
        (tiff(noise(5, 32, 32), volumetric=True, tile=(16, 16, 16), **GREY), "a volume of 5 slices"),
    ],
    ids=["one directory", "volume"],
)
def test_stacks_without_directories_are_rejected(content: bytes, message: str) -> None:
    with pytest.raises(BadImageError, match=message):
        open_image(content)


def test_the_start_of_a_stack_is_not_a_single_page() -> None:
    content = tiff(noise(3, 40, 40), metadata={"axes": "CYX"}, **GREY)
    with tifffile.TiffFile(io.BytesIO(content)) as file:
        second = file.pages[1].offset
    with pytest.raises(BadImageError, match="continues beyond the end of the file"):
        open_image(content[: second - 1])
    assert open_image(content[: second - 1], ReadOptions(pages="first")).info.channels == 1


@pytest.mark.parametrize("orientation", [1, 6])
def test_a_page_keeps_its_tags(orientation: int, tmp_path: Path) -> None:
    arrays = [noise(11, 9, 4, dtype="uint16", seed=page) for page in range(3)]
    tags = [(42113, "s", 0, "7", True), (274, "H", 1, orientation, True)]
    content = pages(arrays, photometric="rgb", extrasamples=["unassalpha"], subfiletype=2, extratags=tags)
    (tmp_path / "a.tif").write_bytes(content)
    listing = with_pages(Listing([FileEntry("a.tif", tmp_path / "a.tif")]), ReadOptions())
    for entry, array in zip(listing.entries, arrays, strict=True):
        picture = open_image(pickle.loads(pickle.dumps(entry)).read())  # noqa: S301
        assert (picture.info.opacity, picture.nodata) == (True, 7)
        assert np.array_equal(picture.pixels(), np.rot90(array, -1) if orientation == 6 else array)


COLOURS = [Image.fromarray(noise(19, 23, 3, seed=page)) for page in range(3)]


@pytest.mark.parametrize("profile", [None, SWAPPED], ids=["sRGB", "another profile"])
@pytest.mark.parametrize("compression", [None, "tiff_lzw", "jpeg"])
@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "CMYK", "YCbCr"])
def test_a_page_has_the_colours_of_a_file(
    mode: str, compression: str | None, profile: bytes | None, tmp_path: Path
) -> None:
    if compression == "jpeg" and mode in ("1", "P"):
        pytest.skip("JPEG has no such images")
    modes = [image.convert(mode) for image in COLOURS]
    options = {"compression": compression} | ({"icc_profile": profile} if profile else {})
    found = images(encoded(modes[0], "TIFF", save_all=True, append_images=modes[1:], **options), tmp_path, "images")
    assert len(found) == len(modes)
    for one, image in zip(found, modes, strict=True):
        assert np.array_equal(one, open_image(encoded(image, "TIFF", **options)).pixels())


def test_a_file_is_parsed_once_for_all_pages(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    for dtype in ("uint8", "uint16"):
        path.write_bytes(tiff(noise(4, 11, 9, dtype=dtype), metadata={"axes": "TYX"}, **GREY))
        entries = with_pages(Listing([FileEntry("a.tif", path)]), ReadOptions()).entries
        parsed = multipage._tiff_images.cache_info().misses
        assert {open_image(entry.read()).pixels().dtype for entry in entries} == {np.dtype(dtype)}
        assert multipage._tiff_images.cache_info().misses == parsed


def test_pages_for_pillow_are_read_from_a_file_of_any_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sfumato.data.sources.entry.MOST_BYTES", 100)
    found = images(pages([noise(11, 9), noise(11, 9, seed=1)], compression="lzw", **GREY), tmp_path, "images")
    assert np.array_equal(found[1][:, :, 0], noise(11, 9, seed=1))


def test_a_page_is_not_decoded_if_memory_is_low(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.tif").write_bytes(tiff(noise(2, 200, 300, dtype="uint16"), metadata={"axes": "TYX"}, **GREY))
    first, _ = with_pages(Listing([FileEntry("a.tif", tmp_path / "a.tif")]), ReadOptions()).entries
    monkeypatch.setattr(memory_limit, "ALWAYS", 0)
    monkeypatch.setattr(memory_limit, "available_memory", lambda: 4 * 200_000)
    with pytest.raises(BadImageError, match="decoding it needs 240 kB of memory, and 200 kB are free for one image"):
        first.read()


def test_columns_classes_and_splits_are_repeated(tmp_path: Path) -> None:
    write(tmp_path, {"x/a.tif": DECIDED["tifffile, T"][0], "x/b.png": png(noise(11, 9)), "y/c.tif": tiff(noise(11, 9))})
    entries = [FileEntry(name, tmp_path / name) for name in ("x/a.tif", "x/b.png", "y/c.tif")]
    listing = Listing(entries, {"age": [1, 2, 3]}, classes=["x", "x", "y"], splits=["train", None, "test"])
    wide = with_pages(listing, ReadOptions())
    assert [entry.name for entry in wide.entries] == [*(f"x/a.tif#{page}" for page in range(5)), "x/b.png", "y/c.tif"]
    assert wide.columns == {"age": [1] * 5 + [2, 3]}
    assert wide.classes == ["x"] * 6 + ["y"]
    assert wide.splits == ["train"] * 5 + [None, "test"]
    (notice,) = wide.notices
    assert str(notice) == "1 file holds several images, 5 in all. To change it: --pages first."
    assert with_pages(listing, ReadOptions(pages="first")) is listing
    assert with_pages(Listing(entries[1:]), ReadOptions()).entries == entries[1:]


def test_files_of_other_types_are_not_read(tmp_path: Path) -> None:
    entries = [FileEntry(name, tmp_path / "missing") for name in ("a.png", "b.jpg", "c.npy", "d.webp")]
    listing = Listing(entries)
    assert with_pages(listing, ReadOptions()) is listing


def test_stacks_in_archives_are_read_page_by_page(tmp_path: Path) -> None:
    content, expected = DECIDED["tifffile, T"]
    tar = tarred(tmp_path / "a.tar", {"one.tif": tiff(noise(4, 4)), "stack.tif": content})
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("stack.tif", content)
    for source in (TarSource(tar), ZipSource(path)):
        found = with_pages(source.listing(tmp_path), ReadOptions()).entries
        shown = [open_image(entry.read()).pixels() for entry in found if entry.name.startswith("stack.tif#")]
        assert len(shown) == len(expected)
        assert all(np.array_equal(one, other) for one, other in zip(shown, expected, strict=True))


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_frames_can_be_images(kind: str, tmp_path: Path) -> None:
    frames = [Image.fromarray(noise(8, 9, seed=frame)).convert("RGB").quantize(8).convert("RGB") for frame in range(4)]
    options = {"lossless": True} if kind == "WEBP" else {}
    content = encoded(frames[0], kind, save_all=True, append_images=frames[1:], **options)
    write(tmp_path, {f"a.{kind.lower()}": content, "b.png": png(noise(8, 9))})
    listing = FolderSource(tmp_path).listing(tmp_path)
    assert with_pages(listing, ReadOptions()) is listing
    wide = with_pages(listing, ReadOptions(pages="images"))
    assert len(wide.entries) == 5
    shown = {entry.name: open_image(pickle.loads(pickle.dumps(entry)).read()).pixels() for entry in wide.entries}  # noqa: S301
    for index, frame in enumerate(frames):
        assert np.array_equal(shown[f"a.{kind.lower()}#{index}"][:, :, :3], np.asarray(frame))


def test_broken_frames_and_directories_are_bad_images(tmp_path: Path) -> None:
    """Each damaged byte gives an error, and no memory is allocated for missing data."""
    stack = tiff(noise(3, 8, 9), metadata={"axes": "TYX"}, compression="zlib", **GREY)
    film = encoded(
        Image.fromarray(noise(8, 9)), "PNG", save_all=True, append_images=[Image.fromarray(noise(8, 9, seed=1))]
    )
    for name, content in (("a.tif", stack), ("a.png", film)):
        for at in range(0, len(content), 5):
            (tmp_path / name).write_bytes(content[:at] + b"\xff" * 4 + content[at + 4 :])
            listing = with_pages(Listing([FileEntry(name, tmp_path / name)]), ReadOptions(pages="images"))
            for entry in listing.entries:
                try:
                    open_image(entry.read()).pixels()
                except BadImageError:
                    continue


def test_frames_of_a_changed_file_are_read_again(tmp_path: Path) -> None:
    path = tmp_path / "a.gif"
    for level in (40, 200):
        frames = [Image.new("L", (4, 4), level + index) for index in range(2)]
        frames[0].save(path, save_all=True, append_images=frames[1:])
        listing = with_pages(Listing([FileEntry("a.gif", path)]), ReadOptions(pages="images"))
        assert [open_image(entry.read()).pixels()[0, 0, 0] for entry in listing.entries] == [level, level + 1]


def test_4_bit_pages_are_scaled_to_8_bits() -> None:
    values = np.arange(240, dtype=np.uint8).reshape(15, 16) % 16
    content = pages([values, 15 - values], bitspersample=4, photometric="minisblack")
    stacked = open_image(content, ReadOptions(pages="channels")).pixels()
    assert np.array_equal(stacked, np.stack([values, 15 - values], axis=2) * 17)


MISSING_CHANNEL = """<?xml version="1.0"?>
<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"><Image ID="Image:0">
<Pixels ID="P:0" DimensionOrder="XYCZT" Type="uint8" SizeX="9" SizeY="11" SizeC="3" SizeZ="1" SizeT="1">
<Channel ID="C:0" SamplesPerPixel="1"/><Channel ID="C:1" SamplesPerPixel="1"/><Channel ID="C:2" SamplesPerPixel="1"/>
<TiffData IFD="0" FirstC="0" PlaneCount="1"/><TiffData IFD="1" FirstC="2" PlaneCount="1"/>
</Pixels></Image></OME>"""


def test_a_stack_with_a_missing_page_is_rejected() -> None:
    content = io.BytesIO()
    with tifffile.TiffWriter(content) as writer:
        for page in range(2):
            text = MISSING_CHANNEL if page == 0 else None
            writer.write(noise(11, 9), photometric="minisblack", metadata=None, description=text)
    with pytest.raises(BadImageError, match="some of the pages in its metadata are missing"):
        open_image(content.getvalue())
