"""Single files: recognised, and converted into the same model as the folder."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import FluxTransformer2DModel, SD3Transformer2DModel, UNet2DConditionModel
from typer.testing import CliRunner

from imgaudit.cli import app
from imgaudit.diffusion.denoiser import Denoiser
from imgaudit.exceptions import ModelRefusedError
from imgaudit.io.portfolio import Portfolio
from imgaudit.models import load_model
from imgaudit.models.description import describe_model
from imgaudit.models.files.claims import UNET
from imgaudit.models.files.single_file import LAYOUTS, Checkpoint, find_usual_configuration
from imgaudit.runs.manifest import make_manifest, open_manifest
from imgaudit.schema.config import AuditConfig
from imgaudit.schema.manifest import AuditManifest
from tests.models.files.test_variants import weight_files
from tests.support.single_files import Tensors, change_file, flux, pipeline_of, save, sd3, single_file, unet

SINGLE_FILE = "checkpoint.safetensors"
FAMILIES = ["tiny", "other", "xl", "sd3", "sd3 without t5"]


def configuration(folder: Path, to: Path, *keep: str) -> Path:
    """A folder without its weights, apart from those of some components."""

    def left_out(where: str, names: list[str]) -> list[str]:
        return [] if Path(where).name in keep else [name for name in names if ".safetensors" in name]

    return Path(shutil.copytree(folder, to, ignore=left_out))


def sample(denoiser: Denoiser) -> torch.Tensor:
    condition = denoiser.condition(["a red fox"])
    return denoiser.sample(condition, [3], guidance_scale=2.0, num_inference_steps=2)


@pytest.mark.parametrize("name", FAMILIES)
def test_a_single_file_is_the_model_of_its_folder(
    name: str, folders: dict[str, Path], files: dict[str, Path], tmp_path: Path
) -> None:
    config = configuration(folders[name], tmp_path / "config")
    expected, loaded = load_model(str(folders[name]), "cpu"), load_model(str(files[name]), "cpu", config=str(config))
    assert loaded.pipeline_class == expected.pipeline_class
    parts: Any = loaded.denoiser.pipeline.components  # type: ignore[attr-defined]
    for key, part in expected.denoiser.pipeline.components.items():  # type: ignore[attr-defined]
        if isinstance(part, torch.nn.Module):
            torch.testing.assert_close(parts[key].state_dict(), part.state_dict(), rtol=0, atol=0)
    # Equal weights at other places in memory are added up in another order.
    torch.testing.assert_close(sample(loaded.denoiser), sample(expected.denoiser), rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", FAMILIES)
def test_a_single_file_is_described_without_its_weights(
    name: str, folders: dict[str, Path], files: dict[str, Path], tmp_path: Path
) -> None:
    config = configuration(folders[name], tmp_path / "config")
    found, whole = describe_model(str(files[name]), config=str(config)), describe_model(str(folders[name]))
    assert found.refusals == whole.refusals == [] and found.has_weights
    assert found.parameters == whole.parameters


def test_what_a_file_lacks_is_not_missed_where_it_would_be_fetched(
    folders: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline = pipeline_of(folders["sd3"])
    bare = {name.removeprefix(UNET): one for name, one in single_file(pipeline).items() if name.startswith(UNET)}
    file, config = save(bare, tmp_path / "transformer.safetensors"), configuration(folders["sd3"], tmp_path / "config")
    fetched: list[bool] = []

    def fetch(model: str, variant: str, without: object, *, with_weights: bool) -> Path:
        fetched.append(with_weights)
        return config

    monkeypatch.setattr("imgaudit.models.files.source.fetch_model", fetch)
    found = describe_model(str(file), config="owner/name")
    assert fetched == [False] and found.refusals == [] and found.denoiser is not None
    assert "has no weights of it" in " ".join(describe_model(str(file), config=str(config)).refusals)


def test_the_fingerprint_covers_the_file_and_its_configuration(
    folders: dict[str, Path], files: dict[str, Path], tmp_path: Path
) -> None:
    config, file = configuration(folders["tiny"], tmp_path / "config"), tmp_path / "model.safetensors"
    shutil.copy(files["tiny"], file)
    loaded = load_model(str(file), "cpu", config=str(config))
    assert weight_files(loaded) == {SINGLE_FILE} and {"unet/config.json", "tokenizer/tokenizer.json"} < set(
        loaded.files
    )
    assert (loaded.name, loaded.config, loaded.revision) == (str(file), str(config), "")
    renamed = file.rename(tmp_path / "renamed.safetensors")
    assert load_model(str(renamed), "cpu", config=str(config)).denoiser.fingerprint == loaded.denoiser.fingerprint
    # Weights of the configuration's folder are not those that are loaded.
    whole = load_model(str(renamed), "cpu", config=str(folders["tiny"]))
    assert whole.denoiser.fingerprint == loaded.denoiser.fingerprint
    scheduler = config / "scheduler/scheduler_config.json"
    scheduler.write_text(json.dumps(json.loads(scheduler.read_text()) | {"prediction_type": "v_prediction"}))
    assert load_model(str(renamed), "cpu", config=str(config)).denoiser.fingerprint != loaded.denoiser.fingerprint


def test_what_a_file_lacks_comes_from_its_configuration(folders: dict[str, Path], tmp_path: Path) -> None:
    pipeline = pipeline_of(folders["sd3"])
    bare = {name.removeprefix(UNET): one for name, one in single_file(pipeline).items() if name.startswith(UNET)}
    file = save(bare, tmp_path / "transformer.safetensors")
    loaded = load_model(str(file), "cpu", config=str(folders["sd3"]))
    expected = sample(load_model(str(folders["sd3"]), "cpu").denoiser)
    torch.testing.assert_close(sample(loaded.denoiser), expected, rtol=0, atol=1e-5)
    assert SINGLE_FILE in weight_files(loaded) and "vae/diffusion_pytorch_model.safetensors" in weight_files(loaded)
    assert "transformer/diffusion_pytorch_model.safetensors" not in loaded.files
    config = configuration(folders["sd3"], tmp_path / "config", "vae", "text_encoder")
    with pytest.raises(ModelRefusedError, match=r"holds no 'text_encoder_2', and .* has no weights of it"):
        load_model(str(file), "cpu", config=str(config))


def test_a_lora_is_fused_into_a_single_file(folders: dict[str, Path], files: dict[str, Path], style: Path) -> None:
    expected = load_model(str(folders["tiny"]), "cpu", [str(style)])
    loaded = load_model(str(files["tiny"]), "cpu", [str(style)], config=str(folders["tiny"]))
    torch.testing.assert_close(sample(loaded.denoiser), sample(expected.denoiser), rtol=0, atol=1e-5)


def test_what_programs_save_besides_changes_nothing(
    folders: dict[str, Path], files: dict[str, Path], tmp_path: Path
) -> None:
    def add(tensors: Tensors) -> None:
        start = "cond_stage_model.transformer."
        tensors[start + "text_model.embeddings.position_ids"] = torch.arange(8)[None]
        tensors[start + "text_projection.weight"] = torch.eye(32)
        tensors["model_ema.decay"] = tensors["logvar"] = tensors["first_stage_model.loss.logvar"] = torch.ones(1)

    file = change_file(files["tiny"], tmp_path / "more.safetensors", add)
    loaded, expected = (
        load_model(str(file), "cpu", config=str(folders["tiny"])),
        load_model(str(folders["tiny"]), "cpu"),
    )
    torch.testing.assert_close(sample(loaded.denoiser), sample(expected.denoiser), rtol=0, atol=1e-5)


def test_half_precision_is_loaded_as_a_folder_is(
    folders: dict[str, Path], files: dict[str, Path], tmp_path: Path
) -> None:
    def halve(tensors: Tensors) -> None:
        tensors.update({name: tensor.half() for name, tensor in tensors.items()})

    file = change_file(files["tiny"], tmp_path / "half.safetensors", halve)
    loaded = load_model(str(file), "cpu", config=str(folders["tiny"]))
    pipeline: Any = loaded.denoiser.pipeline  # type: ignore[attr-defined]
    assert pipeline.unet.dtype == pipeline.vae.dtype == pipeline.text_encoder.dtype == torch.float32
    assert bool(torch.isfinite(sample(loaded.denoiser)).all())


XL: dict[str, Any] = {
    "block_out_channels": (320, 640, 1280), "layers_per_block": 2, "cross_attention_dim": 2048,
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"), "attention_head_dim": (5, 10, 20),
    "transformer_layers_per_block": (1, 2, 10), "use_linear_projection": True, "addition_embed_type": "text_time",
    "addition_time_embed_dim": 256, "projection_class_embeddings_input_dim": 2816,
}  # fmt: skip
REPOSITORIES = {
    "v1": "stable-diffusion-v1-5", "v2": "stable-diffusion-2-1", "xl_base": "stable-diffusion-xl-base-1.0",
    "sd3": "stable-diffusion-3-medium", "sd35_medium": "3.5-medium", "sd35_large": "3.5-large",
    "flux-dev": "FLUX.1-dev", "flux-schnell": "FLUX.1-schnell",
}  # fmt: skip
REAL: dict[str, tuple[Any, dict[str, Any], str, str]] = {
    "1": (UNet2DConditionModel, {"cross_attention_dim": 768, "attention_head_dim": 8}, "StableDiffusionPipeline", "v1"),
    "2": (
        UNet2DConditionModel,
        {"cross_attention_dim": 1024, "attention_head_dim": (5, 10, 20, 20), "use_linear_projection": True},
        "StableDiffusionPipeline", "v2",
    ),
    "xl": (UNet2DConditionModel, XL, "StableDiffusionXLPipeline", "xl_base"),
    "3 medium": (
        SD3Transformer2DModel,
        {"sample_size": 128, "num_layers": 24, "num_attention_heads": 24, "caption_projection_dim": 1536,
         "pooled_projection_dim": 2048, "pos_embed_max_size": 192},
        "StableDiffusion3Pipeline", "sd3",
    ),
    "3.5 medium": (
        SD3Transformer2DModel,
        {"sample_size": 128, "num_layers": 24, "num_attention_heads": 24, "caption_projection_dim": 1536,
         "pooled_projection_dim": 2048, "pos_embed_max_size": 384, "qk_norm": "rms_norm",
         "dual_attention_layers": tuple(range(13))},
        "StableDiffusion3Pipeline", "sd35_medium",
    ),
    "3.5 large": (
        SD3Transformer2DModel,
        {"sample_size": 128, "num_layers": 38, "num_attention_heads": 38, "caption_projection_dim": 2432,
         "pooled_projection_dim": 2048, "pos_embed_max_size": 192, "qk_norm": "rms_norm"},
        "StableDiffusion3Pipeline", "sd35_large",
    ),
    "flux dev": (FluxTransformer2DModel, {"guidance_embeds": True}, "FluxPipeline", "flux-dev"),
    "flux schnell": (FluxTransformer2DModel, {}, "FluxPipeline", "flux-schnell"),
}  # fmt: skip


@pytest.mark.parametrize("name", REAL)
def test_the_layouts_fit_the_networks_of_the_published_sizes(name: str) -> None:
    """No weights: names and shapes alone, of the networks as they are published."""
    network, config, pipeline_class, kind = REAL[name]
    with torch.device("meta"):
        made = network(**config)
    expected = made.state_dict()
    if network is UNet2DConditionModel:
        original = unet(expected, 2)
    else:
        original = (flux if pipeline_class == "FluxPipeline" else sd3)(expected, UNET)
    converted = LAYOUTS[pipeline_class][0].convert(dict(original), made.config, UNET)
    assert {key: one.shape for key, one in converted.items()} == {key: one.shape for key, one in expected.items()}
    shapes = {key: tuple(one.shape) for key, one in original.items()}
    if kind == "xl_base":
        shapes["conditioner.embedders.1.model.transformer.resblocks.9.mlp.c_proj.bias"] = (1280,)
    assert REPOSITORIES[kind] in find_usual_configuration(
        Checkpoint(Path("model.safetensors"), pipeline_class, shapes, dict)
    )


def test_every_weight_of_flux_goes_where_it_belongs() -> None:
    """diffusers converts FLUX.1 at its published width only, so its tensors have that many rows, and one column."""
    with torch.device("meta"):
        network = FluxTransformer2DModel(num_layers=2, num_single_layers=2, guidance_embeds=True)
    torch.manual_seed(4)
    expected = {name: torch.randn(len(one), *[1] * (one.ndim - 1)) for name, one in network.state_dict().items()}
    converted = LAYOUTS["FluxPipeline"][0].convert(flux(expected, UNET), network.config, UNET)
    torch.testing.assert_close(converted, expected, rtol=0, atol=0)


def test_the_manifest_keeps_what_it_takes_to_load_it_again(
    folders: dict[str, Path], files: dict[str, Path], tmp_path: Path
) -> None:
    loaded = load_model(str(files["tiny"]), "cpu", config=str(folders["tiny"]))
    made = make_manifest(["imgaudit"], AuditConfig(), {}, loaded, Portfolio([], [], []))
    known = open_manifest(tmp_path / "run", made).model
    assert (known.name, known.config) == (str(files["tiny"]), str(folders["tiny"]))
    assert (known.variant, known.quantised, set(known.files)) == ("", "", set(loaded.files))
    older = made.model_dump(mode="json")
    for key in ("variant", "config", "quantised"):
        del older["model"][key]
    assert AuditManifest.model_validate(older).model.config == ""


def test_the_command_line_says_how_a_model_is_loaded(
    folders: dict[str, Path], files: dict[str, Path], make_folder: Callable[..., Path]
) -> None:
    command = ["audit", str(make_folder("portfolio", range(2))), "--effort", "quick", "--dry-run", "--device", "cpu"]
    timed = CliRunner().invoke(app, [*command, "-m", str(files["tiny"]), "--model-config", str(folders["tiny"])])
    assert timed.exit_code == 0 and "Time: about" in timed.stdout, timed.output
    alone = CliRunner().invoke(app, [*command, "-m", str(files["tiny"])])
    assert alone.exit_code == 0 and "would have to be fetched" in " ".join(alone.stdout.split()), alone.output
    for options in (["--variant", "fp16"], ["--offload", "model"], ["--model-config", str(folders["tiny"])]):
        refused = CliRunner().invoke(app, [*command, "-m", str(folders["tiny"]), *options])
        assert isinstance(refused.exception, ModelRefusedError), refused.output
