"""Families besides Stable Diffusion 1.x and 2.x: loaded whole, and refused for the same reasons, network by network."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from imgaudit.benchmark.robustness.broken_model import BrokenModel
from imgaudit.benchmark.robustness.hostile.model_files import MODEL_INDEX
from imgaudit.exceptions import ModelRefusedError
from imgaudit.models import load_model
from imgaudit.models.families.family import Family
from imgaudit.models.families.registry import FAMILIES, find_family
from tests.support.family_makers import MAKERS
from tests.support.tiny_families import StandIn, make_sd3
from tests.support.tiny_hidream import HIDREAM_MAKERS
from tests.support.tiny_more_families import FAMILY_MAKERS
from tests.support.tiny_newer_families import NEWER_MAKERS
from tests.support.tiny_template_text import TEMPLATE_MAKERS, make_small

# Raised inside diffusers' DPM-Solver; nothing of ours can avoid it.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept:DeprecationWarning")

XL, SD3, FLUX, PIXART, SANA, QWEN, ALPHA, AURA, LUMINA, COGVIEW, HUNYUAN, LCM = FAMILY_MAKERS
FLUX2, KLEIN, Z_IMAGE, KREA, IDEOGRAM, CHROMA = NEWER_MAKERS
QWEN_21, HY_IMAGE, KANDINSKY = TEMPLATE_MAKERS
(HIDREAM,) = HIDREAM_MAKERS


def networks(pipeline: Any) -> dict[str, Any]:
    return {name: part for name, part in pipeline.components.items() if isinstance(part, torch.nn.Module)}


def same_weights(loaded: Any, saved: Any) -> bool:
    there, expected = networks(loaded), networks(saved)
    return there.keys() == expected.keys() and all(
        torch.equal(value, expected[name].state_dict()[key])
        for name, network in there.items()
        for key, value in network.state_dict().items()
    )


@pytest.mark.usefixtures("stand_in")
@pytest.mark.parametrize("family", MAKERS)
def test_every_network_of_a_family_is_loaded_from_its_file(family: str, family_folders: dict[str, Path]) -> None:
    loaded = load_model(str(family_folders[family]), "cpu")
    assert loaded.pipeline_class == family
    assert isinstance(loaded.denoiser, StandIn)
    assert type(loaded.denoiser.pipeline).__name__ == family
    assert same_weights(loaded.denoiser.pipeline, MAKERS[family]())
    loaded.denoiser.pipeline.set_progress_bar_config(disable=True)
    # These would round so small an image up to one of their own sizes.
    unrounded = {"use_resolution_binning": False} if family in (PIXART, ALPHA, SANA, HUNYUAN) else {}
    # Its default names a scale for each of 48 steps.
    unrounded |= {"guidance_schedule": (5.0, 5.0), "max_sequence_length": 64} if family == IDEOGRAM else {}
    side = 16 if family in (AURA, HIDREAM) else 32
    options = {"height": side, "width": side, "num_inference_steps": 2, "output_type": "pt"} | unrounded
    if family in (*TEMPLATE_MAKERS, HIDREAM):
        make_small(loaded.denoiser.pipeline)
    images, *_ = loaded.denoiser.pipeline(prompt="a red fox", return_dict=False, **options)
    # One of them draws opacity as well.
    assert images.shape == (1, 4 if family == QWEN_21 else 3, side, side)


@pytest.mark.parametrize("family", MAKERS)
def test_a_family_is_audited_by_its_adapter_or_refused(family: str, family_folders: dict[str, Path]) -> None:
    if FAMILIES[family].is_supported:
        denoiser = load_model(str(family_folders[family]), "cpu").denoiser
        assert type(denoiser).__name__ == FAMILIES[family].adapter.partition(":")[2]
        assert denoiser.network_evaluations == 0
    else:
        with pytest.raises(ModelRefusedError, match=f"'{family}' is not supported by this version"):
            load_model(str(family_folders[family]), "cpu")


def test_an_adapter_that_is_not_there_is_no_crash() -> None:
    lacking = dataclasses.replace(FAMILIES[XL], adapter="imgaudit.models.nowhere:Denoiser")
    assert not lacking.is_supported
    for family in (lacking, dataclasses.replace(lacking, adapter="imgaudit.models.families.unet:NoSuchDenoiser")):
        with pytest.raises(
            ModelRefusedError, match=r"not supported by this version: 'imgaudit\.models\..*' is not there"
        ):
            family.load_adapter()
    with pytest.raises(ModelRefusedError, match="'StableCascadeCombinedPipeline' is not supported by this version"):
        find_family("StableCascadeCombinedPipeline")


@pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES)
def test_a_family_names_every_part_that_its_pipeline_takes(family: Family) -> None:
    import diffusers

    pipeline = getattr(diffusers, family.pipeline_class)
    modules = set(pipeline._get_signature_keys(pipeline)[0])
    assert modules - set(family.never_loaded) == family.components.keys()


@pytest.mark.usefixtures("stand_in")
def test_sd3_is_loaded_without_t5_where_its_index_says_so(tmp_path: Path) -> None:
    saved = make_sd3(with_t5=False)
    saved.save_pretrained(tmp_path, safe_serialization=True)
    pipeline: Any = load_model(str(tmp_path), "cpu").denoiser.pipeline  # type: ignore[attr-defined]
    assert pipeline.text_encoder_3 is None and pipeline.tokenizer_3 is None
    assert same_weights(pipeline, saved)


@pytest.mark.usefixtures("stand_in")
def test_the_switch_of_sdxl_reaches_the_pipeline(copied_family: Callable[[str], BrokenModel]) -> None:
    model = copied_family(XL)
    model.change(MODEL_INDEX, {"force_zeros_for_empty_prompt": False})
    pipeline: Any = load_model(str(model.path), "cpu").denoiser.pipeline  # type: ignore[attr-defined]
    assert pipeline.config.force_zeros_for_empty_prompt is False
    assert pipeline.watermark is None


def weights_of(family: str, component: str) -> str:
    return f"{component}/{FAMILIES[family].components[component].stem}.safetensors"


NETWORKS = [(family, name) for family in MAKERS for name in FAMILIES[family].present({"text_encoder_3": 1}, "network")]


def drop(model: BrokenModel, file: str, component: str) -> None:
    header, data = model.tensors(file)
    _, last = header.popitem()
    model.write_tensors(file, header, data[: last["data_offsets"][0]])


def lie(model: BrokenModel, file: str, component: str) -> None:
    header, data = model.tensors(file)
    next(iter(header.values())).update(shape=[1 << 40, 1 << 40])
    model.write_tensors(file, header, data)


def truncate(model: BrokenModel, file: str, component: str) -> None:
    model.write(file, (model.path / file).read_bytes()[:-64])


def pickle(model: BrokenModel, file: str, component: str) -> None:
    model.remove(file)
    model.write(file.replace(".safetensors", ".bin"), model.trap())


def disguise(model: BrokenModel, file: str, component: str) -> None:
    model.write(file, model.trap())


def link_out(model: BrokenModel, file: str, component: str) -> None:
    model.link(file, f"{{outside}}/{file}")


def link_component_out(model: BrokenModel, file: str, component: str) -> None:
    model.link(component, f"{{outside}}/{component}")


def bring_code(model: BrokenModel, file: str, component: str) -> None:
    model.change(f"{component}/config.json", {"auto_map": {"AutoModel": "my_code.Net"}})


def quantise(model: BrokenModel, file: str, component: str) -> None:
    model.change(f"{component}/config.json", {"quantization_config": {"quant_method": "bitsandbytes"}})


def be_of_another_class(model: BrokenModel, file: str, component: str) -> None:
    model.change(MODEL_INDEX, {component: ["my_code", "Net"]})


def leave_the_folder_by_a_shard(model: BrokenModel, file: str, component: str) -> None:
    model.remove(file)
    model.change(f"{file}.index.json", {"weight_map": {"a": f"../../{model.outside.name}/{file}"}})


def lose_a_shard(model: BrokenModel, file: str, component: str) -> None:
    model.remove(file)
    lost = Path(file).name.replace(".safetensors", "-00001-of-00002.safetensors")
    model.change(f"{file}.index.json", {"weight_map": {"a": lost}})


def keep_a_lora(model: BrokenModel, file: str, component: str) -> None:
    header, data = model.tensors(file)
    entry = {"dtype": "F32", "shape": [1], "data_offsets": [len(data), len(data) + 4]}
    model.write_tensors(file, header | {"layer.lora_A.weight": entry}, data + bytes(4))


def be_infinite(model: BrokenModel, file: str, component: str) -> None:
    header, data = model.tensors(file)
    model.write_tensors(file, header, data[:-8] + b"\xff" * 8)


HARM: dict[Callable[[BrokenModel, str, str], None], str] = {
    drop: "'{component}' lacks ",
    lie: "'{file}' is damaged: tensor",
    be_infinite: "'{component}' has weights that are not finite",
    truncate: "'{file}' is damaged: its tensors take",
    pickle: "component '{component}' has only pickled weights",
    disguise: "it is a pickle, which can run code when opened",
    link_out: "'{file}' is a link that leaves the model's folder",
    link_component_out: "{component}' is a link that leaves the model's folder",
    bring_code: "'{component}/config.json' sets 'auto_map'",
    quantise: "quantised weights are another model",
    be_of_another_class: "component '{component}' comes from 'my_code' and brings its own code",
    leave_the_folder_by_a_shard: "as a shard: expected a safetensors file beside it",
    lose_a_shard: "-00001-of-00002.safetensors', which is not there",
    keep_a_lora: "holds a LoRA or an embedding",
}


@pytest.mark.usefixtures("stand_in")
@pytest.mark.parametrize(("family", "component"), NETWORKS)
@pytest.mark.parametrize("harm", HARM, ids=lambda harm: harm.__name__)
def test_every_network_of_a_family_is_refused_for_what_is_wrong_with_it(
    harm: Callable[[BrokenModel, str, str], None],
    family: str,
    component: str,
    copied_family: Callable[[str], BrokenModel],
) -> None:
    model, file = copied_family(family), weights_of(family, component)
    harm(model, file, component)
    with pytest.raises(ModelRefusedError) as refused:
        load_model(str(model.path), "cpu")
    message = str(refused.value)
    assert HARM[harm].format(component=component, file=file) in message
    assert message.isprintable() and len(message) < 600
    assert not model.planted.exists()


def split(model: BrokenModel, file: str) -> None:
    """Spread a network's weights over two shards."""
    header, data = model.tensors(file)
    model.remove(file)
    name, entry = header.popitem()
    start = entry["data_offsets"][0]
    first, second = (file.replace(".safetensors", f"-0000{number}-of-00002.safetensors") for number in (1, 2))
    model.write_tensors(first, header, data[:start])
    model.write_tensors(second, {name: entry | {"data_offsets": [0, len(data) - start]}}, data[start:])
    placed = dict.fromkeys(header, Path(first).name) | {name: Path(second).name}
    model.change(f"{file}.index.json", {"metadata": {}, "weight_map": placed})


@pytest.mark.usefixtures("stand_in")
@pytest.mark.parametrize(
    ("family", "component"),
    [
        (FLUX, "transformer"), (SANA, "text_encoder"), (QWEN, "text_encoder"), (QWEN, "transformer"),
        (FLUX2, "text_encoder"), (Z_IMAGE, "text_encoder"), (KREA, "text_encoder"), (AURA, "text_encoder"),
        (IDEOGRAM, "unconditional_transformer"),
        (LUMINA, "transformer"), (COGVIEW, "text_encoder"),
        (QWEN_21, "text_encoder"), (HY_IMAGE, "transformer"), (KANDINSKY, "transformer"),
    ],
)  # fmt: skip
def test_a_network_in_shards_is_the_same_model(
    family: str, component: str, copied_family: Callable[[str], BrokenModel]
) -> None:
    model = copied_family(family)
    split(model, weights_of(family, component))
    pipeline: Any = load_model(str(model.path), "cpu").denoiser.pipeline  # type: ignore[attr-defined]
    assert same_weights(pipeline, MAKERS[family]())


@pytest.mark.usefixtures("stand_in")
@pytest.mark.parametrize("family", [PIXART, ALPHA])
def test_pixart_is_read_under_the_former_name_of_its_class(
    family: str, copied_family: Callable[[str], BrokenModel]
) -> None:
    model = copied_family(family)
    model.change(MODEL_INDEX, {"transformer": ["diffusers", "Transformer2DModel"]})
    # As Transformer2DModel was saved.
    others = {"_class_name": "Transformer2DModel", "num_vector_embeds": None, "only_cross_attention": False}
    model.change("transformer/config.json", others)
    pipeline: Any = load_model(str(model.path), "cpu").denoiser.pipeline  # type: ignore[attr-defined]
    assert type(pipeline.transformer).__name__ == "PixArtTransformer2DModel"
    assert same_weights(pipeline, MAKERS[family]())


@pytest.mark.usefixtures("stand_in")
def test_the_language_model_of_qwen_image_is_read_as_it_is_published(
    copied_family: Callable[[str], BrokenModel],
) -> None:
    model, file = copied_family(QWEN), weights_of(QWEN, "text_encoder")
    header, data = model.tensors(file)
    older = {"model.language_model.": "model.", "model.visual.": "visual."}
    for name in list(header):
        for new, old in older.items():
            if name.startswith(new):
                header[old + name.removeprefix(new)] = header.pop(name)
    model.write_tensors(file, header, data)
    config = json.loads((model.path / "text_encoder/config.json").read_bytes())
    # Sizes of the language model stood beside those of what sees, and were called as in the one that only reads.
    text = config.pop("text_config")
    rotation = text.pop("rope_parameters")
    text |= {"model_type": "qwen2_5_vl", "rope_theta": rotation.pop("rope_theta"), "rope_scaling": rotation}
    model.write("text_encoder/config.json", json.dumps(text | config).encode())
    pipeline: Any = load_model(str(model.path), "cpu").denoiser.pipeline  # type: ignore[attr-defined]
    assert same_weights(pipeline, MAKERS[QWEN]())


@pytest.mark.usefixtures("stand_in")
@pytest.mark.parametrize(
    ("family", "suffix"),
    [
        (SD3, "_3"), (SANA, ""), (QWEN, ""), (AURA, ""), (COGVIEW, ""), (HUNYUAN, "_2"), (FLUX2, ""),
        (KANDINSKY, ""),
    ],
)  # fmt: skip
def test_the_fingerprint_follows_the_files_of_every_component(
    family: str, suffix: str, copied_family: Callable[[str], BrokenModel]
) -> None:
    model, encoder, tokenizer = copied_family(family), f"text_encoder{suffix}", f"tokenizer{suffix}"
    before = load_model(str(model.path), "cpu")
    assert {f"{tokenizer}/tokenizer.json", weights_of(family, encoder), weights_of(family, "vae")} <= set(before.files)
    for file in (f"{encoder}/config.json", f"{tokenizer}/tokenizer_config.json", "scheduler/scheduler_config.json"):
        saved = (model.path / file).read_bytes()
        model.change(file, {"note": 1})
        assert load_model(str(model.path), "cpu").denoiser.fingerprint != before.denoiser.fingerprint
        model.write(file, saved)
    assert load_model(str(model.path), "cpu").denoiser.fingerprint == before.denoiser.fingerprint
