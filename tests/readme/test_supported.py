"""The README's table of supported inputs is true, line by line: each line has a check here, and each check a line."""

from __future__ import annotations

import io
import re
import tarfile
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tifffile
import torch
from PIL import Image, ImageCms

from sfumato.data import ImageSet, load_images
from sfumato.depth import EIGHT_BITS
from sfumato.errors import DataError
from sfumato.writers import save_image

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")

Check = Callable[[Path], None]

PICTURES: Mapping[str, np.ndarray] = {
    f"{label}/{number}.png": np.random.default_rng(7 * number + len(label)).integers(
        256, size=(8, 6, 3), dtype=np.uint8
    )
    for label in ("bee", "horse")
    for number in range(3)
}
"""Six pictures of 6x8 pixels in two classes."""


def png(pixels: np.ndarray) -> bytes:
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, "PNG")
    return content.getvalue()


def write(folder: Path, pictures: Mapping[str, np.ndarray] = PICTURES) -> Path:
    for name, pixels in pictures.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(png(pixels))
    return folder


def stacked(pictures: Mapping[str, np.ndarray] = PICTURES) -> np.ndarray:
    """(N, C, H, W)."""
    return np.stack([pictures[name] for name in sorted(pictures)]).transpose(0, 3, 1, 2)


def holds_the_pictures(images: ImageSet, labelled: bool = True) -> None:
    assert np.array_equal(images.images.numpy(), stacked())
    assert images.label_names == (("bee", "horse") if labelled else ())


def folder(place: Path) -> None:
    write(place / "a")
    (place / "a" / "bee" / "0.png").rename(place / "a" / "bee" / "0.PNG")
    Image.fromarray(PICTURES["bee/1.png"]).save(place / "a" / "bee" / "1.bmp")
    (place / "a" / "bee" / "1.png").unlink()
    np.save(place / "a" / "bee" / "2.npy", PICTURES["bee/2.png"])
    (place / "a" / "bee" / "2.png").unlink()
    (place / "a" / "horse" / "deep" / "er").mkdir(parents=True)
    (place / "a" / "horse" / "0.png").rename(place / "a" / "horse" / "deep" / "er" / "0.png")
    images = load_images(place / "a")
    assert {image.tobytes() for image in images.images.numpy()} == {image.tobytes() for image in stacked()}
    assert images.label_names == ("bee", "horse")


def archives(place: Path) -> None:
    write(place / "a")
    with zipfile.ZipFile(place / "photos.zip", "w") as archive:
        for name in sorted(PICTURES):
            archive.write(place / "a" / name, name)
        archive.writestr("../../evil/0.png", png(PICTURES["bee/0.png"]))
    images = load_images(place / "photos.zip")
    holds_the_pictures(images)
    assert "../../evil/0.png (its path leads out of the archive)" in images.notices[0].text
    assert not (place / "evil").exists()
    for suffix, mode in ((".tar", "w"), (".tar.gz", "w:gz"), (".tar.xz", "w:xz"), (".tar.bz2", "w:bz2")):
        with tarfile.open(place / f"photos{suffix}", mode) as archive_of_a:  # type: ignore[call-overload]
            archive_of_a.add(place / "a", ".")
        holds_the_pictures(load_images(place / f"photos{suffix}"))


def arrays(place: Path) -> None:
    pictures = stacked()
    labels = [name.split("/")[0] for name in sorted(PICTURES)]
    np.savez(place / "images.npz", images=pictures, labels=labels)
    holds_the_pictures(load_images(place / "images.npz"))
    np.save(place / "images.npy", pictures)
    holds_the_pictures(load_images(place / "images.npy"), labelled=False)
    np.save(place / "images.npy", pictures.transpose(0, 2, 3, 1))
    holds_the_pictures(load_images(place / "images.npy"), labelled=False)
    np.save(place / "grey.npy", pictures[:, 0])
    assert np.array_equal(load_images(place / "grey.npy").images[:, 0].numpy(), pictures[:, 0])


def hub_table() -> pa.Table:
    names = sorted(PICTURES)
    cells = [{"bytes": png(PICTURES[name]), "path": name} for name in names]
    features = '{"info": {"features": {"label": {"names": ["bee", "horse"], "_type": "ClassLabel"}}}}'
    table = pa.table({"image": cells, "label": [int(name.startswith("horse")) for name in names]})
    return table.replace_schema_metadata({"huggingface": features})


def parquet(place: Path) -> None:
    pq.write_table(hub_table(), place / "images.parquet", row_group_size=4)
    holds_the_pictures(load_images(place / "images.parquet"))
    (place / "shards").mkdir()
    for number, part in enumerate((hub_table()[:2], hub_table()[2:])):
        pq.write_table(part, place / "shards" / f"{number}.parquet")
    holds_the_pictures(load_images(place / "shards"))


def hub(place: Path) -> None:
    write(place / "a" / "train")
    holds_the_pictures(load_images(f"hf:{place / 'a'}"))
    holds_the_pictures(load_images(f"hf:{place / 'a'}:train"))


def digits(_: Path) -> None:
    assert load_images("digits").images.shape == (1797, 1, 8, 8)


def modes(place: Path) -> None:
    for channels in (1, 3, 4):
        shown = np.full((8, 8, channels), 77, np.uint8)
        alike = {f"{number}.png": shown[:, :, 0] if channels == 1 else shown for number in range(3)}
        images = load_images(write(place / str(channels), alike))
        assert images.image_shape == (channels, 8, 8)
        assert images.images.unique().tolist() == [77]
    write(place / "3", {"see-through.png": np.zeros((8, 8, 4), np.uint8)})
    images = load_images(place / "3")
    assert images.images[3].unique().tolist() == [255]
    assert tuple(map(str, images.notices)) == ("1 of 4 images were converted from RGBA to RGB.",)


def many_channels(place: Path) -> None:
    for channels in (2, 5, 7):
        pixels = np.random.default_rng(0).integers(256, size=(4, 9, 8, channels), dtype=np.uint8)
        np.save(place / f"{channels}.npy", pixels)
        (place / str(channels)).mkdir()
        for number, image in enumerate(pixels):
            tifffile.imwrite(
                place / str(channels) / f"{number}.tif", image, photometric="minisblack", planarconfig="contig"
            )
        for source in (place / f"{channels}.npy", place / str(channels)):
            assert np.array_equal(load_images(source).images.numpy(), pixels.transpose(0, 3, 1, 2))


def depths(place: Path) -> None:
    random = np.random.default_rng(0)
    for name, pixels in {
        "deep": random.integers(65536, size=(3, 8, 8, 3), dtype=np.uint16),
        "deep grey": random.integers(65536, size=(3, 8, 8, 1), dtype=np.uint16),
        "float": random.random((3, 8, 8, 3), dtype=np.float32),
    }.items():
        np.save(place / f"{name}.npy", pixels)
        images = load_images(place / f"{name}.npy")
        for number, image in enumerate(images.floats()):
            save_image(image, images.depth, place / name / str(number))
        again = load_images(place / name)
        assert again.images.dtype == images.images.dtype
        difference = again.images.double() - torch.from_numpy(pixels.astype(np.float64)).permute(0, 3, 1, 2)
        assert difference.abs().max() < 1e-6


def colours(place: Path) -> None:
    (place / "a").mkdir()
    Image.new("RGB", (8, 8), (10, 20, 30)).quantize(2).save(place / "a" / "palette.png")
    Image.new("CMYK", (8, 8), (0, 255, 255, 0)).save(place / "a" / "cmyk.tif")
    Image.new("LAB", (8, 8), (255, 128, 128)).save(place / "a" / "lab.tif")
    images = load_images(place / "a").images
    assert images[::2, :, 0, 0].tolist() == [[255, 0, 0], [10, 20, 30]]
    assert images[1].min() >= 253
    (place / "b").mkdir()
    for number in range(2):
        Image.new("1", (8, 8), number).save(place / "b" / f"{number}.png")
    assert load_images(place / "b").images[:, 0, 0, 0].tolist() == [0, 255]


def as_shown(place: Path) -> None:
    tall = Image.fromarray(np.arange(128, dtype=np.uint8).reshape(16, 8).repeat(3).reshape(16, 8, 3))
    exif = Image.Exif()
    exif[0x0112] = 8
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for number in range(2):
        tall.transpose(Image.Transpose.ROTATE_270).save(place / f"{number}.png", exif=exif, icc_profile=profile)
    assert np.array_equal(load_images(place).images[0].permute(1, 2, 0).numpy(), np.asarray(tall))


def animations(place: Path) -> None:
    frames = [Image.new("L", (8, 8), colour) for colour in (10, 200)]
    for number in range(2):
        frames[0].save(place / f"{number}.gif", save_all=True, append_images=frames[1:])
    assert load_images(place).images.unique().tolist() == [10]


def sizes(place: Path) -> None:
    write(place, {"wide.png": np.zeros((10, 30, 3), np.uint8), "tall.png": np.zeros((50, 20, 3), np.uint8)})
    assert load_images(place, size=64).image_shape == (3, 64, 64)
    for fit in ("crop", "pad", "resize"):
        assert load_images(place, size="64x96", fit=fit).image_shape == (3, 96, 64)  # type: ignore[arg-type]
    with pytest.raises(DataError, match="--size"):
        load_images(place)


def classes(place: Path) -> None:
    holds_the_pictures(load_images(write(place / "photos")))


def metadata(place: Path) -> None:
    flat = {name.replace("/", "-"): pixels for name, pixels in PICTURES.items()}
    rows = [{"file_name": name, "species": name.split("-")[0], "age": 1.5 + i} for i, name in enumerate(sorted(flat))]
    csv = "file_name,species,age\n" + "".join(f"{row['file_name']},{row['species']},{row['age']}\n" for row in rows)
    jsonl = "".join(
        f'{{"file_name": "{r["file_name"]}", "species": "{r["species"]}", "age": {r["age"]}}}\n' for r in rows
    )
    for suffix, text in ((".csv", csv), (".jsonl", jsonl), (".parquet", None)):
        root = write(place / suffix.removeprefix("."), flat)
        if text is None:
            pq.write_table(pa.Table.from_pylist(rows), root / "metadata.parquet")
        else:
            (root / f"metadata{suffix}").write_text(text)
        holds_the_pictures(load_images(root, condition=("species",)))
        both = load_images(root, condition=("species", "age"))
        assert [column.name for column in both.columns] == ["species", "age"]


def unreadable(place: Path) -> None:
    write(place)
    (place / "bee" / "broken.png").write_text("no image")
    (notice,) = map(str, load_images(place).notices)
    assert notice == "1 of 7 images were skipped: bee/broken.png (it is not an image that can be read)."


CHECKS: dict[str, Check] = {
    "`photos/`": folder,
    "`photos.zip`, `photos.tar`, `.tar.gz`, `.tar.xz`, `.tar.bz2`": archives,
    "`images.npz`, `images.npy`": arrays,
    "`images.parquet` or a folder of them": parquet,
    "`hf:NAME`, `hf:NAME:SPLIT`": hub,
    "`digits`": digits,
    "grey, RGB, RGBA": modes,
    "2, 5 or N channels": many_channels,
    "8 bits, 16 bits, floats": depths,
    "palettes, CMYK, LAB, 1 bit": colours,
    "EXIF rotation, colour profiles": as_shown,
    "animations": animations,
    "any size, square or not": sizes,
    "`photos/cat/...`, `photos/dog/...`": classes,
    "`metadata.csv`, `.jsonl`, `.parquet`": metadata,
    "what cannot be read": unreadable,
}


def lines() -> list[str]:
    """The inputs that the README says are supported."""
    table = README[README.index("| input | how it is read |") :].split("\n\n")[0]
    return [row.split(" | ")[0].removeprefix("| ") for row in table.splitlines()[2:]]


def test_every_line_has_a_check_and_every_check_a_line() -> None:
    assert lines() == list(CHECKS)
    assert re.search(r"\| input \| how it is read \|", README)


@pytest.mark.parametrize("check", CHECKS.values(), ids=CHECKS.keys())
def test_the_line_is_true(check: Check, tmp_path: Path) -> None:
    check(tmp_path)


def test_eight_bits_are_the_usual_depth(tmp_path: Path) -> None:
    assert load_images(write(tmp_path)).depth == EIGHT_BITS
