"""Every row of the tables in docs/images.md has a check here, and every check has a row."""

from __future__ import annotations

import gzip
import io
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import imagecodecs
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tifffile
import torch
from PIL import Image, ImageCms

from pictures import PICTURES, holds_the_pictures, png, stacked, write
from sfumato.data import load_images
from sfumato.errors import DataError
from sfumato.sampling.writers import save_image

PAGE = (Path(__file__).parents[2] / "docs" / "images.md").read_text(encoding="utf-8")

Check = Callable[[Path], None]


def folder(tmp: Path) -> None:
    write(tmp / "a")
    (tmp / "a" / "bee" / "0.png").rename(tmp / "a" / "bee" / "0.PNG")
    Image.fromarray(PICTURES["bee/1.png"]).save(tmp / "a" / "bee" / "1.bmp")
    (tmp / "a" / "bee" / "1.png").unlink()
    np.save(tmp / "a" / "bee" / "2.npy", PICTURES["bee/2.png"])
    (tmp / "a" / "bee" / "2.png").unlink()
    (tmp / "a" / "horse" / "deep" / "er").mkdir(parents=True)
    (tmp / "a" / "horse" / "0.png").rename(tmp / "a" / "horse" / "deep" / "er" / "0.png")
    images = load_images(tmp / "a")
    assert {image.tobytes() for image in images.images.numpy()} == {image.tobytes() for image in stacked()}
    assert images.label_names == ("bee", "horse")


def archives(tmp: Path) -> None:
    write(tmp / "a")
    with zipfile.ZipFile(tmp / "photos.zip", "w") as archive:
        for name in sorted(PICTURES):
            archive.write(tmp / "a" / name, name)
        archive.writestr("../../evil/0.png", png(PICTURES["bee/0.png"]))
    images = load_images(tmp / "photos.zip")
    holds_the_pictures(images)
    assert "../../evil/0.png (its path is outside the archive)" in images.notices[0].text
    assert not (tmp / "evil").exists()
    for suffix, mode in ((".tar", "w"), (".tar.gz", "w:gz"), (".tar.xz", "w:xz"), (".tar.bz2", "w:bz2")):
        with tarfile.open(tmp / f"photos{suffix}", mode) as archive_of_a:  # type: ignore[call-overload]
            archive_of_a.add(tmp / "a", ".")
        holds_the_pictures(load_images(tmp / f"photos{suffix}"))


def arrays(tmp: Path) -> None:
    pictures = stacked()
    labels = [name.split("/")[0] for name in sorted(PICTURES)]
    np.savez(tmp / "images.npz", images=pictures, labels=labels)
    holds_the_pictures(load_images(tmp / "images.npz"))
    np.save(tmp / "images.npy", pictures)
    holds_the_pictures(load_images(tmp / "images.npy"), labelled=False)
    np.save(tmp / "images.npy", pictures.transpose(0, 2, 3, 1))
    holds_the_pictures(load_images(tmp / "images.npy"), labelled=False)
    np.save(tmp / "grey.npy", pictures[:, 0])
    assert np.array_equal(load_images(tmp / "grey.npy").images[:, 0].numpy(), pictures[:, 0])


def hub_table() -> pa.Table:
    names = sorted(PICTURES)
    cells = [{"bytes": png(PICTURES[name]), "path": name} for name in names]
    features = '{"info": {"features": {"label": {"names": ["bee", "horse"], "_type": "ClassLabel"}}}}'
    table = pa.table({"image": cells, "label": [int(name.startswith("horse")) for name in names]})
    return table.replace_schema_metadata({"huggingface": features})


def parquet(tmp: Path) -> None:
    pq.write_table(hub_table(), tmp / "images.parquet", row_group_size=4)
    holds_the_pictures(load_images(tmp / "images.parquet"))
    (tmp / "shards").mkdir()
    for number, part in enumerate((hub_table()[:2], hub_table()[2:])):
        pq.write_table(part, tmp / "shards" / f"{number}.parquet")
    holds_the_pictures(load_images(tmp / "shards"))


def hub(tmp: Path) -> None:
    write(tmp / "a" / "train")
    holds_the_pictures(load_images(f"hf:{tmp / 'a'}"))
    holds_the_pictures(load_images(f"hf:{tmp / 'a'}:train"))


def digits(_: Path) -> None:
    assert load_images("digits").images.shape == (1797, 1, 8, 8)


def shapes(_: Path) -> None:
    images = load_images("shapes")
    assert images.images.shape == (4096, 3, 32, 32)
    assert [column.name for column in images.columns] == ["shape", "colour", "size", "angle"]
    assert load_images("shapes", size=16, labels=False).image_shape == (3, 16, 16)


def modes(tmp: Path) -> None:
    for channels in (1, 3, 4):
        shown = np.full((8, 8, channels), 77, np.uint8)
        alike = {f"{number}.png": shown[:, :, 0] if channels == 1 else shown for number in range(3)}
        images = load_images(write(tmp / str(channels), alike))
        assert images.image_shape == (channels, 8, 8)
        assert images.images.unique().tolist() == [77]
    write(tmp / "3", {"see-through.png": np.zeros((8, 8, 4), np.uint8)})
    images = load_images(tmp / "3")
    assert images.images[3].unique().tolist() == [255]
    assert [notice.text for notice in images.notices] == ["1 of 4 images were converted from RGBA to RGB."]


def many_channels(tmp: Path) -> None:
    for channels in (2, 5, 7):
        pixels = np.random.default_rng(0).integers(256, size=(4, 9, 8, channels), dtype=np.uint8)
        np.save(tmp / f"{channels}.npy", pixels)
        (tmp / str(channels)).mkdir()
        for number, image in enumerate(pixels):
            tifffile.imwrite(
                tmp / str(channels) / f"{number}.tif", image, photometric="minisblack", planarconfig="contig"
            )
        for source in (tmp / f"{channels}.npy", tmp / str(channels)):
            assert np.array_equal(load_images(source).images.numpy(), pixels.transpose(0, 3, 1, 2))


def depths(tmp: Path) -> None:
    random = np.random.default_rng(0)
    for name, pixels in {
        "deep": random.integers(65536, size=(3, 8, 8, 3), dtype=np.uint16),
        "deep grey": random.integers(65536, size=(3, 8, 8, 1), dtype=np.uint16),
        "float": random.random((3, 8, 8, 3), dtype=np.float32),
    }.items():
        np.save(tmp / f"{name}.npy", pixels)
        images = load_images(tmp / f"{name}.npy")
        for number, image in enumerate(images.floats()):
            save_image(image, images.depth, tmp / name / str(number))
        again = load_images(tmp / name)
        assert again.images.dtype == images.images.dtype
        difference = again.images.double() - torch.from_numpy(pixels.astype(np.float64)).permute(0, 3, 1, 2)
        assert difference.abs().max() < 1e-6


def colours(tmp: Path) -> None:
    (tmp / "a").mkdir()
    Image.new("RGB", (8, 8), (10, 20, 30)).quantize(2).save(tmp / "a" / "palette.png")
    Image.new("CMYK", (8, 8), (0, 255, 255, 0)).save(tmp / "a" / "cmyk.tif")
    Image.new("LAB", (8, 8), (255, 128, 128)).save(tmp / "a" / "lab.tif")
    images = load_images(tmp / "a").images
    assert images[::2, :, 0, 0].tolist() == [[255, 0, 0], [10, 20, 30]]
    assert images[1].min() >= 253
    (tmp / "b").mkdir()
    for number in range(2):
        Image.new("1", (8, 8), number).save(tmp / "b" / f"{number}.png")
    assert load_images(tmp / "b").images[:, 0, 0, 0].tolist() == [0, 255]


def as_shown(tmp: Path) -> None:
    tall = Image.fromarray(np.arange(128, dtype=np.uint8).reshape(16, 8).repeat(3).reshape(16, 8, 3))
    exif = Image.Exif()
    exif[0x0112] = 8
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for number in range(2):
        tall.transpose(Image.Transpose.ROTATE_270).save(tmp / f"{number}.png", exif=exif, icc_profile=profile)
    assert np.array_equal(load_images(tmp).images[0].permute(1, 2, 0).numpy(), np.asarray(tall))


def animations(tmp: Path) -> None:
    frames = [Image.new("L", (8, 8), colour) for colour in (10, 200)]
    for number in range(2):
        frames[0].save(tmp / f"{number}.gif", save_all=True, append_images=frames[1:])
    assert load_images(tmp).images.unique().tolist() == [10]


def sizes(tmp: Path) -> None:
    write(tmp, {"wide.png": np.zeros((10, 30, 3), np.uint8), "tall.png": np.zeros((50, 20, 3), np.uint8)})
    assert load_images(tmp, size=64).image_shape == (3, 64, 64)
    for fit in ("crop", "pad", "resize"):
        assert load_images(tmp, size="64x96", fit=fit).image_shape == (3, 96, 64)  # type: ignore[arg-type]
    with pytest.raises(DataError, match="--size"):
        load_images(tmp)


def classes(tmp: Path) -> None:
    holds_the_pictures(load_images(write(tmp / "photos")))


def metadata(tmp: Path) -> None:
    flat = {name.replace("/", "-"): pixels for name, pixels in PICTURES.items()}
    rows = [{"file_name": name, "species": name.split("-")[0], "age": 1.5 + i} for i, name in enumerate(sorted(flat))]
    csv = "file_name,species,age\n" + "".join(f"{row['file_name']},{row['species']},{row['age']}\n" for row in rows)
    jsonl = "".join(
        f'{{"file_name": "{r["file_name"]}", "species": "{r["species"]}", "age": {r["age"]}}}\n' for r in rows
    )
    for suffix, text in ((".csv", csv), (".jsonl", jsonl), (".parquet", None)):
        root = write(tmp / suffix.removeprefix("."), flat)
        if text is None:
            pq.write_table(pa.Table.from_pylist(rows), root / "metadata.parquet")
        else:
            (root / f"metadata{suffix}").write_text(text)
        holds_the_pictures(load_images(root, condition=("species",)))
        both = load_images(root, condition=("species", "age"))
        assert [column.name for column in both.columns] == ["species", "age"]


def shards(tmp: Path) -> None:
    (tmp / "shards").mkdir()
    for shard in range(2):
        with tarfile.open(tmp / "shards" / f"{shard}.tar", "w") as archive:
            for name in sorted(PICTURES)[3 * shard : 3 * shard + 3]:
                stem = name.replace("/", "-").removesuffix(".png")
                for suffix, content in (("png", png(PICTURES[name])), ("cls", name.split("/")[0].encode())):
                    member = tarfile.TarInfo(f"{stem}.{suffix}")
                    member.size = len(content)
                    archive.addfile(member, io.BytesIO(content))
    holds_the_pictures(load_images(tmp / "shards"))


def npz_layouts(tmp: Path) -> None:
    pictures, labels = stacked(), np.array([name.split("/")[0] for name in sorted(PICTURES)])
    np.savez(tmp / "arr.npz", pictures, labels)
    np.savez(tmp / "keras.npz", x_train=pictures, y_train=labels, x_test=pictures[:2], y_test=labels[:2])
    places = (labels == "horse").astype(int)
    np.savez(tmp / "med.npz", train_images=pictures, train_labels=places[:, None], label_names=["bee", "horse"])
    for name in ("arr", "keras", "med"):
        holds_the_pictures(load_images(tmp / f"{name}.npz"))


def cifar(tmp: Path) -> None:
    folder, random = tmp / "cifar-10-batches-bin", np.random.default_rng(0)
    folder.mkdir()
    pixels = random.integers(256, size=(4, 3, 32, 32), dtype=np.uint8)
    records = b"".join(bytes([number % 2]) + image.tobytes() for number, image in enumerate(pixels))
    for name in ("data_batch_1.bin", "test_batch.bin"):
        (folder / name).write_bytes(records)
    (folder / "batches.meta.txt").write_text("airplane\nbird\n")
    images = load_images(tmp)
    assert np.array_equal(images.images.numpy(), pixels)
    assert images.label_names == ("airplane", "bird")


def idx(tmp: Path) -> None:
    pixels = np.random.default_rng(0).integers(256, size=(4, 9, 7), dtype=np.uint8)
    head = b"\0\0\x08\3" + b"".join(size.to_bytes(4, "big") for size in pixels.shape)
    (tmp / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(head + pixels.tobytes()))
    (tmp / "train-labels-idx1-ubyte").write_bytes(b"\0\0\x08\1\0\0\0\4" + bytes([5, 7, 5, 7]))
    images = load_images(tmp)
    assert np.array_equal(images.images[:, 0].numpy(), pixels)
    assert images.label_names == ("5", "7")


def integers(tmp: Path) -> None:
    for dtype in ("int16", "int32", "uint32", "int64"):
        heights = np.arange(300).reshape(3, 10, 10).astype(dtype)
        np.save(tmp / f"{dtype}.npy", heights)
        images = load_images(tmp / f"{dtype}.npy")
        assert images.depth.range == (0, 299)
        assert np.array_equal(images.images[:, 0].numpy(), heights)


def needing_imagecodecs(tmp: Path) -> None:
    deep = np.random.default_rng(0).integers(65536, size=(2, 9, 8, 3), dtype=np.uint16)
    for number, pixels in enumerate(deep):
        (tmp / f"{number}.png").write_bytes(imagecodecs.png_encode(pixels))
        tifffile.imwrite(tmp / f"{number}.tif", pixels, photometric="rgb", compression="lzw")
    assert np.array_equal(load_images(tmp).images[::2].permute(0, 2, 3, 1).numpy(), deep)


def heic(tmp: Path) -> None:
    heif = pytest.importorskip("pillow_heif")
    for number in range(2):
        heif.from_pillow(Image.new("RGB", (64, 64), (200, 30, 60))).save(tmp / f"{number}.HEIC")
    assert (load_images(tmp).images[0, :, 32, 32].int() - torch.tensor([200, 30, 60])).abs().max() < 8


def large_images(tmp: Path) -> None:
    for number in range(2):
        Image.new("L", (4000, 3000), 99).save(tmp / f"{number}.jpg")
    assert load_images(tmp, size=8).images.unique().tolist() == [99]


def opacity(tmp: Path) -> None:
    plain = np.zeros((3, 8, 8, 4), np.uint8)
    plain[..., 0] = 80
    np.save(tmp / "plain.npy", plain)
    images = load_images(tmp / "plain.npy", size=4)
    assert not images.depth.opacity
    assert images.images[0, :, 0, 0].tolist() == [80, 0, 0, 0]
    assert load_images(tmp / "plain.npy", channels="rgba").depth.opacity
    assert load_images(write(tmp / "declared", {f"{n}.png": plain[n] for n in range(3)})).depth.opacity


def pages(tmp: Path) -> None:
    stack = np.random.default_rng(0).integers(256, size=(5, 16, 16), dtype=np.uint8)
    for number in range(2):
        tifffile.imwrite(tmp / f"{number}.tif", stack)
    with pytest.raises(DataError, match="--pages"):
        load_images(tmp)
    assert load_images(tmp, pages="channels").image_shape == (5, 16, 16)
    assert np.array_equal(load_images(tmp, pages="images").images[:5, 0].numpy(), stack)
    assert np.array_equal(load_images(tmp, pages="first").images[0, 0].numpy(), stack[0])


def values(tmp: Path) -> None:
    np.save(tmp / "12.npy", np.linspace(8, 4088, 3 * 64).reshape(3, 8, 8).astype(np.uint16))
    assert load_images(tmp / "12.npy").depth.range == (8, 4088)
    assert load_images(tmp / "12.npy", range=(0, 4095)).depth.range == (0, 4095)


def missing(tmp: Path) -> None:
    heights = np.full((3, 8, 8), 5, np.float32)
    heights[:, 0], heights[:, 1], heights[:, 2] = np.nan, -1, 7
    np.save(tmp / "heights.npy", heights)
    images = load_images(tmp / "heights.npy", nodata=-1)
    assert images.images[0, 0, 0, 0] == pytest.approx((5 * 5 + 7) / 6)
    assert images.depth.range == (5, 7)


def splits(tmp: Path) -> None:
    for split in ("train", "val", "test"):
        write(tmp / split)
    images = load_images(tmp)
    holds_the_pictures(images)
    assert {name: len(others) for name, others in images.others.items()} == {"validation": 6, "test": 6}
    assert len(load_images(tmp, split="all")) == 18


def columns(tmp: Path) -> None:
    flat = {f"{number}.png": pixels for number, pixels in enumerate(PICTURES.values())}
    rows = ["id;age", *(f"{number};{'NA' if number == 5 else f'{number},5'}" for number in range(6))]
    (write(tmp, flat) / "labels.csv").write_text("\n".join(rows))
    (age,) = load_images(tmp, condition=["age"]).columns
    assert str(age) == "age (0.5 to 4.5)"
    assert load_images(tmp, condition=["age:class"]).label_names == ("0.5", "1.5", "2.5", "3.5", "4.5")


SOURCES: dict[str, tuple[Check, ...]] = {
    "a folder": (folder,),
    "`.zip`, `.tar`, `.tar.gz`, `.tar.xz`, `.tar.bz2`": (archives,),
    "WebDataset: a `.tar`, or a folder of them": (shards,),
    "`.npy`": (arrays,),
    "`.npz`": (arrays, npz_layouts),
    "CIFAR-10 and CIFAR-100, binary version": (cifar,),
    "MNIST's idx files": (idx,),
    "`.parquet`, or a folder of them": (parquet,),
    "`hf:NAME`, `hf:NAME:SPLIT`": (hub,),
    "`digits`": (digits,),
    "`shapes`": (shapes,),
    "tables next to the images": (metadata, columns),
}
FORMATS: dict[str, tuple[Check, ...]] = {
    "formats of Pillow": (folder, animations),
    "HEIC, HEIF": (heic,),
    "8 bits, 16 bits, floats": (depths,),
    "formats that need imagecodecs": (needing_imagecodecs,),
    "signed integers, 32 and 64 bits": (integers,),
    "orientation, colour profiles": (as_shown,),
    "palettes, CMYK, LAB, 1 bit": (colours,),
    "large images": (large_images,),
}
DECISIONS: dict[str, tuple[Check, ...]] = {
    "Which size?": (sizes,),
    "Which channels?": (modes, many_channels),
    "Is the fourth channel opacity?": (opacity,),
    "What are the pages of a TIFF?": (pages,),
    "Which values are black and white?": (values,),
    "Which pixels have no data?": (missing,),
    "Which images are used for training?": (splits,),
    "What are the classes?": (classes,),
    "Which table describes the images?": (metadata, columns),
    "What is a column?": (columns,),
}
CHECKS = SOURCES | FORMATS | DECISIONS


def lines() -> list[str]:
    """The first cell of each row of all tables of the page."""
    rows = [line.split(" | ")[0].removeprefix("| ") for line in PAGE.splitlines() if line.startswith("| ")]
    return [row for row in rows if row not in ("source", "format", "question", "---")]


def test_every_line_has_a_check_and_every_check_a_line() -> None:
    assert lines() == [*CHECKS, "Which encoding do the names in an archive have?"]  # tests/sources/test_file_names.py


@pytest.mark.parametrize("checks", CHECKS.values(), ids=CHECKS.keys())
def test_row(checks: tuple[Check, ...], tmp_path: Path) -> None:
    for number, check in enumerate(checks):
        (tmp_path / str(number)).mkdir()
        check(tmp_path / str(number))
