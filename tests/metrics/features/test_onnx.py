"""Features of networks in ONNX files."""

from pathlib import Path

import pytest
import torch

from metrics.features.networks import images
from sfumato.errors import RunError
from sfumato.metrics.features import features_for

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")


def saved(path: Path, side: int | str = 8, count: int | str = "n", logits: bool = False) -> Path:
    """A network whose features are the channel means, and whose logits are twice the features."""
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    nodes = [helper.make_node("ReduceMean", ["images"], ["features"], axes=[2, 3], keepdims=0)]
    outputs = [helper.make_tensor_value_info("features", kind, [count, 3])]
    if logits:
        nodes.append(helper.make_node("Add", ["features", "features"], ["logits"]))
        outputs.insert(0, helper.make_tensor_value_info("logits", kind, [count, 3]))
    inputs = [helper.make_tensor_value_info("images", kind, [count, 3, side, side])]
    graph = helper.make_graph(nodes, "means", inputs, outputs)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)
    return path


def test_the_only_output_is_the_features(tmp_path: Path) -> None:
    features = features_for(saved(tmp_path / "means.onnx"))
    several = images(70, 3, 8)
    assert features.classes((3, 8, 8)) == 0
    torch.testing.assert_close(features(several), several.mean((2, 3)), rtol=1e-5, atol=1e-6)


def test_two_outputs_are_logits_and_features(tmp_path: Path) -> None:
    features = features_for(saved(tmp_path / "means.onnx", logits=True))
    found = features.outputs(images(5, 3, 8))
    assert features.classes((1, 8, 8)) == 3
    assert found.logits is not None
    torch.testing.assert_close(found.logits, 2 * found.features)


def test_images_are_resized_only_for_a_network_of_fixed_size(tmp_path: Path) -> None:
    grey = images(5, 1, 16)
    for file in (saved(tmp_path / "small.onnx"), saved(tmp_path / "free.onnx", side="side")):
        found = features_for(file)(grey)
        torch.testing.assert_close(found, grey.mean((2, 3)).expand(5, 3), rtol=0, atol=0.05)


def test_invalid_files_and_networks_are_rejected(tmp_path: Path) -> None:
    (tmp_path / "text.onnx").write_text("hello")
    with pytest.raises(RunError, match=r"text.onnx is not an ONNX network"):
        features_for(tmp_path / "text.onnx")
    with pytest.raises(RunError, match=r"missing.onnx does not exist"):
        features_for(tmp_path / "missing.onnx")
    with pytest.raises(RunError, match=r"only supports batches of 1 images"):
        features_for(saved(tmp_path / "one.onnx", count=1))
