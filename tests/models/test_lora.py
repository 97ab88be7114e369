"""LoRAs: fused exactly as their files say, wholly or not at all, and part of the model's identity."""

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from imgaudit.benchmark.robustness.broken_model import BrokenModel
from imgaudit.cli import main
from imgaudit.cli.exit_codes import ExitCode
from imgaudit.cli.model_choice import ModelChoice
from imgaudit.exceptions import ModelRefusedError
from imgaudit.models import load_model
from imgaudit.models.lora import USUAL_NAME, fuse_lora, lora_fingerprint, read_lora
from tests.conftest import make_pipeline, tiny_recipe
from tests.support.family_makers import MAKERS
from tests.support.lora import ALPHA, RANK, Weights, products, save_every_layer, save_lora


def changes(pipeline: Any, base: Any) -> Weights:
    """What a fused pipeline has more than its base, layer by layer, where it differs."""
    return {
        f"{name}.{key.removesuffix('.weight').removeprefix('text_model.')}": value - part.state_dict()[key]
        for name, part in base.components.items()
        if isinstance(part, torch.nn.Module)
        for key, value in pipeline.components[name].state_dict().items()
        if not torch.equal(value, part.state_dict()[key])
    }


def assert_changed_by(pipeline: Any, base: Any, expected: Weights) -> None:
    changed = changes(pipeline, base)
    assert changed.keys() == expected.keys()
    for layer, change in expected.items():
        torch.testing.assert_close(changed[layer], change.reshape(changed[layer].shape), rtol=1e-4, atol=1e-6)


FAMILIES: dict[str, tuple[Callable[[], Any], tuple[str, ...]]] = {
    "StableDiffusionPipeline": (lambda: make_pipeline(tiny_recipe()), ("unet", "text_encoder")),
    "StableDiffusionXLPipeline": (MAKERS["StableDiffusionXLPipeline"], ("unet", "text_encoder", "text_encoder_2")),
    "StableDiffusion3Pipeline": (MAKERS["StableDiffusion3Pipeline"], ("transformer", "text_encoder")),
    "FluxPipeline": (MAKERS["FluxPipeline"], ("transformer", "text_encoder")),
}


@pytest.mark.parametrize("metadata", [False, True])
@pytest.mark.parametrize("family", FAMILIES)
def test_the_weights_change_by_what_the_file_says(family: str, metadata: bool, tmp_path: Path) -> None:
    make, networks = FAMILIES[family]
    path, pipeline = save_lora(tmp_path, make(), *networks, metadata=metadata), make()
    fuse_lora(pipeline, read_lora(f"{path}:0.7"))
    assert_changed_by(pipeline, make(), products(path, 0.7 * (ALPHA / RANK if metadata else 1)))


@pytest.mark.parametrize("family", sorted(MAKERS))
def test_every_layer_of_every_family_changes_by_alpha_over_rank_times_both_matrices(
    family: str, tmp_path: Path
) -> None:
    pipeline = MAKERS[family]()
    name = "unet" if "unet" in pipeline.components else "transformer"
    network = pipeline.components[name]
    for as_peft in (False, True):
        before = {key: value.double() for key, value in network.state_dict().items()}
        path, changes = save_every_layer(tmp_path / str(as_peft), pipeline, name, as_peft)
        if not hasattr(pipeline, "load_lora_weights"):
            with pytest.raises(ModelRefusedError, match=f"diffusers applies none to a {family}"):
                fuse_lora(pipeline, read_lora(f"{path}:0.7"))
            return
        fuse_lora(pipeline, read_lora(f"{path}:0.7"))
        expected = before | {key: before[key] + 0.7 * change for key, change in changes.items()}
        after = {key: value.double() for key, value in network.state_dict().items()}
        torch.testing.assert_close(after, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_lora_of_whole_precision_is_fused_into_half(dtype: torch.dtype, style: Path) -> None:
    pipeline, base = (make_pipeline(tiny_recipe()).to(dtype=dtype) for _ in range(2))
    fuse_lora(pipeline, read_lora(str(style)))
    changed, expected = changes(pipeline, base), products(style, 1)
    assert changed.keys() == expected.keys()
    for layer, change in expected.items():
        torch.testing.assert_close(changed[layer].float(), change, rtol=0.05, atol=0.005)


def test_the_notation_of_kohya_is_read_with_its_alphas(style: Path, tmp_path: Path) -> None:
    expected, tensors = {}, {}
    for number, (layer, product) in enumerate(products(style, 1).items()):
        name = "lora_" + layer.replace("text_encoder.", "te_text_model.").replace(".", "_")
        alpha = 1.0 + number % 3
        weights = load_file(style)
        tensors[f"{name}.lora_down.weight"] = weights[f"{layer}.lora_A.weight"]
        tensors[f"{name}.lora_up.weight"] = weights[f"{layer}.lora_B.weight"]
        tensors[f"{name}.alpha"] = torch.tensor(alpha)
        expected[layer] = alpha / RANK * product
    save_file(tensors, tmp_path / "kohya.safetensors", {"ss_network_dim": "2"})
    pipeline = make_pipeline(tiny_recipe())
    fuse_lora(pipeline, read_lora(str(tmp_path / "kohya.safetensors")))
    assert_changed_by(pipeline, make_pipeline(tiny_recipe()), expected)


def test_a_lora_makes_another_model_of_it(model_folder: Path, style: Path) -> None:
    base = load_model(str(model_folder), "cpu")
    fused = load_model(str(model_folder), "cpu", [str(style)])
    half = load_model(str(model_folder), "cpu", [f"{style.parent}:0.5"])
    twice = load_model(str(model_folder), "cpu", [f"{style}:0.5", f"{style}:0.5"])
    assert len({one.denoiser.fingerprint for one in (base, fused, half, twice)}) == 4
    assert base.files == fused.files and base.loras == ()
    assert [(lora.path.name, lora.weight) for lora in twice.loras] == [(USUAL_NAME, 0.5)] * 2
    assert half.name == f"{model_folder} + {USUAL_NAME} x 0.5"
    noisy, timesteps = torch.ones(1, *base.denoiser.latent_shape), torch.tensor([500])
    outputs = [
        one.denoiser.predict(noisy, timesteps, one.denoiser.condition(["a red fox"])).output
        for one in (base, fused, half, twice)
    ]
    assert not torch.allclose(outputs[0], outputs[1]) and not torch.allclose(outputs[1], outputs[2])
    torch.testing.assert_close(outputs[3], outputs[1], rtol=1e-4, atol=1e-5)


def test_the_fingerprint_follows_every_byte_and_weight(model_folder: Path, style: Path, tmp_path: Path) -> None:
    changed = bytearray(style.read_bytes())
    changed[-1] ^= 1
    (tmp_path / "changed.safetensors").write_bytes(changed)
    loras = [read_lora(f"{style}:{weight}") for weight in ("1", "-1", "0.999")]
    loras.append(read_lora(str(tmp_path / "changed.safetensors")))
    assert len({lora_fingerprint("f", [lora]) for lora in loras} | {"f"}) == 5
    assert lora_fingerprint("f", loras) != lora_fingerprint("f", loras[:-1])
    assert lora_fingerprint("f", [read_lora(str(style))]) == lora_fingerprint("f", [read_lora(f"{style.parent}:1.0")])


def test_what_stands_after_a_colon_is_a_weight_unless_a_file_is_called_so(style: Path, tmp_path: Path) -> None:
    named = Path(shutil.copy(style, tmp_path / "a:0.safetensors"))
    assert read_lora(str(named)).weight == 1
    assert read_lora(f"{named}:2").path == named
    with pytest.raises(ModelRefusedError, match="was not found"):
        read_lora(f"{style}:heavy")


def test_without_peft_it_is_said_what_to_install(
    model_folder: Path, style: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("imgaudit.models.lora.importlib.util.find_spec", lambda name: None)
    with pytest.raises(ModelRefusedError, match=r"pip install 'imgaudit\[lora\]'"):
        fuse_lora(make_pipeline(tiny_recipe()), read_lora(str(style)))


def test_an_audit_with_a_lora_records_it(
    make_folder: Callable[..., Path],
    model_folder: Path,
    style: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    targets, run = make_folder("targets", range(1)), tmp_path / "run"
    shared = [
        "audit", str(targets), "--model", str(model_folder), "--out", str(run), "--steps", "1", "--draws", "2",
        "--seeds", "2", "--num-inference-steps", "2", "--rung", "caption", "--rung", "embedding",
        "--device", "cpu", "--quiet", "--no-controls",
    ]  # fmt: skip
    assert imgaudit([*shared, "--lora", f"{style}:0.5"], monkeypatch) == ExitCode.INCOMPLETE
    model = json.loads((run / "manifest.json").read_text())["model"]
    lora, base = read_lora(f"{style}:0.5"), load_model(str(model_folder), "cpu").denoiser.fingerprint
    assert model["loras"] == [{"file": USUAL_NAME, "sha256": lora.sha256, "weight": 0.5}]
    assert model["fingerprint"] == lora_fingerprint(base, [lora])
    capsys.readouterr()
    with monkeypatch.context() as absent:
        absent.setattr(ModelChoice, "load", lambda self, device=None: pytest.fail("the model was loaded"))
        again = [word for word in shared if word != "--quiet"]
        assert imgaudit([*again, "--lora", f"{style}:0.5"], monkeypatch) == ExitCode.INCOMPLETE
    assert "nothing to do" in capsys.readouterr().err
    assert imgaudit(shared, monkeypatch) == ExitCode.COULD_NOT_RUN
    assert "with other options: another model, by its fingerprint" in capsys.readouterr().err
    spoilt = BrokenModel(tmp_path, tmp_path / "executed", tmp_path)
    spoilt.write("style.pt", spoilt.trap())
    assert imgaudit([*shared, "--lora", str(tmp_path / "style.pt")], monkeypatch) == ExitCode.MODEL_REFUSED
    assert "is pickled and can run code when opened" in " ".join(capsys.readouterr().err.split())
    assert not spoilt.planted.exists()


def imgaudit(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> int:
    """The command in this process; its exit code."""
    monkeypatch.setattr(sys, "argv", ["imgaudit", *arguments])
    with pytest.raises(SystemExit) as stop:
        main()
    return int(stop.value.code or 0)
