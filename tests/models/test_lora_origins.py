"""What diffusers makes of other programs' LoRAs: nothing is left out, no alpha is forgotten, or a refusal names it."""

from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from imgaudit.exceptions import ModelRefusedError
from imgaudit.models.lora import fuse_lora, read_lora
from imgaudit.models.lora_origins import convert_lora
from tests.support.family_makers import MAKERS
from tests.support.lora import Weights

RANK, ALPHA = 2, 5.0


def save_layers(path: Path, sides: Mapping[str, tuple[int, int]], *, alpha: float | None = ALPHA) -> Weights:
    """A file with both matrices and the alpha of layers (outputs, inputs), as kohya's programs name them; their
    changes by name."""
    generator, tensors = torch.Generator().manual_seed(4), {}
    changes: Weights = {}
    for name, (outputs, inputs) in sides.items():
        up, down = torch.randn(outputs, RANK, generator=generator), torch.randn(RANK, inputs, generator=generator)
        tensors |= {f"{name}.lora_up.weight": up, f"{name}.lora_down.weight": down}
        tensors |= {} if alpha is None else {f"{name}.alpha": torch.tensor(alpha)}
        changes[name] = (1.0 if alpha is None else alpha / RANK) * up @ down
    save_file(tensors, path)
    return changes


CASES: dict[str, tuple[str, str, tuple[int, int], tuple[str, ...]]] = {
    "flux1, one for three": (
        "FluxPipeline", "lora_unet_double_blocks_0_img_attn_qkv", (96, 32),
        ("transformer_blocks.0.attn.to_q", "transformer_blocks.0.attn.to_k", "transformer_blocks.0.attn.to_v"),
    ),
    "flux2, one for three": (
        "Flux2KleinPipeline", "lora_unet_double_blocks_0_txt_attn_qkv", (96, 32),
        ("transformer_blocks.0.attn.add_q_proj", "transformer_blocks.0.attn.add_k_proj",
         "transformer_blocks.0.attn.add_v_proj"),
    ),
    "qwen-image": (
        "QwenImagePipeline", "lora_unet_transformer_blocks_1_attn_to_out_0", (48, 48),
        ("transformer_blocks.1.attn.to_out.0",),
    ),
    "z-image": (
        "ZImagePipeline", "lora_unet_layers_0_attention_to_v", (32, 32), ("layers.0.attention.to_v",),
    ),
}  # fmt: skip
"""Pipeline class, a layer in its makers' names, its sides, and the layers that it is in diffusers' names."""


@pytest.mark.parametrize("alpha", [ALPHA, RANK / 8, None])
@pytest.mark.parametrize("case", CASES)
def test_a_converted_layer_has_its_own_alpha(case: str, alpha: float | None, tmp_path: Path) -> None:
    family, name, sides, layers = CASES[case]
    pipeline = MAKERS[family]()
    before = {key: value.clone() for key, value in pipeline.transformer.state_dict().items()}
    change = save_layers(tmp_path / "style.safetensors", {name: sides}, alpha=alpha)[name]
    fuse_lora(pipeline, read_lora(f"{tmp_path / 'style.safetensors'}:0.5"))
    parts = dict(zip(layers, change.chunk(len(layers)), strict=True))
    expected = before | {f"{layer}.weight": before[f"{layer}.weight"] + 0.5 * part for layer, part in parts.items()}
    torch.testing.assert_close(dict(pipeline.transformer.state_dict()), expected, rtol=1e-5, atol=1e-5)


WHOLE = "lora_unet_double_blocks_0_img_attn_qkv"


@pytest.mark.parametrize(
    ("family", "left_out"),
    [
        ("FluxPipeline", "lora_te3_encoder_block_0_layer_0_SelfAttention_q"),
        ("FluxPipeline", "lora_unet_final_layer_adaLN_modulation_1"),
        ("FluxPipeline", "lora_unet_img_in"),
        ("Flux2KleinPipeline", "lora_unet_double_stream_modulation_img_lin"),
    ],
)
def test_what_diffusers_leaves_out_is_refused_by_name(family: str, left_out: str, tmp_path: Path) -> None:
    # One layer that is split in three hides from a count that another one is missing.
    save_layers(tmp_path / "style.safetensors", {WHOLE: (96, 32), left_out: (32, 32)})
    with pytest.raises(ModelRefusedError, match=rf"\(2 of its 4 tensors have no layer, such as '{left_out}"):
        fuse_lora(MAKERS[family](), read_lora(str(tmp_path / "style.safetensors")))


@pytest.mark.parametrize("family", ["AuraFlowPipeline", "ChromaPipeline", "QwenImagePipeline", "ZImagePipeline"])
def test_in_diffusers_names_a_layer_has_its_own_alpha_or_none(family: str, tmp_path: Path) -> None:
    transformer = MAKERS[family]().transformer
    linear = {name: part for name, part in transformer.named_modules() if isinstance(part, torch.nn.Linear)}
    tensors: Weights = {}
    expected = {name: value.clone() for name, value in transformer.state_dict().items()}
    for name, scale in zip(list(linear)[-2:], (ALPHA / RANK, 1.0), strict=True):
        up, down = torch.randn(linear[name].out_features, RANK), torch.randn(RANK, linear[name].in_features)
        tensors |= {f"transformer.{name}.lora_A.weight": down, f"transformer.{name}.lora_B.weight": up}
        tensors |= {f"transformer.{name}.alpha": torch.tensor(ALPHA)} if scale != 1 else {}
        expected[f"{name}.weight"] += scale * up @ down
    save_file(tensors, tmp_path / "style.safetensors")
    pipeline = MAKERS[family]()
    fuse_lora(pipeline, read_lora(str(tmp_path / "style.safetensors")))
    torch.testing.assert_close(dict(pipeline.transformer.state_dict()), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("alphas", "message"),
    [
        ({"layer": -1.0}, r"'layer.alpha' is -1\.0; expected one finite number above 0"),
        ({"layer": 0.0}, r"is 0\.0; expected"),
        ({"layer": float("nan")}, "is nan; expected"),
        ({"layer": [1.0, 2.0]}, "is 2 numbers; expected"),
        ({"layer": 1.0, "other": 1.0}, "has 'other.alpha' without the layer that it scales"),
    ],
)
def test_an_alpha_that_is_none_is_refused_before_diffusers_reads_it(alphas: Weights, message: str) -> None:
    held = {"layer.lora_down.weight": torch.ones(2, 4), "layer.lora_up.weight": torch.ones(4, 2)}
    held |= {f"{name}.alpha": torch.tensor(alpha) for name, alpha in alphas.items()}
    with pytest.raises(ModelRefusedError, match=message):
        convert_lora(Path("style.safetensors"), held, lambda given: pytest.fail("it was converted"))


def test_origins_are_told_whatever_becomes_of_a_tensor() -> None:
    held = {f"{name}.lora_down.weight": torch.zeros(2, 4) for name in "abcd"}
    held |= {f"{name}.lora_up.weight": torch.ones(4, 2) for name in "abcd"}

    def convert(given: Weights) -> Weights:
        return {
            "a.lora_A.weight": given["a.lora_down.weight"] * 0.25,
            "a.lora_B.weight": given["c.lora_up.weight"][:2] * 2,
        }

    held["d.lora_down.weight"] = torch.ones(2, 4)
    conversion = convert_lora(Path("style.safetensors"), held, convert)
    assert {name: (one.name, one.factor) for name, one in conversion.origins.items()} == {
        "a.lora_A.weight": ("a.lora_down.weight", 0.25),
        "a.lora_B.weight": ("c.lora_up.weight", 2),
    }
    # The others were left out too, but change nothing.
    assert conversion.list_left_out() == ["d.lora_down.weight", "d.lora_up.weight"]
    for made in (
        lambda given: torch.cat([tensor.flatten() for tensor in given.values()]), lambda given: torch.zeros(2, 4),
        lambda given: torch.zeros(0, 4),
    ):  # fmt: skip
        with pytest.raises(ModelRefusedError, match="makes 'a' of several of its tensors or of none"):
            convert_lora(Path("s.safetensors"), held, lambda given, made=made: {"a": made(given)})  # type: ignore[misc]
