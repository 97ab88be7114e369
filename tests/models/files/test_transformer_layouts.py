"""Single files of newer transformers: converted into the network of their folder, or refused by name."""

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import ChromaTransformer2DModel, Lumina2Transformer2DModel

from imgaudit.exceptions import ModelRefusedError
from imgaudit.models import load_model
from imgaudit.models.files.claims import UNET
from imgaudit.models.files.single_file import LAYOUTS, read_checkpoint
from imgaudit.models.files.transformer_layouts import MARKS, TRANSFORMERS, UNCONVERTED
from tests.models.files.test_gguf_file import write_gguf
from tests.support.family_makers import MAKERS
from tests.support.single_files import save
from tests.support.transformer_files import RULES, turn_back

# Raised inside diffusers' solvers; nothing of ours can avoid it.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept:DeprecationWarning")

OF_ONE_WIDTH = {
    "ChromaPipeline": lambda: ChromaTransformer2DModel(num_layers=2, num_single_layers=2, approximator_layers=2),
    "Lumina2Pipeline": lambda: Lumina2Transformer2DModel(num_layers=2, num_refiner_layers=2),
}
"""Networks that diffusers converts at their published width only."""


@pytest.mark.parametrize("prefix", [UNET, ""])
@pytest.mark.parametrize("family", sorted(RULES.keys() - OF_ONE_WIDTH.keys()))
def test_a_file_of_the_transformer_alone_is_the_network_of_its_folder(
    family: str, prefix: str, family_folders: dict[str, Path], tmp_path: Path
) -> None:
    expected = MAKERS[family]().transformer.state_dict()
    tensors = {prefix + name: tensor for name, tensor in turn_back(family, expected).items()}
    if family == "ZImagePipeline":
        # Saved by its makers, and read by nothing.
        tensors[prefix + "norm_final.weight"] = torch.ones(32)
    file = save(tensors, tmp_path / "transformer.safetensors")
    loaded = load_model(str(file), "cpu", config=str(family_folders[family]))
    pipeline: Any = loaded.denoiser.pipeline  # type: ignore[attr-defined]
    assert loaded.pipeline_class == family and not loaded.notes
    torch.testing.assert_close(pipeline.transformer.state_dict(), expected, rtol=0, atol=0)


@pytest.mark.parametrize("prefix", [UNET, ""])
@pytest.mark.parametrize("family", OF_ONE_WIDTH)
def test_every_weight_of_the_published_width_goes_where_it_belongs(family: str, prefix: str, tmp_path: Path) -> None:
    """Tensors of as many rows as published ones, and one column."""
    with torch.device("meta"):
        network = OF_ONE_WIDTH[family]()
    torch.manual_seed(4)
    expected = {name: torch.randn(len(one), *[1] * (one.ndim - 1)) for name, one in network.state_dict().items()}
    tensors = {prefix + name: tensor for name, tensor in turn_back(family, expected).items()}
    checkpoint = read_checkpoint(save(tensors, tmp_path / "transformer.safetensors"))
    assert checkpoint.pipeline_class == family
    [part] = checkpoint.parts.values()
    converted = part.convert(checkpoint.load(tensors), network.config, prefix)
    torch.testing.assert_close(converted, expected, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("family", "architecture"),
    [("Flux2KleinPipeline", "flux"), ("ZImagePipeline", "lumina2"), ("Krea2Pipeline", "krea2")],
)
def test_a_gguf_file_of_it_is_the_numbers_that_it_stands_for(
    family: str, architecture: str, family_folders: dict[str, Path], tmp_path: Path
) -> None:
    expected = MAKERS[family]().transformer.state_dict()
    file = write_gguf(turn_back(family, expected), tmp_path / "transformer.gguf", architecture=architecture)
    loaded = load_model(str(file), "cpu", config=str(family_folders[family]))
    pipeline: Any = loaded.denoiser.pipeline  # type: ignore[attr-defined]
    assert loaded.quantised == "GGUF Q8_0"
    found = pipeline.transformer.state_dict()
    for name, tensor in expected.items():
        # Eight bits to a number, the largest of 32 of them scaled to 127.
        assert float((found[name] - tensor).abs().max()) <= float(tensor.abs().max()) / 127, name
    assert any(not torch.equal(found[name], tensor) for name, tensor in expected.items())


@pytest.mark.parametrize("scales", ["scaled_fp8", "layers.0.attention.qkv.scale_weight", "first.comfy_quant"])
@pytest.mark.parametrize("mark", MARKS)
def test_weights_with_scales_beside_them_are_refused(mark: str, scales: str, tmp_path: Path) -> None:
    tensors = {UNET + mark: torch.zeros(2, 2).to(torch.float8_e4m3fn), UNET + scales: torch.ones(1)}
    with pytest.raises(ModelRefusedError, match=f"and scales beside them .*{scales}"):
        read_checkpoint(save(tensors, tmp_path / "scaled.safetensors"))


@pytest.mark.parametrize("mark", UNCONVERTED)
def test_what_cannot_be_converted_is_refused_by_name(mark: str, tmp_path: Path) -> None:
    # Some have the blocks of FLUX.1 as well.
    tensors = {mark: torch.zeros(1), "double_blocks.0.img_attn.qkv.weight": torch.zeros(1)}
    with pytest.raises(ModelRefusedError, match=f"the transformer of {UNCONVERTED[mark]} in its makers' layout"):
        read_checkpoint(save(tensors, tmp_path / "transformer.safetensors"))


def test_a_file_of_dev_with_the_folder_of_klein_is_refused(family_folders: dict[str, Path], tmp_path: Path) -> None:
    tensors = turn_back("Flux2Pipeline", MAKERS["Flux2Pipeline"]().transformer.state_dict())
    file = save(tensors, tmp_path / "transformer.safetensors")
    with pytest.raises(ModelRefusedError, match=r"holds the weights of a Flux2Pipeline, but .* of a 'Flux2Klein"):
        load_model(str(file), "cpu", config=str(family_folders["Flux2KleinPipeline"]))


def test_every_family_with_a_layout_has_a_mark() -> None:
    assert {*TRANSFORMERS, "StableDiffusion3Pipeline", "FluxPipeline", "Flux2Pipeline"} == {
        *MARKS.values(), "Flux2Pipeline"
    }  # fmt: skip
    assert TRANSFORMERS.keys() <= LAYOUTS.keys()
