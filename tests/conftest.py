"""Shared parts: tiny models of the real classes, a closed-form denoiser, and folders of small images."""

import dataclasses
import gc
import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import cv2
import hypothesis
import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from PIL import Image
from playwright.sync_api import Browser, sync_playwright
from transformers import CLIPTextConfig, CLIPTextModel

from imgaudit.benchmark.robustness.broken_model import BrokenModel
from imgaudit.lab.components import build_autoencoder, train_tokenizer
from imgaudit.lab.recipe import LabRecipe
from imgaudit.lab.unet_networks import SDNetworks
from imgaudit.models import FiniteSetDenoiser
from imgaudit.models.families import registry as families
from tests.support.commands import Commands

CHROMIUM = Path("/usr/bin/chromium")

CAPTIONS = ["a red fox", "two blue boats", "the green hill", "one old clock", "a round table", "seven yellow birds"]


@pytest.fixture(autouse=True)
def scrubbed_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No setting of the machine reaches a test, and no test leaves anything in the user's cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for name in [name for name in os.environ if name.startswith("IMGAUDIT_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("COLUMNS", "160")


def pytest_configure() -> None:
    """Tests run on all processors at once; threads of one that wait for processors taken by another slow both down."""
    os.environ["OMP_NUM_THREADS"] = "1"
    if "PYTEST_XDIST_WORKER" in os.environ:
        torch.set_num_threads(1)
        cv2.setNumThreads(1)
    # How long an example takes says how busy the machine is.
    hypothesis.settings.register_profile("imgaudit", deadline=None)
    hypothesis.settings.load_profile("imgaudit")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with long tests come first, so that none of them is what everybody waits for at the end."""
    long = {item.path for item in items if item.get_closest_marker("slow") is not None}
    items.sort(key=lambda item: item.path not in long)


def pytest_collection_finish() -> None:
    """What was imported stays until the end: the search for cycles need not look through it again and again."""
    gc.freeze()


def tiny_recipe(**changes: object) -> LabRecipe:
    """A recipe whose model trains in seconds."""
    values: dict[str, object] = {
        "name": "tiny", "resolution": 16, "vae_channels": (8, 16), "vae_steps": 3, "vae_batch_size": 4,
        "unet_channels": (16, 32), "unet_attention": (False, True), "text_width": 32, "text_layers": 1,
        "text_positions": 8, "vocabulary": 560, "steps": 6, "batch_size": 8, "variants": 2,
        "planted_repeats": (1, 2), "exposures_per_repeat": 1, "checkpoint_every": 2,
    }  # fmt: skip
    return LabRecipe.model_validate(values | changes)


def make_pipeline(recipe: LabRecipe) -> StableDiffusionPipeline:
    """An untrained lab pipeline."""
    pipeline = SDNetworks(CAPTIONS, recipe).pipeline(build_autoencoder(recipe))
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def make_other_pipeline() -> StableDiffusionPipeline:
    """Another shape than the lab's: attention everywhere, linear projections, other sizes, v-prediction."""
    tokenizer = train_tokenizer(CAPTIONS, tiny_recipe(text_positions=20))
    torch.manual_seed(5)
    text_encoder = CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer), hidden_size=24, intermediate_size=37, num_hidden_layers=2, num_attention_heads=3,
            max_position_embeddings=20, projection_dim=24, bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
        )
    )  # fmt: skip
    vae = AutoencoderKL(
        block_out_channels=(8, 8, 16), layers_per_block=2, latent_channels=3, norm_num_groups=4, sample_size=48,
        down_block_types=("DownEncoderBlock2D",) * 3, up_block_types=("UpDecoderBlock2D",) * 3, scaling_factor=0.7,
        shift_factor=0.1,
    )  # fmt: skip
    unet = UNet2DConditionModel(
        sample_size=12, in_channels=3, out_channels=3, block_out_channels=(16, 24), layers_per_block=2,
        down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D"), norm_num_groups=8,
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D"), cross_attention_dim=24, attention_head_dim=(2, 4),
        use_linear_projection=True,
    )  # fmt: skip
    scheduler = DDIMScheduler(prediction_type="v_prediction", clip_sample=False, beta_schedule="scaled_linear",
                              beta_start=0.00085, beta_end=0.012, steps_offset=1, set_alpha_to_one=False)  # fmt: skip
    pipeline = StableDiffusionPipeline(
        vae=vae, text_encoder=text_encoder, tokenizer=tokenizer, unet=unet, scheduler=scheduler, safety_checker=None,
        feature_extractor=None, requires_safety_checker=False,
    )  # fmt: skip
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A saved tiny model in eps prediction."""
    folder = tmp_path_factory.mktemp("models") / "tiny"
    make_pipeline(tiny_recipe()).save_pretrained(folder, safe_serialization=True)
    return folder


@pytest.fixture(scope="session")
def other_model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A saved tiny model of another shape, in v prediction."""
    folder = tmp_path_factory.mktemp("models") / "other"
    make_other_pipeline().save_pretrained(folder, safe_serialization=True)
    return folder


@pytest.fixture(scope="session")
def family_folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A saved tiny model of every family besides Stable Diffusion's."""
    from tests.support.tiny_families import MAKERS
    from tests.support.tiny_template_text import TEMPLATE_MAKERS

    makers = {**MAKERS, **TEMPLATE_MAKERS}
    folders = {name: tmp_path_factory.mktemp("families") / name for name in makers}
    for name, make in makers.items():
        make().save_pretrained(folders[name], safe_serialization=True)
    return folders


@pytest.fixture
def copied_family(family_folders: dict[str, Path], tmp_path: Path) -> Callable[[str], BrokenModel]:
    """copied_family(name) is a copy of a family's tiny model that may be broken."""

    def copy(family: str) -> BrokenModel:
        folder = family_folders[family]
        return BrokenModel(Path(shutil.copytree(folder, tmp_path / family)), tmp_path / "executed", folder)

    return copy


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """Families whose adapter is the stand-in: for tests that are about what comes before one."""
    adapter = "tests.support.tiny_families:StandIn"
    replaced = {name: dataclasses.replace(family, adapter=adapter) for name, family in families.FAMILIES.items()}
    monkeypatch.setattr(families, "FAMILIES", replaced)


@pytest.fixture(scope="session")
def style(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A LoRA of the tiny model's UNet and text encoder."""
    from tests.support.lora import save_lora

    return save_lora(tmp_path_factory.mktemp("lora"), make_pipeline(tiny_recipe()), "unet", "text_encoder")


@pytest.fixture
def run_imgaudit(tmp_path_factory: pytest.TempPathFactory) -> Commands:
    """run_imgaudit("audit", folder, ...) runs a command in a process: its exit code and what it printed."""
    return Commands(tmp_path_factory.mktemp("commands"))


def random_image(seed: int, size: tuple[int, int] = (24, 24)) -> Image.Image:
    """A smooth random picture."""
    coarse = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)


@pytest.fixture
def make_folder(tmp_path: Path) -> Callable[..., Path]:
    """make_folder(name, seeds) writes one image per seed, with a metadata.jsonl of captions."""

    def make(name: str, seeds: Sequence[int], captions: bool = True) -> Path:
        folder = tmp_path / name
        folder.mkdir()
        lines = []
        for seed in seeds:
            random_image(seed).save(folder / f"picture-{seed:03d}.png")
            text = CAPTIONS[seed % len(CAPTIONS)]
            lines.append(json.dumps({"file_name": f"picture-{seed:03d}.png", "text": text}))
        if captions:
            (folder / "metadata.jsonl").write_text("\n".join(lines), encoding="utf-8")
        return folder

    return make


@pytest.fixture
def finite_set() -> Iterator[FiniteSetDenoiser]:
    """A perfect memoriser of five pictures of 16 x 16."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(5, 3, 4, 4, generator=generator) * 2 - 1
    yield FiniteSetDenoiser(torch.nn.functional.interpolate(coarse, (16, 16), mode="bilinear"))


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium, once per file of tests."""
    if not CHROMIUM.is_file():
        pytest.skip("Chromium is not installed (apt-get install chromium)")
    with sync_playwright() as playwright:
        made = playwright.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox"])
        yield made
        made.close()
