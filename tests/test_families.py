"""Families besides Stable Diffusion 1.x and 2.x: loaded whole, and refused for the same reasons, network by network."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from imgaudit.benchmark.robustness.hostile_model_files import MODEL_INDEX
from imgaudit.benchmark.robustness.spoilt_model import SpoiltModel
from imgaudit.exceptions import ModelRefusedError
from imgaudit.models import load_model
from imgaudit.models.families import FAMILIES, Family, find_family
from tests.tiny_families import MAKERS, StandIn, make_sd3

XL, SD3, FLUX, PIXART = MAKERS


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
    # PixArt would round so small an image up to one of its own sizes.
    unrounded = {"use_resolution_binning": False} if family == PIXART else {}
    options = {"height": 16, "width": 16, "num_inference_steps": 1, "output_type": "pt"} | unrounded
    images = loaded.denoiser.pipeline("a red fox", **options).images
    assert images.shape == (1, 3, 16, 16)


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
    for family in (lacking, dataclasses.replace(lacking, adapter="imgaudit.models.unet:NoSuchDenoiser")):
        with pytest.raises(ModelRefusedError, match="not supported by this version, which audits StableDiffusion"):
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
def test_the_switch_of_sdxl_reaches_the_pipeline(copied_family: Callable[[str], SpoiltModel]) -> None:
    model = copied_family(XL)
    model.change(MODEL_INDEX, {"force_zeros_for_empty_prompt": False})
    pipeline: Any = load_model(str(model.path), "cpu").denoiser.pipeline  # type: ignore[attr-defined]
    assert pipeline.config.force_zeros_for_empty_prompt is False
    assert pipeline.watermark is None


def weights_of(family: str, component: str) -> str:
    return f"{component}/{FAMILIES[family].components[component].stem}.safetensors"


NETWORKS = [(family, name) for family in MAKERS for name in FAMILIES[family].present({"text_encoder_3": 1}, "network")]


def drop(model: SpoiltModel, file: str, component: str) -> None:
    header, data = model.tensors(file)
    _, last = header.popitem()
    model.write_tensors(file, header, data[: last["data_offsets"][0]])


def lie(model: SpoiltModel, file: str, component: str) -> None:
    header, data = model.tensors(file)
    next(iter(header.values())).update(shape=[1 << 40, 1 << 40])
    model.write_tensors(file, header, data)


def truncate(model: SpoiltModel, file: str, component: str) -> None:
    model.write(file, (model.path / file).read_bytes()[:-64])


def pickle(model: SpoiltModel, file: str, component: str) -> None:
    model.remove(file)
    model.write(file.replace(".safetensors", ".bin"), model.trap())


def disguise(model: SpoiltModel, file: str, component: str) -> None:
    model.write(file, model.trap())


def link_out(model: SpoiltModel, file: str, component: str) -> None:
    model.link(file, model.outside / file)


def link_component_out(model: SpoiltModel, file: str, component: str) -> None:
    model.link(component, model.outside / component)


def bring_code(model: SpoiltModel, file: str, component: str) -> None:
    model.change(f"{component}/config.json", {"auto_map": {"AutoModel": "my_code.Net"}})


def quantise(model: SpoiltModel, file: str, component: str) -> None:
    model.change(f"{component}/config.json", {"quantization_config": {"quant_method": "bitsandbytes"}})


def be_of_another_class(model: SpoiltModel, file: str, component: str) -> None:
    model.change(MODEL_INDEX, {component: ["my_code", "Net"]})


def leave_the_folder_by_a_shard(model: SpoiltModel, file: str, component: str) -> None:
    model.remove(file)
    model.change(f"{file}.index.json", {"weight_map": {"a": f"../../{model.outside.name}/{file}"}})


def keep_a_lora(model: SpoiltModel, file: str, component: str) -> None:
    header, data = model.tensors(file)
    entry = {"dtype": "F32", "shape": [1], "data_offsets": [len(data), len(data) + 4]}
    model.write_tensors(file, header | {"layer.lora_A.weight": entry}, data + bytes(4))


def be_infinite(model: SpoiltModel, file: str, component: str) -> None:
    header, data = model.tensors(file)
    model.write_tensors(file, header, data[:-8] + b"\xff" * 8)


HARM: dict[Callable[[SpoiltModel, str, str], None], str] = {
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
    keep_a_lora: "holds a LoRA or an embedding",
}


@pytest.mark.usefixtures("stand_in")
@pytest.mark.parametrize(("family", "component"), NETWORKS)
@pytest.mark.parametrize("harm", HARM, ids=lambda harm: harm.__name__)
def test_every_network_of_a_family_is_refused_for_what_is_wrong_with_it(
    harm: Callable[[SpoiltModel, str, str], None],
    family: str,
    component: str,
    copied_family: Callable[[str], SpoiltModel],
) -> None:
    model, file = copied_family(family), weights_of(family, component)
    harm(model, file, component)
    with pytest.raises(ModelRefusedError) as refused:
        load_model(str(model.path), "cpu")
    message = str(refused.value)
    assert HARM[harm].format(component=component, file=file) in message
    assert message.isprintable() and len(message) < 600
    assert not model.planted.exists()


KEYS: tuple[tuple[str, str, dict[str, Any], str], ...] = (
    (XL, "text_encoder_2/config.json", {"num_hidden_layers": 10**6}, "far larger network than its weights fill"),
    (XL, "text_encoder_2/config.json", {"projection_dim": 40}, "weights of another shape than its config.json"),
    (XL, "tokenizer_2/tokenizer_config.json", {"auto_map": ["a.B", None]}, "'tokenizer_2/tokenizer_config.json' sets"),
    (XL, "tokenizer_2/tokenizer_config.json", {"vocab_file": "/etc/passwd"}, "which is outside the model's folder"),
    (XL, "tokenizer_2/tokenizer_config.json", {"model_max_length": 10**30}, "'tokenizer_2/tokenizer_config.json' sets"),
    (XL, MODEL_INDEX, {"force_zeros_for_empty_prompt": "no"}, "expected true or false"),
    (XL, MODEL_INDEX, {"text_encoder_2": [None, None]}, "component 'text_encoder_2' is [None, None]"),
    (XL, MODEL_INDEX, {"text_encoder_2": ["transformers", "CLIPTextModel"]}, "those that are CLIPTextModelWithProj"),
    (XL, MODEL_INDEX, {"controlnet": ["diffusers", "ControlNetModel"]}, "is no part of a StableDiffusionXLPipeline"),
    (SD3, "transformer/config.json", {"num_layers": 10**6}, "far larger network than its weights fill"),
    (SD3, "transformer/config.json", {"num_layers": 10**10}, "expected at most 1,000,000"),
    (SD3, "transformer/config.json", {"pos_embed_max_size": 10**6}, "far larger network than its weights fill"),
    (SD3, "transformer/config.json", {"pos_embed_max_size": None, "sample_size": 10**6}, "far larger network than"),
    (SD3, "transformer/config.json", {"caption_projection_dim": 64}, "weights of another shape than its config.json"),
    (SD3, "transformer/config.json", {"patch_size": 0}, "describes no network that can be built"),
    (SD3, "text_encoder_3/config.json", {"d_ff": 10**6}, "far larger network than its weights fill"),
    (SD3, "text_encoder_3/config.json", {"num_layers": 3}, "'text_encoder_3' lacks"),
    (SD3, "text_encoder_3/config.json", {"dense_act_fn": "os.system"}, "describes no network that can be built"),
    (SD3, "tokenizer_3/tokenizer_config.json", {"extra_ids": 10**9}, "sets extra_ids to 1000000000; expected"),
    (SD3, "tokenizer_3/tokenizer_config.json", {"model_max_length": 10**30}, "expected a number from 3 to 10,000"),
    (SD3, "tokenizer_3/tokenizer_config.json", {"vocab": "/etc/passwd"}, "are read from their usual files only"),
    (SD3, "tokenizer_3/tokenizer.json", {"model": {"vocab": {"a": 1}}}, "has no vocabulary of pieces"),
    (SD3, "tokenizer_3/tokenizer.json", {"model": {"vocab": [["a", float("nan")]]}}, "has no vocabulary of pieces"),
    (SD3, "tokenizer_3/tokenizer.json", {"model": {"type": "Unigram", "vocab": [["a", 0.0]]}}, "cannot be loaded"),
    (SD3, "scheduler/scheduler_config.json", {"num_train_timesteps": 10**10}, "expected a number from 1 to 100,000"),
    (SD3, "scheduler/scheduler_config.json", {"shift": float("nan")}, "gives sigmas that are not between 0 and 1"),
    (SD3, "scheduler/scheduler_config.json", {"shift": -3.0}, "gives sigmas that are not between 0 and 1"),
    (SD3, MODEL_INDEX, {"scheduler": ["diffusers", "DDIMScheduler"]}, "those that are FlowMatchEulerDiscreteScheduler"),
    (SD3, MODEL_INDEX, {"tokenizer_3": [None, None]}, "component 'tokenizer_3' is [None, None]"),
    (SD3, MODEL_INDEX, {"text_encoder_3": 7}, "component 'text_encoder_3' must be [library, class]"),
    (SD3, MODEL_INDEX, {"text_encoder_3": ["my_code", "Net"]}, "brings its own code"),
    (FLUX, "transformer/config.json", {"num_single_layers": 10**6}, "far larger network than its weights fill"),
    (FLUX, "text_encoder_2/config.json", {"vocab_size": 10**10}, "expected at most 1,000,000"),
    (FLUX, MODEL_INDEX, {"text_encoder_2": [None, None]}, "component 'text_encoder_2' is [None, None]"),
)  # fmt: skip


@pytest.mark.usefixtures("stand_in")
@pytest.mark.parametrize(("family", "file", "changes", "reason"), KEYS)
def test_what_a_configuration_must_not_say(
    family: str, file: str, changes: dict[str, Any], reason: str, copied_family: Callable[[str], SpoiltModel]
) -> None:
    model = copied_family(family)
    model.change(file, changes)
    with pytest.raises(ModelRefusedError) as refused:
        load_model(str(model.path), "cpu")
    assert reason in str(refused.value)


@pytest.mark.usefixtures("stand_in")
def test_a_transformer_in_shards_is_the_same_model(copied_family: Callable[[str], SpoiltModel]) -> None:
    from tests.tiny_families import make_flux

    model, file = copied_family(FLUX), weights_of(FLUX, "transformer")
    header, data = model.tensors(file)
    model.remove(file)
    name, entry = header.popitem()
    start = entry["data_offsets"][0]
    first, second = (file.replace(".safetensors", f"-0000{number}-of-00002.safetensors") for number in (1, 2))
    model.write_tensors(first, header, data[:start])
    model.write_tensors(second, {name: entry | {"data_offsets": [0, len(data) - start]}}, data[start:])
    placed = dict.fromkeys(header, Path(first).name) | {name: Path(second).name}
    model.change(f"{file}.index.json", {"metadata": {}, "weight_map": placed})
    pipeline: Any = load_model(str(model.path), "cpu").denoiser.pipeline  # type: ignore[attr-defined]
    assert same_weights(pipeline, make_flux())


@pytest.mark.usefixtures("stand_in")
def test_the_fingerprint_follows_the_files_of_every_component(copied_family: Callable[[str], SpoiltModel]) -> None:
    model = copied_family(SD3)
    before = load_model(str(model.path), "cpu")
    assert {"tokenizer_3/tokenizer.json", weights_of(SD3, "text_encoder_3")} <= set(before.files)
    config = json.loads((model.path / "text_encoder_3/config.json").read_bytes())
    model.write("text_encoder_3/config.json", json.dumps(config | {"note": 1}).encode())
    assert load_model(str(model.path), "cpu").denoiser.fingerprint != before.denoiser.fingerprint
