"""Quantised weights: the numbers that they stand for, another model by name, and refused where they cannot be read."""

import json
import shutil
import struct
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from diffusers import GGUFQuantizationConfig, SD3Transformer2DModel
from safetensors.torch import load_file

from imgaudit.benchmark.robustness.broken_model import BrokenModel
from imgaudit.exceptions import ModelRefusedError
from imgaudit.models import load_model
from imgaudit.models.files.gguf_file import load_gguf, read_gguf
from imgaudit.models.files.single_file import read_checkpoint
from tests.models.files.test_variants import weight_files
from tests.support.single_files import Tensors, save, sd3, single_file
from tests.support.tiny_transformers import make_sd3

LABEL = "another model than the one it was made from"
Q8 = gguf.GGMLQuantizationType.Q8_0


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("models") / "sd3"
    make_sd3().save_pretrained(made)
    return made


def write_gguf(tensors: Tensors, path: Path, kind: gguf.GGMLQuantizationType = Q8, architecture: str = "sd3") -> Path:
    """Matrices whose rows fill blocks are quantised; other tensors stay as they are."""
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_array("example", ["some", "words"])
    block, _ = gguf.GGML_QUANT_SIZES[kind]
    for name, tensor in tensors.items():
        numbers = tensor.detach().float().contiguous().numpy()
        if numbers.ndim == 2 and numbers.shape[1] % block == 0:
            writer.add_tensor(name, gguf.quants.quantize(numbers, kind), raw_dtype=kind)
        else:
            writer.add_tensor(name, numbers)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.fixture(scope="module")
def file(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    pipeline: Any = load_model(str(folder), "cpu").denoiser.pipeline  # type: ignore[attr-defined]
    return write_gguf(sd3(pipeline.transformer.state_dict(), ""), tmp_path_factory.mktemp("files") / "sd3.gguf")


def test_a_gguf_file_is_labelled_and_covered_by_its_fingerprint(file: Path, folder: Path) -> None:
    loaded, base = load_model(str(file), "cpu", config=str(folder)), load_model(str(folder), "cpu")
    assert loaded.quantised == "GGUF Q8_0" and base.quantised == ""
    assert loaded.name == f"{file} (quantised, GGUF Q8_0: {LABEL})"
    assert loaded.denoiser.fingerprint != base.denoiser.fingerprint
    assert "checkpoint.gguf" in loaded.files
    assert weight_files(loaded) == {name for name in weight_files(base) if not name.startswith("transformer/")}


def test_an_architecture_that_its_tensors_contradict_is_refused(tmp_path: Path) -> None:
    marks = {"joint_blocks.0.x_block.attn.qkv.weight": torch.zeros(32, 32)}
    file = write_gguf(marks, tmp_path / "model.gguf", architecture="flux")
    with pytest.raises(ModelRefusedError, match="its architecture is 'flux', but it would be loaded as a StableDiff"):
        read_checkpoint(file)
    assert read_checkpoint(write_gguf(marks, tmp_path / "sd3.gguf")).pipeline_class == "StableDiffusion3Pipeline"


@torch.no_grad()
def test_it_is_the_network_that_diffusers_runs(file: Path, folder: Path) -> None:
    """diffusers computes the scales of the blocks in half precision, which is all that differs."""
    theirs = SD3Transformer2DModel.from_single_file(
        str(file), quantization_config=GGUFQuantizationConfig(compute_dtype=torch.float32), config=str(folder),
        subfolder="transformer", local_files_only=True, dtype=torch.float32,
    )  # fmt: skip
    denoiser: Any = load_model(str(file), "cpu", config=str(folder)).denoiser
    base: Any = load_model(str(folder), "cpu").denoiser
    condition = denoiser.condition(["a red fox"])
    latents, times = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(1)), torch.tensor([900, 100])
    ours, original = (one.predict(latents, times, condition).output for one in (denoiser, base))
    denoiser.network, denoiser.pipeline.transformer = theirs, theirs
    expected = denoiser.predict(latents, times, condition).output
    assert float((ours - expected).abs().max()) < 0.1 * float((original - expected).abs().max())


def test_gradients_flow_through_it(file: Path, folder: Path) -> None:
    denoiser = load_model(str(file), "cpu", config=str(folder)).denoiser
    condition = denoiser.condition(["a red fox"])
    streams = {name: stream.detach().requires_grad_(True) for name, stream in condition.streams.items()}
    for name, stream in streams.items():
        condition.streams[name] = stream  # type: ignore[index]
    output = denoiser.predict(torch.ones(1, 4, 8, 8), torch.tensor([500]), condition).output
    for gradient in torch.autograd.grad(output.square().sum(), list(streams.values())):
        assert bool(gradient.any()) and bool(torch.isfinite(gradient).all())


TYPES = ["Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "IQ4_NL", "IQ4_XS", "BF16"]


@pytest.mark.parametrize("name", TYPES)
def test_tensors_are_the_numbers_that_they_stand_for(name: str, tmp_path: Path) -> None:
    """Against the format's own library, on random blocks."""
    kind = gguf.GGMLQuantizationType[name]
    block, size = gguf.GGML_QUANT_SIZES[kind]
    rows = np.random.default_rng(3).integers(0, 256, (6, 2 * 256 // block * size), dtype=np.uint8)
    writer = gguf.GGUFWriter(tmp_path / "a.gguf", "flux")
    writer.add_tensor("one", np.arange(5, dtype=np.float16))
    writer.add_tensor("two", rows, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    read = load_gguf(tmp_path / "a.gguf", read_gguf(tmp_path / "a.gguf"), ["one", "two"])
    assert read["one"].tolist() == [0, 1, 2, 3, 4] and read["two"].shape == (6, 512)
    with np.errstate(all="ignore"):
        expected = torch.from_numpy(gguf.quants.dequantize(rows, kind).copy())
    torch.testing.assert_close(read["two"], expected.reshape(6, 512), equal_nan=True)


def test_infinite_scales_are_refused(file: Path, folder: Path, tmp_path: Path) -> None:
    tensor = next(tensor for tensor in read_gguf(file).values() if tensor.type == Q8)
    data = bytearray(file.read_bytes())
    data[tensor.start : tensor.start + 2] = np.float16("inf").tobytes()
    (tmp_path / "infinite.gguf").write_bytes(data)
    with pytest.raises(ModelRefusedError, match="'transformer' has weights that are not finite"):
        load_model(str(tmp_path / "infinite.gguf"), "cpu", config=str(folder))


def text(value: str) -> bytes:
    return struct.pack("<Q", len(value)) + value.encode()


def header(count: int = 1, keys: bytes = b"", tensors: bytes = b"", number: int = 0, version: int = 3) -> bytes:
    return b"GGUF" + struct.pack("<IQQ", version, count, number) + keys + tensors


def tensor(sides: tuple[int, ...] = (4,), kind: int = 0, offset: int = 0, name: str = "a") -> bytes:
    return text(name) + struct.pack(f"<I{len(sides)}QIQ", len(sides), *sides, kind, offset)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"PK\x03\x04", "is no GGUF file"),
        (b"GGUF", "its header is longer than the file"),
        (header(version=7), "it is of version 7"),
        (header(count=2**62), "it announces 4,611,686,018,427,387,904 tensors"),
        (header(number=2**62), "tensors and 4,611,686,018,427,387,904 keys"),
        (header(keys=struct.pack("<Q", 2**63), number=1), "its header is longer than the file"),
        (header(keys=text("k") + struct.pack("<I", 77), number=1), "a value of the unknown type 77"),
        (header(keys=text("k") + struct.pack("<IIQ", 9, 8, 2**60), number=1), "its header is longer than the file"),
        (header(keys=text("k") + struct.pack("<IIQ", 9, 5, 2**60), number=1), "its header is longer than the file"),
        (header(keys=text("k") + struct.pack("<IIQ", 9, 9, 1), number=1), "a value of the unknown type 9"),
        (header(keys=text("general.alignment") + struct.pack("<II", 4, 0), number=1), "begin at multiples of 0 bytes"),
        (header(tensors=tensor(sides=(1,) * 5)), "a tensor of 5 dimensions"),
        (header(tensors=tensor(kind=999)), "a tensor of the unknown type 999"),
        (header(tensors=tensor(kind=8)), "rows of 4 numbers in blocks of 32"),
        (header(tensors=tensor(sides=(2**40, 2**40))), "lies over another, or ends beyond the file's"),
        (header(tensors=tensor(offset=2**63)), "lies over another, or ends beyond the file's"),
        (header(count=2, tensors=tensor() + tensor(name="b")) + bytes(99), "lies over another, or ends beyond"),
        (header(count=2, tensors=tensor() + tensor()) + bytes(99), "two tensors have one name"),
        (header(tensors=tensor()) + bytes(99), "is in no layout that this version knows"),
    ],
)
def test_a_lying_header_is_refused(data: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "lying.gguf").write_bytes(data)
    with pytest.raises(ModelRefusedError, match=message) as refused:
        load_model(str(tmp_path / "lying.gguf"), "cpu")
    assert str(refused.value).isprintable() and len(str(refused.value)) < 600


def test_without_the_library_it_is_said_what_to_install(
    file: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ModelRefusedError, match=r"pip install 'imgaudit\[gguf\]'"):
        load_model(str(file), "cpu", config=str(folder))


@pytest.mark.parametrize("dtype", [torch.float8_e4m3fn, torch.float8_e5m2])
def test_a_single_file_in_float8_is_labelled(dtype: torch.dtype, model_folder: Path, tmp_path: Path) -> None:
    pipeline: Any = load_model(str(model_folder), "cpu").denoiser.pipeline  # type: ignore[attr-defined]
    tensors = {
        name: one.to(dtype) if name.startswith("model.diffusion_model.") else one
        for name, one in single_file(pipeline).items()
    }
    loaded = load_model(str(save(tensors, tmp_path / "f8.safetensors")), "cpu", config=str(model_folder))
    assert loaded.quantised == "float8" and LABEL in loaded.name
    weight: Any = loaded.denoiser.pipeline.unet.conv_in.weight  # type: ignore[attr-defined]
    assert torch.equal(weight, pipeline.unet.conv_in.weight.to(dtype).float())


def test_a_folder_in_float8_is_refused(model_folder: Path, tmp_path: Path) -> None:
    model = BrokenModel(Path(shutil.copytree(model_folder, tmp_path / "f8")), tmp_path / "x", model_folder)
    name = "unet/diffusion_pytorch_model.safetensors"
    save({key: one.to(torch.float8_e4m3fn) for key, one in load_file(model.path / name).items()}, model.path / "new")
    model.write(name, (model.path / "new").read_bytes())
    (model.path / "new").unlink()
    with pytest.raises(ModelRefusedError, match="'unet' has weights rounded to float8: they are another model"):
        load_model(str(model.path), "cpu")


@pytest.mark.parametrize("method", ["bitsandbytes", "torchao", "gguf", "quanto"])
@pytest.mark.parametrize("component", ["transformer", "text_encoder_3"])
def test_other_quantised_folders_are_refused(method: str, component: str, folder: Path, tmp_path: Path) -> None:
    copied = Path(shutil.copytree(folder, tmp_path / "copy"))
    path = copied / component / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"quantization_config": {"quant_method": method}}))
    with pytest.raises(ModelRefusedError, match="quantised weights are another model"):
        load_model(str(copied), "cpu")
