"""LoRAs as peft's own save_pretrained leaves them: applied as peft applies them, or refused for what they are."""

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file

from imgaudit.exceptions import ModelRefusedError
from imgaudit.models import load_model
from imgaudit.models.lora import fuse_lora, lora_fingerprint, read_lora
from tests.conftest import make_pipeline, tiny_recipe
from tests.models.test_lora import changes
from tests.support.lora import ATTENTION
from tests.support.tiny_families import MAKERS

pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
"""peft asks transformers for it."""


def save_peft(folder: Path, network: torch.nn.Module, **options: Any) -> Path:
    """What peft saves of an untrained LoRA whose matrices are random."""
    torch.manual_seed(3)
    get_peft_model(network, LoraConfig(init_lora_weights=False, **{"r": 2, **options})).save_pretrained(folder)
    return folder


def merged(network: torch.nn.Module, folder: Path) -> dict[str, torch.Tensor]:
    """The weights with the adapter merged by peft itself."""
    from peft import PeftModel

    state: dict[str, torch.Tensor] = PeftModel.from_pretrained(network, folder).merge_and_unload().state_dict()
    return state


MODELS: dict[str, Callable[[], Any]] = {
    "StableDiffusionPipeline": lambda: make_pipeline(tiny_recipe()),
    **{name: MAKERS[name] for name in ("StableDiffusionXLPipeline", "StableDiffusion3Pipeline", "FluxPipeline")},
}


@pytest.mark.parametrize(
    ("family", "network", "options"),
    [
        ("StableDiffusionPipeline", "unet", {"lora_alpha": 16}),
        ("StableDiffusionPipeline", "unet", {"lora_alpha": 16, "use_rslora": True}),
        ("StableDiffusionPipeline", "unet", {"alpha_pattern": {"attn1.to_q": 5}, "rank_pattern": {"to_v": 3}}),
        ("StableDiffusionPipeline", "unet", {"target_modules": ["to_q", "conv1"]}),
        ("StableDiffusionPipeline", "text_encoder", {}),
        ("StableDiffusionXLPipeline", "unet", {}),
        ("StableDiffusionXLPipeline", "text_encoder_2", {}),
        ("StableDiffusion3Pipeline", "transformer", {}),
        ("FluxPipeline", "transformer", {}),
    ],
)
def test_the_weights_are_those_that_peft_merges(family: str, network: str, options: Any, tmp_path: Path) -> None:
    options = {"target_modules": ATTENTION[network.removesuffix("_2")], **options}
    folder = save_peft(tmp_path / "adapter", getattr(MODELS[family](), network), **options)
    expected, pipeline = merged(getattr(MODELS[family](), network), folder), MODELS[family]()
    fuse_lora(pipeline, read_lora(str(folder)))
    torch.testing.assert_close(getattr(pipeline, network).state_dict(), expected, rtol=1e-4, atol=1e-6)
    assert {name.partition(".")[0] for name in changes(pipeline, MODELS[family]())} == {network}


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    return save_peft(tmp_path / "adapter", make_pipeline(tiny_recipe()).unet, target_modules=["to_q", "to_v"])


def test_a_folder_or_its_file_is_fused_at_a_weight(adapter: Path, model_folder: Path) -> None:
    folder, file = (
        load_model(str(model_folder), "cpu", [f"{one}:0.5"]) for one in (adapter, adapter / "adapter_model.safetensors")
    )
    assert folder.denoiser.fingerprint == file.denoiser.fingerprint
    assert folder.name == f"{model_folder} + adapter_model.safetensors x 0.5"


def test_the_fingerprint_follows_the_configuration(adapter: Path) -> None:
    before = lora_fingerprint("f", [read_lora(str(adapter))])
    configure(adapter, lora_alpha=99)
    assert lora_fingerprint("f", [read_lora(str(adapter))]) != before


def configure(folder: Path, **settings: Any) -> None:
    path = folder / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | settings))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"peft_type": "LOHA"}, "an adapter of peft's kind 'LOHA'; of these, only LORA is applied"),
        ({"peft_type": None}, "an adapter of peft's kind None"),
        ({"use_dora": True}, "sets 'use_dora' to True, which is no part of a plain LoRA"),
        ({"bias": "all"}, "sets 'bias' to 'all'"),
        ({"init_lora_weights": "pissa"}, "sets 'init_lora_weights' to 'pissa'"),
        ({"modules_to_save": ["conv_in"]}, "sets 'modules_to_save'"),
        ({"lora_alpha": math.nan}, "sets 'lora_alpha' to nan"),
        ({"alpha_pattern": {"(a+)+$": 2}}, "sets 'alpha_pattern'"),
        ({"auto_mapping": ["x"]}, "sets auto_mapping to"),
    ],
)
def test_more_than_a_plain_lora_is_refused(settings: Any, message: str, adapter: Path) -> None:
    configure(adapter, **settings)
    with pytest.raises(ModelRefusedError) as error:
        read_lora(str(adapter))
    assert message in str(error.value) and str(error.value).isprintable()


def test_tensors_besides_the_two_matrices_are_refused(adapter: Path) -> None:
    path = adapter / "adapter_model.safetensors"
    plain = load_file(path)
    for name in ("base_model.model.conv_in.weight", "base_model.model.a.lora_magnitude_vector", "a.lora_A.weight"):
        save_file(plain | {name: torch.ones(2, 2)}, path)
        with pytest.raises(ModelRefusedError, match="format of peft's save_pretrained, but holds"):
            read_lora(str(adapter))
    save_file({name: one for name, one in plain.items() if name != min(plain)}, path)
    with pytest.raises(ModelRefusedError, match="lacks one of the two matrices"):
        read_lora(str(adapter))


def test_a_file_without_its_configuration_is_refused_by_its_format(adapter: Path, tmp_path: Path) -> None:
    alone = Path(shutil.copy(adapter / "adapter_model.safetensors", tmp_path / "alone.safetensors"))
    with pytest.raises(ModelRefusedError, match="format of peft's save_pretrained, whose alpha is in"):
        read_lora(str(alone))


def test_an_adapter_of_another_model_is_refused_by_its_layers(model_folder: Path, tmp_path: Path) -> None:
    wide = make_pipeline(tiny_recipe(unet_channels=(16, 64))).unet
    folder = save_peft(tmp_path / "wide", wide, target_modules=["to_q", "to_v"])
    with pytest.raises(ModelRefusedError, match=r"no part of this model \(.*unet.*\) has all of its [0-9]+ layers"):
        load_model(str(model_folder), "cpu", [str(folder)])


def test_an_adapter_that_fits_two_text_encoders_is_refused_unless_it_says_which(tmp_path: Path) -> None:
    make = MAKERS["StableDiffusionXLPipeline"]
    folder = save_peft(tmp_path / "text", make().text_encoder_2, target_modules=["q_proj"])
    configure(folder, auto_mapping=None)
    with pytest.raises(ModelRefusedError, match="it fits text_encoder and text_encoder_2"):
        fuse_lora(make(), read_lora(str(folder)))


def test_folders_of_several_adapters_are_named(adapter: Path) -> None:
    with pytest.raises(ModelRefusedError, match="holds adapters in its folders 'adapter': name each of them"):
        read_lora(str(adapter.parent))


def test_an_adapter_in_place_of_the_model_is_told_apart(adapter: Path) -> None:
    with pytest.raises(ModelRefusedError, match="so it is a LoRA or another adapter, not a model"):
        load_model(str(adapter), "cpu")


def test_a_lora_in_names_that_are_not_known_is_not_said_to_be_another_models(
    adapter: Path, model_folder: Path, tmp_path: Path
) -> None:
    held = load_file(adapter / "adapter_model.safetensors")
    file = tmp_path / "renamed.safetensors"
    save_file({f"backbone/{name.removeprefix('base_model.model.')}": one for name, one in held.items()}, file)
    with pytest.raises(
        ModelRefusedError, match=r"\(such as 'backbone/.*or its names are in a format that this version"
    ):
        load_model(str(model_folder), "cpu", [str(file)])
