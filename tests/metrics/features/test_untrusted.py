"""Code in network files is not executed, for each way in which `torch.export.load` would execute it."""

from __future__ import annotations

import io
import json
import pickle
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from metrics.features.networks import classifier, exported, images, means
from sfumato.errors import RunError
from sfumato.metrics.features import features_for
from sfumato.metrics.features.graph import Operation
from sfumato.metrics.features.guards import parsed_guard, value_of
from sfumato.metrics.features.operators import operator_named

PROGRAM, SAMPLES = "models/model.json", "data/sample_inputs/model.pt"
WEIGHTS, CONSTANTS = "data/weights/model_weights_config.json", "data/constants/model_constants_config.json"

Members = dict[str, bytes]


class Linear(nn.Module):
    """Features from the three values of the corner, with a weight."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 4)

    def forward(self, batch: Tensor) -> Tensor:
        """Four features per image."""
        found: Tensor = self.layer(batch.mean((2, 3)))
        return found


class Payload:
    """Creates a file when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = str(marker)

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        return Path.touch, (Path(self.marker),)  # type: ignore[return-value]


def saved(payload: Payload) -> bytes:
    """Content of the file that torch.save writes."""
    buffer = io.BytesIO()
    torch.save(((payload,), {}), buffer)
    return buffer.getvalue()


def edited(members: Members, name: str, change: Callable[[Any], None]) -> None:
    """Changes a JSON member."""
    content = json.loads(members[name])
    change(content)
    members[name] = json.dumps(content).encode()


def in_sample_inputs(members: Members, marker: Path) -> None:
    members[SAMPLES] = saved(Payload(marker))


def in_a_weight(members: Members, marker: Path) -> None:
    members["data/weights/weight_0"] = saved(Payload(marker))
    edited(members, WEIGHTS, lambda config: config["config"]["layer.weight"].update(use_pickle=True))


def in_old_weights(members: Members, marker: Path) -> None:
    members["data/weights/model.pt"] = saved(Payload(marker))


def in_old_constants(members: Members, marker: Path) -> None:
    members["data/constants/model.pt"] = saved(Payload(marker))


def in_an_opaque_constant(members: Members, marker: Path) -> None:
    members["data/constants/opaque_obj_0"] = pickle.dumps(Payload(marker))
    entry = {"path_name": "opaque_obj_0", "is_param": False, "use_pickle": True, "tensor_meta": None}
    edited(members, CONSTANTS, lambda config: config["config"].update(extra=entry))


def in_a_size(members: Members, marker: Path) -> None:
    code = f"__import__('pathlib').Path({str(marker)!r}).touch() or Symbol('s77', positive=True, integer=True)"

    def change(program: Any) -> None:  # noqa: ANN401 (JSON)
        for meta in program["graph_module"]["graph"]["tensor_values"].values():
            for size in meta["sizes"]:
                if "as_expr" in size:
                    size["as_expr"]["expr_str"] = code

    edited(members, PROGRAM, change)


def in_a_guard(members: Members, marker: Path) -> None:
    code = f"__import__('pathlib').Path({str(marker)!r}).touch() is None"
    edited(members, PROGRAM, lambda program: program.update(guards_code=[code]))


def in_an_operator(members: Members, marker: Path) -> None:
    given = {"name": "command", "arg": {"as_string": f"touch {marker}"}, "kind": 1}
    node = {
        "target": "torch.os.system",
        "inputs": [given],
        "outputs": [{"as_sym_int": {"as_name": "code"}}],
        "metadata": {},
    }
    edited(members, PROGRAM, lambda program: program["graph_module"]["graph"]["nodes"].insert(0, node))


def in_the_name_of_an_input(members: Members, marker: Path) -> None:
    name = f"batch=__import__('pathlib').Path({str(marker)!r}).touch()"
    members[PROGRAM] = members[PROGRAM].replace(b'"batch"', json.dumps(name).encode())


ATTACKS = [
    in_sample_inputs,
    in_a_weight,
    in_old_weights,
    in_old_constants,
    in_an_opaque_constant,
    in_a_size,
    in_a_guard,
    in_an_operator,
    in_the_name_of_an_input,
]


def tampered(path: Path, attack: Callable[[Members, Path], None], marker: Path) -> Path:
    """An exported network that is changed by an attack."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = Linear().eval()
    program = torch.export.export(network, (images(2, 3, 8),), dynamic_shapes=({0: torch.export.Dim.DYNAMIC},))
    torch.export.save(program, path)
    with zipfile.ZipFile(path) as archive:
        root = archive.namelist()[0].partition("/")[0]
        members = {name.partition("/")[2]: archive.read(name) for name in archive.namelist()}
    attack(members, marker)
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(f"{root}/{name}", content)
    return path


def test_unpickling_executes_the_payload(tmp_path: Path) -> None:
    torch.load(io.BytesIO(saved(Payload(tmp_path / "ran"))), weights_only=False)
    assert (tmp_path / "ran").exists()


@pytest.mark.parametrize("attack", ATTACKS)
def test_no_code_of_a_network_file_is_executed(attack: Callable[[Members, Path], None], tmp_path: Path) -> None:
    path = tampered(tmp_path / "net.pt2", attack, tmp_path / "ran")
    with suppress(RunError):
        assert features_for(path)(images(5, 3, 8)).shape == (5, 4)
    assert not (tmp_path / "ran").exists()


def test_example_inputs_are_not_read(tmp_path: Path) -> None:
    path = tampered(tmp_path / "net.pt2", in_sample_inputs, tmp_path / "ran")
    assert features_for(path)(images(5, 3, 8)).shape == (5, 4)


@pytest.mark.parametrize(
    ("attack", "message"),
    [
        (in_a_weight, "it holds a pickled object"),
        (in_an_opaque_constant, "it holds a pickled object"),
        (in_a_guard, "its condition on sizes is not supported"),
        (in_an_operator, "it uses the operator torch.os.system, which is not one of those allowed"),
    ],
)
def test_a_file_with_code_is_rejected(attack: Callable[[Members, Path], None], message: str, tmp_path: Path) -> None:
    path = tampered(tmp_path / "net.pt2", attack, tmp_path / "ran")
    with pytest.raises(RunError, match=message):
        features_for(path)


@pytest.mark.parametrize(
    "target",
    [
        "torch.ops.aten.from_file.default",
        "torch.ops.aten.save.default",
        "torch.ops.aten._unsafe_index_put.default",
        "torch.ops.aten.max_pool2d_with_indices_backward.default",
        "torch.ops.aten.conv2d.missing",
        "torch.ops.aten.__class__.default",
        "torch.ops.other.conv2d.default",
        "torch.hub.load",
        "torch.load",
        "_operator.attrgetter",
        "math.factorial",
        "#loader.op",
        "",
    ],
)
def test_operators_with_other_effects_are_rejected(target: str) -> None:
    with pytest.raises(ValueError, match="is not one of those allowed"):
        operator_named(target)


@pytest.mark.parametrize(
    ("text", "sizes", "expected"),
    [
        ("L['x'].size()[2] <= 16", (1, 3, 16, 8), True),
        ("L['x'].size()[2] <= 16", (1, 3, 17, 8), False),
        ("2*L['x'].size()[2] >= L['x'].size()[3] and not L['x'].size()[0] == 7", (6, 3, 4, 8), True),
        ("max(1, L['x'].size()[2] // 2) % 3 != -1 + 1", (1, 3, 7, 8), False),
    ],
)
def test_conditions_on_sizes_have_the_value_of_python(text: str, sizes: tuple[int, ...], expected: bool) -> None:
    assert value_of(parsed_guard(text), sizes) is expected


@pytest.mark.parametrize(
    "text",
    ["__import__('os')", "L['x'].size().__class__", "[1]", "open('x')", "L['x'].storage()[0] == 1", "2 ** 9 ** 9 == 1"],
)
def test_other_conditions_are_rejected(text: str) -> None:
    with pytest.raises(ValueError, match="not supported"):
        parsed_guard(text)


def test_a_network_has_the_outputs_of_pytorch(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.GELU(),
        nn.Upsample(scale_factor=2, mode="bilinear"),
        nn.GroupNorm(2, 8),
        nn.MaxPool2d(2),
        nn.Dropout(),
        nn.Flatten(2),
        nn.TransformerEncoderLayer(64, 4, 32, batch_first=True, norm_first=True),
        nn.AdaptiveAvgPool1d(5),
        nn.Flatten(),
        nn.Linear(40, 6),
    ).eval()
    several = images(5, 3, 8)
    features = features_for(exported(network, tmp_path / "net.pt2", images(2, 3, 8)))
    with torch.no_grad():
        torch.testing.assert_close(features(several), network(several))


def test_an_image_size_outside_the_export_is_reported_with_the_range(tmp_path: Path) -> None:
    def halves(batch: Tensor) -> Tensor:
        torch._check(batch.shape[2] % 4 == 0)
        return means(batch)

    features = features_for(exported(halves, tmp_path / "net.pt2", images(2, 3, 8), free=(0, 2, 3)))
    assert features(images(2, 3, 12)).shape == (2, 3)
    with pytest.raises(RunError, match=r"fails on 2 RGB images of 10 x 10 pixels: it was exported for"):
        features(images(2, 3, 10))


def test_a_compressed_member_is_rejected(tmp_path: Path) -> None:
    path = exported(classifier, tmp_path / "net.pt2", images(2, 3, 8))
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    with pytest.raises(RunError, match="is compressed"):
        features_for(path)


def test_values_are_freed_after_their_last_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def deep(batch: Tensor) -> Tensor:
        for _ in range(20):
            batch = batch + 1
        return means(batch)

    alive: list[int] = []
    run = Operation.run

    def counted(step: Operation, values: dict[str, Any], device: torch.device) -> None:
        run(step, values, device)
        alive.append(len(values))

    monkeypatch.setattr(Operation, "run", counted)
    features = features_for(exported(deep, tmp_path / "net.pt2", images(2, 3, 8)))
    torch.testing.assert_close(features(images(2, 3, 8)), means(images(2, 3, 8) + 20))
    assert alive == [1] * 21
