"""Pickles of weights that are broken, hostile or of another kind: one sentence, no code is run, no memory is taken."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any
from zipfile import ZIP_DEFLATED, ZipFile

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from sfumato.errors import RunError
from sfumato.exchange.export import export
from sfumato.exchange.load import load
from sfumato.exchange.weights import as_float32

from .conftest import build, unet

BIN = "diffusion_pytorch_model.bin"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A stock folder without weights."""
    export(build(unet(128, multipliers=(1,), attention_levels=())), tmp_path / "in")
    (tmp_path / "in" / "unet" / "diffusion_pytorch_model.safetensors").unlink()
    return tmp_path / "in"


def test_weights_in_several_files_have_their_own_remedy(folder: Path) -> None:
    weights = {"conv_in.bias": torch.zeros(128)}
    save_file(weights, folder / "unet" / "diffusion_pytorch_model.fp16-00001-of-00002.safetensors")
    (folder / "unet" / "diffusion_pytorch_model.safetensors.index.json").write_text("{}", encoding="utf-8")
    message = r"unet has its weights in several files.*Save them as one file: save_pretrained\(FOLDER, max_shard_size="
    with pytest.raises(RunError, match=message):
        load(folder)


def test_a_folder_without_weights_has_the_remedy_of_a_copy(folder: Path) -> None:
    with pytest.raises(RunError, match=r"has no diffusion_pytorch_model\.safetensors\. Restore it from a copy"):
        load(folder)


class Attack:
    """An object that writes a file when it is read from a pickle."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.target,)


def test_a_pickle_with_code_is_rejected(folder: Path, tmp_path: Path) -> None:
    torch.save({"conv_in.weight": Attack(tmp_path / "ran")}, folder / "unet" / BIN)
    with pytest.raises(RunError, match="other objects than tensors, and reading them could run code"):
        load(folder)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("name", ["network-snapshot.pkl", "last.ckpt", "pytorch_model.bin"])
def test_other_pickles_are_not_read(name: str, folder: Path, tmp_path: Path) -> None:
    (folder / "unet" / name).write_bytes(pickle.dumps(Attack(tmp_path / "ran")))
    with pytest.raises(RunError, match=f"{name} is not read, because reading a pickle can run code"):
        load(folder)
    assert not (tmp_path / "ran").exists()


def test_a_truncated_pickle_is_rejected(folder: Path) -> None:
    file = folder / "unet" / BIN
    torch.save({"conv_in.weight": torch.zeros(1000)}, file)
    file.write_bytes(file.read_bytes()[:500])
    with pytest.raises(RunError, match="truncated, or contains other objects than tensors"):
        load(folder)


@pytest.mark.parametrize("content", [b"\x80\x02.", b"\x80\x02Ra.", b"\x80\x02}q\x00.", b"hello", b"\x80\x02(u.", b""])
def test_a_malformed_pickle_is_rejected(content: bytes, folder: Path) -> None:
    (folder / "unet" / BIN).write_bytes(content)
    with pytest.raises(RunError, match="truncated, or contains other objects than tensors"):
        load(folder)


def on_meta(tensor: Tensor) -> Tensor:
    return tensor.to("meta")


def quantized(tensor: Tensor) -> Tensor:
    return torch.quantize_per_tensor(tensor, 1.0, 0, torch.quint8)


@pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor")
@pytest.mark.parametrize("change", [on_meta, Tensor.to_sparse, quantized])
def test_other_tensors_than_dense_ones_are_rejected(change: Callable[[Tensor], Tensor], folder: Path) -> None:
    torch.save({"conv_in.bias": change(torch.zeros(128))}, folder / "unet" / BIN)
    with pytest.raises(RunError, match=r"not a dictionary of names and dense tensors|other objects|truncated"):
        load(folder)


@pytest.mark.parametrize("content", [{1: torch.zeros(1)}, {"conv_in.bias": 1.0}, [torch.zeros(1)], torch.zeros(1)])
def test_other_objects_than_named_tensors_are_rejected(content: Any, folder: Path) -> None:  # noqa: ANN401
    torch.save(content, folder / "unet" / BIN)
    with pytest.raises(RunError, match="not a dictionary of names and dense tensors"):
        load(folder)


def test_a_small_file_with_a_huge_tensor_is_rejected(folder: Path) -> None:
    """A view of one number in half precision, which would take 40 TB in float32."""
    torch.save({"conv_in.bias": torch.zeros(1, dtype=torch.float16).expand(10**13)}, folder / "unet" / BIN)
    with pytest.raises(RunError, match="more than the file contains"):
        load(folder)


def test_a_compressed_archive_is_rejected(folder: Path) -> None:
    """A file of 40 KB could take 40 MB of memory, or far more."""
    torch.save({"conv_in.bias": torch.zeros(10**7)}, folder / "whole.bin")
    with ZipFile(folder / "whole.bin") as whole, ZipFile(folder / "unet" / BIN, "w", ZIP_DEFLATED) as small:
        for name in whole.namelist():
            small.writestr(name, whole.read(name))
    with pytest.raises(RunError, match="truncated, or contains"):
        load(folder)


def test_a_file_of_old_versions_of_torch_is_read(folder: Path) -> None:
    """It is not an archive."""
    from safetensors.torch import load_file

    export(build(unet(128, multipliers=(1,), attention_levels=())), folder.parent / "whole")
    weights = load_file(folder.parent / "whole" / "unet" / "diffusion_pytorch_model.safetensors")
    torch.save(weights, folder / "unet" / BIN, _use_new_zipfile_serialization=False)
    assert torch.equal(load(folder).network.head.weight, weights["conv_out.weight"])


def test_weights_of_another_network_are_not_converted() -> None:
    """The conversion to float32 doubles the memory of a file in half precision."""
    half = torch.zeros(1, dtype=torch.float16).expand(10**13)
    with pytest.raises(RunError, match=r"float32 \[10000000000000\], not torch\.float32 \[128\]"):
        as_float32({"conv_in.bias": half}, {"conv_in.bias": torch.zeros(128)}, Path("unet"))


def test_other_types_than_floats_are_rejected(folder: Path) -> None:
    model = build(unet(128, multipliers=(1,), attention_levels=()))
    export(model, folder.parent / "whole")
    from safetensors.torch import load_file

    weights = load_file(folder.parent / "whole" / "unet" / "diffusion_pytorch_model.safetensors")
    weights["conv_in.bias"] = weights["conv_in.bias"].to(torch.int64)
    torch.save(weights, folder / "unet" / BIN)
    with pytest.raises(RunError, match=r"stem\.bias as torch\.int64"):
        load(folder)
