"""A judge of benchmarks/judge.py: what it learns, and the distances that it prints."""

import runpy
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
SIDE = 8
AFFINE = ("weight", "bias")


@pytest.fixture(scope="module")
def script() -> SimpleNamespace:
    """The names of the script, which is in no package."""
    sys.path.insert(0, str(BENCHMARKS))
    try:
        return SimpleNamespace(**runpy.run_path(str(BENCHMARKS / "judge.py")))
    finally:
        sys.path.remove(str(BENCHMARKS))


def stripes(folder: Path, count: int, seed: int) -> Path:
    """Images in two classes, of horizontal and of vertical stripes in noise: a mirrored image keeps its class."""
    random = np.random.default_rng(seed)
    wave = 64 * np.sign(np.sin(np.arange(SIDE) * np.pi / 2 + 0.1))
    for name, pattern in (("across", wave[:, None, None]), ("down", wave[None, :, None])):
        (folder / name).mkdir(parents=True)
        for number in range(count):
            pixels = (128 + pattern + random.normal(0, 40, (SIDE, SIDE, 3))).clip(0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{number}.png")
    return folder


Run = Callable[..., str]


@pytest.fixture
def run(
    script: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Run:
    """The script with arguments; returns what it prints."""
    monkeypatch.setenv("SFUMATO_CACHE", str(tmp_path / "cache"))

    def run(*arguments: object) -> str:
        monkeypatch.setattr(sys, "argv", ["judge.py", *map(str, arguments), "--device", "cpu"])
        script.main()
        return capsys.readouterr().out

    return run


def squared_distance(one: Tensor, other: Tensor) -> float:
    """The Frechet distance of two sets of rows by its formula, with the root of C_1 C_2 through its eigenvalues."""
    covariances = torch.cov(one.T), torch.cov(other.T)
    cross = torch.linalg.eigvals(covariances[0] @ covariances[1]).real.clamp(min=0).sqrt().sum()
    means = (one.mean(0) - other.mean(0)).square().sum()
    return float(means + covariances[0].trace() + covariances[1].trace() - 2 * cross)


@pytest.mark.slow
def test_train_and_score_agree_with_an_evaluation_by_hand(run: Run, script: SimpleNamespace, tmp_path: Path) -> None:
    data, test = stripes(tmp_path / "train", 16, 0), stripes(tmp_path / "test", 12, 1)
    judge = tmp_path / "judge"
    said = run("train", data, "--test", test, "--out", judge, "--epochs", 8, "--batch", 8)
    assert "24 test images: 100.00% correct" in said
    table = run("score", test, data, "--judge", judge, "--features", "pixels", "--data", data)
    _, _, *rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines()]
    assert [row[:2] for row in rows] == [[str(test), "24"], [str(data), "32"]]

    network = script.Classifier(2)
    network.load_state_dict(script.load_file(judge / "judge-a.safetensors"))
    sets = [script.load_images(folder).images for folder in (test, data)]
    with torch.no_grad():
        of_test, of_data = (network.eval()(images / 127.5 - 1)[1].double() for images in sets)
    assert float(rows[0][2]) == pytest.approx(squared_distance(of_test, of_data), rel=0.01)
    assert [float(cell) for cell in rows[1][2:]] == [0, 0]  # the training images themselves
    assert float(rows[0][3]) > 0
    assert f"Frechet distance {rows[0][2]}" in said


def test_augmented_images_are_the_image_moved_and_mirrored(script: SimpleNamespace) -> None:
    """All nine by nine shifts, mirrored or not, and nothing else, each as often."""
    torch.manual_seed(0)
    image = torch.rand(1, 3, 16, 16)
    padded = np.pad(image[0].numpy(), ((0, 0), (4, 4), (4, 4)), mode="reflect")
    expected = {}
    for mirrored in (False, True):
        for top in range(9):
            for left in range(9):
                crop = padded[:, top : top + 16, left : left + 16]
                expected[(crop[:, :, ::-1] if mirrored else crop).tobytes()] = (mirrored, top, left)
    assert len(expected) == 2 * 9 * 9
    found = script.augment(image.expand(4000, -1, -1, -1)).contiguous().numpy()
    places = [expected[one.tobytes()] for one in found]
    assert set(places) == set(expected.values())
    assert 0.45 < sum(mirrored for mirrored, _, _ in places) / 4000 < 0.55


def test_each_image_is_augmented_on_its_own_and_keeps_its_place(script: SimpleNamespace) -> None:
    constant = torch.arange(50.0).reshape(50, 1, 1, 1).expand(-1, 3, 8, 8)
    assert torch.equal(script.augment(constant), constant)
    torch.manual_seed(0)
    assert len(script.augment(torch.rand(1, 3, 8, 8).expand(50, -1, -1, -1)).flatten(1).unique(dim=0)) > 30


def forward(weights: dict[str, Tensor], images: Tensor) -> tuple[Tensor, Tensor]:
    """Logits and features of WRN-22-4 from its weights: three groups of three pre-activated blocks (1605.07146)."""

    def norm(name: str, x: Tensor) -> Tensor:
        mean, variance, weight, bias = (weights[f"{name}.{key}"] for key in ("running_mean", "running_var", *AFFINE))
        return F.relu(F.batch_norm(x, mean, variance, weight, bias))

    x = F.conv2d(images, weights["c.weight"], padding=1)
    for block in range(9):
        name, stride, before = f"l.{block}", 2 if block in (3, 6) else 1, x
        active = norm(f"{name}.b1", x)
        x = F.conv2d(active, weights[f"{name}.c1.weight"], stride=stride, padding=1)
        x = F.conv2d(norm(f"{name}.b2", x), weights[f"{name}.c2.weight"], padding=1)
        if block in (0, 3, 6):
            before = F.conv2d(active, weights[f"{name}.sc.weight"], stride=stride)
        x = x + before
    features = norm("bn", x).mean((2, 3))
    return features @ weights["fc.weight"].T + weights["fc.bias"], features


def test_the_network_is_wrn_22_4(script: SimpleNamespace) -> None:
    torch.manual_seed(0)
    network = script.Classifier().eval()
    for name, value in network.state_dict().items():
        if value.is_floating_point() and value.ndim == 1:
            value.copy_(torch.rand_like(value) + 0.5 * ("var" in name))
    images = torch.rand(2, 3, 32, 32) * 2 - 1
    with torch.no_grad():
        logits, features = network(images)
        expected = forward(network.state_dict(), images)
    assert (logits.shape, features.shape) == ((2, 10), (2, 256))
    torch.testing.assert_close((logits, features), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("score", "x.npz"), "name --judge FOLDER or --features NAME"),
        (("score", "x.npz", "--features", "pixels"), "--features requires --data"),
    ],
)
def test_a_score_needs_a_scale(
    arguments: tuple[str, ...],
    message: str,
    script: SimpleNamespace,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys, "argv", ["judge.py", *arguments])
    with pytest.raises(SystemExit):
        script.main()
    assert message in capsys.readouterr().err
