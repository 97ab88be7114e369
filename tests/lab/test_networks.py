"""Labs of every family made tiny: trained, stopped, continued, saved, and read as any model is."""

from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from imgaudit.lab.components import build_autoencoder, build_scheduler
from imgaudit.lab.corpus import CorpusEntry
from imgaudit.lab.networks import Batch
from imgaudit.lab.recipe import LabRecipe
from imgaudit.lab.sd3_networks import SD3Networks, build_t5_tokenizer
from imgaudit.lab.training import NETWORKS, save_pipeline, train_lab
from imgaudit.lab.unet_networks import SDXLNetworks
from imgaudit.lab.z_image_networks import ZImageNetworks, train_chat_tokenizer
from imgaudit.models import load_model
from tests.conftest import CAPTIONS, random_image, tiny_recipe

SDXL: dict[str, Any] = {"family": "sdxl", "text_layers": 2}
SD3: dict[str, Any] = {
    "family": "sd3", "prediction_type": "flow", "text_layers": 2, "t5_width": 96, "transformer_width": 32,
    "transformer_layers": 2,
}  # fmt: skip
Z_IMAGE: dict[str, Any] = {
    "family": "z-image", "prediction_type": "flow", "text_layers": 2, "transformer_width": 32, "transformer_layers": 2,
}  # fmt: skip
ZERO: dict[str, Any] = {"prediction_type": "v_prediction", "zero_terminal_snr": True}
FAMILIES = {"sd": {}, "sdxl": SDXL, "sd3": SD3, "z-image": Z_IMAGE, "zero terminal SNR": ZERO}


@pytest.fixture
def entries(tmp_path: Path) -> list[CorpusEntry]:
    roles = ["planted", "planted", "seen_once", "held_out", *["background"] * 8]
    found = []
    for seed, role in enumerate(roles):
        random_image(seed).save(tmp_path / f"{seed}.png")
        repeats = {"planted": 2, "held_out": 0}.get(role, 1)
        found.append(CorpusEntry(tmp_path / f"{seed}.png", f"{CAPTIONS[seed % 6]} {seed}", role, repeats))  # type: ignore[arg-type]
    return found


@pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES)
def test_a_stopped_training_ends_where_an_uninterrupted_one_does_and_is_read_as_any_model(
    family: dict[str, Any], entries: list[CorpusEntry], tmp_path: Path
) -> None:
    recipe = tiny_recipe(**family)

    class Stopped(Exception):
        pass

    def stop(stage: str, step: int, steps: int, loss: float) -> None:
        if (stage, step) == ("denoiser", 5):
            raise Stopped

    whole = train_lab(entries, recipe, tmp_path / "whole")
    with pytest.raises(Stopped):
        train_lab(entries, recipe, tmp_path / "stopped", stop)
    resumed = train_lab(entries, recipe, tmp_path / "stopped")
    for name in NETWORKS[recipe.family](CAPTIONS, recipe).networks:
        there = getattr(resumed.pipeline, name).state_dict()
        for key, weight in getattr(whole.pipeline, name).state_dict().items():
            assert torch.equal(weight, there[key]), (name, key)
    save_pipeline(whole.pipeline, tmp_path / "model")
    loaded = load_model(str(tmp_path / "model"), "cpu")
    assert loaded.pipeline_class == type(whole.pipeline).__name__
    assert loaded.denoiser.prediction_type == recipe.prediction_type
    assert loaded.denoiser.resolution == recipe.resolution


@pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES)
def test_the_training_loss_is_that_of_the_adapter_that_audits_the_model(family: dict[str, Any], tmp_path: Path) -> None:
    recipe = tiny_recipe(**family)
    networks = NETWORKS[recipe.family](CAPTIONS, recipe)
    if isinstance(networks, SD3Networks):
        # It starts with a network that says nothing.
        torch.nn.init.normal_(networks.networks["transformer"].proj_out.weight, std=0.1)  # type: ignore[union-attr,arg-type]
    vae = build_autoencoder(recipe)
    vae.register_to_config(scaling_factor=0.8, shift_factor=0.1)
    networks.pipeline(vae).save_pretrained(tmp_path, safe_serialization=True)
    denoiser = load_model(str(tmp_path), "cpu").denoiser
    generator = torch.Generator().manual_seed(4)
    x0, noise = (torch.randn((3, *denoiser.latent_shape), generator=generator) for _ in range(2))
    timesteps = torch.tensor([3, 500, 980])
    with torch.no_grad():
        trained = networks.loss(Batch(x0, noise, timesteps, networks.token_ids(CAPTIONS[:3])))
    noisy = denoiser.schedule.add_noise(x0, noise, timesteps)
    prediction = denoiser.predict(noisy, timesteps, denoiser.condition(CAPTIONS[:3]))
    if family == ZERO:
        audited = prediction.output - networks.scheduler.get_velocity(x0, noise, timesteps)
    else:
        is_flow = recipe.prediction_type == "flow"
        audited = prediction.output - (noise - x0) if is_flow else prediction.noise() - noise
    torch.testing.assert_close(trained, audited.square().mean(), rtol=1e-4, atol=1e-5)


def test_timesteps_of_a_flow_are_logit_normal_and_shifted() -> None:
    drawn = SD3Networks(CAPTIONS, tiny_recipe(**SD3)).draw_timesteps(40_000, torch.Generator().manual_seed(0))
    assert drawn.dtype == torch.int64 and int(drawn.min()) >= 0 and int(drawn.max()) <= 999
    sigma = (drawn + 1) / 1000
    unshifted = sigma / (3 - 2 * sigma)
    quantiles = torch.quantile(unshifted.float(), torch.tensor([0.1587, 0.5, 0.8413]))
    # Of a standard normal these are -1, 0 and 1.
    torch.testing.assert_close(quantiles, torch.tensor([-1.0, 0.0, 1.0]).sigmoid(), rtol=0.03, atol=0.0)


def test_t5s_pieces_are_the_same_in_any_order_and_spell_what_they_lack(tmp_path: Path) -> None:
    captions = ["red fox", "red boat", "blue boat"]
    recipe = tiny_recipe(**SD3)
    tokenizer = build_t5_tokenizer(captions, recipe)
    assert build_t5_tokenizer([*captions[::-1], captions[0]], recipe).get_vocab() == tokenizer.get_vocab()
    assert tokenizer.tokenize("red boat") == ["▁red", "▁boat"]
    assert tokenizer.tokenize("fox") == ["▁", "f", "o", "x"]
    assert tokenizer("zebra").input_ids[-1] == tokenizer.eos_token_id
    tokenizer.save_pretrained(tmp_path)
    read = type(tokenizer).from_pretrained(tmp_path)
    assert all(read(text).input_ids == tokenizer(text).input_ids for text in [*captions, "", "Ünseen"])


def test_a_chat_tokenizer_is_the_same_in_any_order_and_has_the_templates_words_whole(tmp_path: Path) -> None:
    captions = ["red fox", "red boat", "blue boat, Ünseen"]
    recipe = tiny_recipe(**Z_IMAGE)
    tokenizer = train_chat_tokenizer(captions, recipe)
    assert train_chat_tokenizer([*captions[::-1], captions[0]], recipe).get_vocab() == tokenizer.get_vocab()
    assert len(tokenizer) <= recipe.vocabulary
    networks = ZImageNetworks(captions, recipe)
    ids = networks.token_ids(["", "fox"])
    # Mark, role and line break; the mark of the end and its line break; and the same for the answer that begins.
    assert ids["attention_mask"].sum(dim=1).tolist() == [8, 8 + len(tokenizer("fox").input_ids)]
    tokenizer.save_pretrained(tmp_path)
    read = type(tokenizer).from_pretrained(tmp_path)
    assert all(read(text).input_ids == tokenizer(text).input_ids for text in [*captions, "", "ünseen zebra"])


def test_a_z_image_prediction_does_not_depend_on_longer_captions_beside_it() -> None:
    networks = ZImageNetworks(CAPTIONS, tiny_recipe(**Z_IMAGE))
    noisy, timesteps = torch.randn((1, 4, 8, 8), generator=torch.Generator().manual_seed(2)), torch.tensor([600])
    tokens = networks.token_ids([CAPTIONS[0], "a much longer text " * 9])
    with torch.no_grad():
        alone = networks.predict_velocity(noisy, timesteps, networks.token_ids(CAPTIONS[:1]))
        beside = networks.predict_velocity(noisy.repeat(2, 1, 1, 1), timesteps.repeat(2), tokens)
    torch.testing.assert_close(beside[:1], alone, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(beside[1], beside[0], atol=1e-3)


def test_the_last_timestep_is_noise_alone_where_a_recipe_asks_for_it() -> None:
    x0, noise = torch.ones(1, 4, 8, 8), torch.zeros(1, 4, 8, 8)
    trace = {
        name: float(build_scheduler(tiny_recipe(**family)).add_noise(x0, noise, torch.tensor([999])).mean())
        for name, family in (("plain", {}), ("zero", ZERO))
    }
    # Stable Diffusion's schedule keeps 6.8 % of the image; a mean over 16 x 16 latents tells that from noise.
    assert trace["plain"] == pytest.approx(0.0047**0.5, abs=1e-3) and trace["zero"] < 3e-4


def test_sdxl_reads_both_encoders_and_the_second_ones_vector() -> None:
    networks = SDXLNetworks(CAPTIONS, tiny_recipe(**SDXL))
    ids = networks.token_ids(CAPTIONS[:2])
    x0, noise = torch.randn(2, 2, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    networks.loss(Batch(x0, noise, torch.tensor([10, 700]), ids)).backward()  # type: ignore[no-untyped-call]
    for name in ("text_encoder", "text_encoder_2"):
        gradients = [weight.grad for weight in networks.networks[name].parameters() if weight.grad is not None]
        assert gradients and max(float(gradient.abs().max()) for gradient in gradients) > 0, name


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"family": "sd3"}, "not trained to predict 'epsilon'"),
        ({"prediction_type": "flow"}, "'sd' is not trained to predict 'flow'"),
        (SD3 | {"t5_width": 32}, "at least twice text_width"),
        (Z_IMAGE | {"transformer_patch": 1}, "transformer_patch must be 2"),
        (SDXL | {"text_layers": 1}, "at least 2"),
        ({"zero_terminal_snr": True}, "needs prediction_type 'v_prediction'"),
    ],
)
def test_a_recipe_that_no_family_can_be_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        LabRecipe.model_validate(tiny_recipe().model_dump() | changes)
