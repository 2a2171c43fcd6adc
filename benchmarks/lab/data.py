"""CIFAR-10 as one tensor, from the archive of JPEG files."""

import io
import tarfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor


def cifar10(archive: Path, limit: int | None = None) -> tuple[Tensor, Tensor]:
    """The training images, uint8 (50000, 3, 32, 32), and their classes (50000,), in alphabetical order of the names."""
    images, names = [], []
    with tarfile.open(archive) as tar:
        for member in tar:
            if member.isfile() and member.name.startswith("train/"):
                images.append(np.asarray(Image.open(io.BytesIO(tar.extractfile(member).read())).convert("RGB")))
                names.append(member.name.split("/")[1])
                if len(images) == limit:
                    break
    classes = {name: i for i, name in enumerate(sorted(set(names)))}
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).contiguous(), torch.tensor(
        [classes[n] for n in names]
    )
