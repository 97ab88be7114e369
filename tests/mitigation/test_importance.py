"""Importance: against a plain loop, by closed forms, and from the command line to a model on disk."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image
from typer.testing import CliRunner

from imgaudit.cli import app
from imgaudit.diffusion.seeds import draw_seed
from imgaudit.exceptions import ConfigError, InputError
from imgaudit.mitigation.evaluation import CaptionedImage
from imgaudit.mitigation.importance import (
    ImportanceSettings,
    build_importance_mask,
    locate_by_importance,
    measure_importance,
)
from imgaudit.mitigation.mask_file import read_mask, write_mask
from imgaudit.mitigation.pruning import prune
from imgaudit.mitigation.wanda import density
from imgaudit.mitigation.weight_layers import find_weight_layers
from imgaudit.models import load_model
from imgaudit.models.families.unet import UNetDenoiser
from tests.conftest import CAPTIONS, make_pipeline, tiny_recipe

SETTINGS = ImportanceSettings(share=0.02, draws=3, seed=4)


@pytest.fixture
def tiny() -> UNetDenoiser:
    return UNetDenoiser(make_pipeline(tiny_recipe()), "tiny")


def pictures(first: int, count: int) -> list[CaptionedImage]:
    numbers = range(first, first + count)
    return [
        CaptionedImage(
            f"{n:064d}", CAPTIONS[n], torch.rand(3, 16, 16, generator=torch.Generator().manual_seed(n)) * 2 - 1
        )
        for n in numbers
    ]


def test_importance_is_the_mean_squared_gradient_of_each_images_error(tiny: UNetDenoiser) -> None:
    layers, images = find_weight_layers(tiny.network), pictures(0, 2)
    found = measure_importance(tiny, layers, images, SETTINGS)
    expected = {name: torch.zeros_like(one) for name, one in found.items()}
    tiny.network.requires_grad_(True)
    for image in images:
        # One draw at a time; the mean of gradients is the gradient of the mean.
        generator = torch.Generator().manual_seed(draw_seed(4, image.sha256, "importance"))
        shifts, latents = torch.rand(3, generator=generator), tiny.encode(image.image[None])
        noise = torch.randn((3, *latents.shape[1:]), generator=generator)
        tiny.network.zero_grad()
        for draw in range(3):
            timestep = ((draw + shifts[draw]) / 3 * tiny.schedule.num_train_timesteps).long()[None]
            noisy = tiny.schedule.add_noise(latents, noise[draw : draw + 1], timestep)
            output = tiny.predict(noisy, timestep, tiny.condition([image.prompt])).output
            ((output - noise[draw : draw + 1]).square().mean() / 3).backward()  # type: ignore[no-untyped-call]
        for name, layer in layers.items():
            if layer.weight.grad is not None:
                expected[name] += layer.weight.grad.flatten(1).square() / 2
    for name, one in found.items():
        torch.testing.assert_close(one, expected[name], rtol=2e-3, atol=1e-12)
    assert any(bool(one.any()) for one in found.values())


def test_the_network_comes_back_as_it_was(tiny: UNetDenoiser) -> None:
    before = {name: one.clone() for name, one in tiny.network.state_dict().items()}
    locate_by_importance(tiny, pictures(0, 1), pictures(1, 1), SETTINGS)
    assert all(torch.equal(one, before[name]) for name, one in tiny.network.state_dict().items())
    assert not any(one.requires_grad for one in tiny.network.parameters()) and not tiny.network.training


@given(
    arrays(np.float32, (5, 8), elements=st.one_of(st.just(0.0), st.floats(2.0**-20, 2.0**20, width=32))),
    arrays(np.float32, (5, 8), elements=st.floats(2.0**-20, 2.0**20, width=32)),
    st.floats(0.01, 1),
)
def test_the_largest_ratios_are_marked(targets: Any, others: Any, share: float) -> None:
    mask = build_importance_mask({"a": torch.from_numpy(targets)}, {"a": torch.from_numpy(others)}, share=share)["a"]
    ratios, wanted = targets / (others + 0.01 * others.astype(np.float64).mean()), int(share * 40)
    first_left = np.sort(ratios.ravel())[::-1][wanted] if wanted < 40 else 0.0
    marked = mask.numpy()
    # In float32 the largest that is left, and those equal to it, may fall on either side by their last digits.
    assert marked.sum() <= wanted and marked[ratios > first_left * (1 + 1e-5)].all()
    assert not marked[ratios < first_left * (1 - 1e-5)].any() and not marked[ratios == 0].any()


def test_nothing_is_marked_where_nothing_depends_on_any_weight() -> None:
    nothing = {"a": torch.zeros(2, 3)}
    assert not build_importance_mask(nothing, nothing, share=1.0)["a"].any()


def test_a_mask_prunes_convolutions_too_and_survives_a_file(tiny: UNetDenoiser, tmp_path: Path) -> None:
    mask, facts = locate_by_importance(tiny, pictures(0, 2), pictures(2, 2), SETTINGS)
    assert 0.015 < facts.density == density(mask) <= 0.02 and facts.method == "importance"
    path = tmp_path / "mask.safetensors"
    write_mask(path, mask, facts)
    again, read = read_mask(path)
    assert read == facts and all(torch.equal(mask[name], again[name]) for name in mask)
    layers = find_weight_layers(tiny.network)
    assert any(isinstance(layers[name], torch.nn.Conv2d) and bool(one.any()) for name, one in mask.items())
    assert prune(layers, again) == sum(int(one.sum()) for one in mask.values())
    for name, one in mask.items():
        weight = layers[name].weight
        assert not weight[one.view_as(weight)].any() and (one.all() or weight[~one.view_as(weight)].any())


def test_what_cannot_be_located_is_said(tiny: UNetDenoiser) -> None:
    with pytest.raises(InputError, match="but got 0 and 1"):
        locate_by_importance(tiny, [], pictures(0, 1), SETTINGS)
    broken = [CaptionedImage("0" * 64, "a", torch.full((3, 16, 16), float("nan")))]
    with pytest.raises(ConfigError, match="not finite"):
        locate_by_importance(tiny, broken, pictures(0, 1), SETTINGS)


def write_folder(folder: Path, first: int, count: int) -> Path:
    folder.mkdir()
    for number in range(first, first + count):
        pixels = np.random.default_rng(number).integers(0, 256, (16, 16, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
        (folder / f"{number}.txt").write_text(CAPTIONS[number])
    return folder


def test_from_images_to_a_pruned_model_on_the_command_line(model_folder: Path, tmp_path: Path) -> None:
    targets, others = write_folder(tmp_path / "targets", 0, 2), write_folder(tmp_path / "others", 2, 2)

    def run(*arguments: object) -> Any:
        done = CliRunner().invoke(app, ["mitigate", *map(str, arguments), "--model", str(model_folder), "--json", "-q"])
        assert done.exit_code == 0, done.output
        return json.loads(done.stdout)

    mask, out = tmp_path / "mask.safetensors", tmp_path / "pruned"
    located = run("locate-images", targets, "--retain", others, "--share", "0.05", "--draws", "2", "--out", mask)
    assert located["targets"] == located["references"] == 2 and 0.04 < located["density"] <= 0.05
    assert run("prune", mask, "--out", out)["changed"] > 0 and load_model(str(out), "cpu")
    said = (out / "README.md").read_text()
    assert "5.00% of the weights, by the errors of 2 images and 2 others, 2 draws each" in said
    same = CliRunner().invoke(
        app, ["mitigate", "locate-images", str(targets), "--retain", str(targets), "--model", str(model_folder)]
    )
    assert isinstance(same.exception, InputError)
    assert "2 images are both in TARGETS and in --retain" in str(same.exception)
