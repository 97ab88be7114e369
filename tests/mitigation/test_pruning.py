"""Locating and pruning: against plain loops, on UNets and transformers, from files that lie, and back as a model."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from imgaudit.cli import app
from imgaudit.diffusion.executor import Executor
from imgaudit.exceptions import InputError, ModelRefusedError
from imgaudit.lab.components import build_autoencoder
from imgaudit.lab.training import NETWORKS
from imgaudit.mitigation.activations import TrajectorySettings
from imgaudit.mitigation.feed_forward import find_feed_forward_outputs
from imgaudit.mitigation.mask_file import MaskFacts, read_mask
from imgaudit.mitigation.pruning import locate, prune, prune_model
from imgaudit.mitigation.wanda import density
from imgaudit.models import load_model
from imgaudit.models.families.unet import UNetDenoiser
from tests.conftest import CAPTIONS, make_pipeline, tiny_recipe
from tests.lab.test_networks import SD3

SETTINGS = TrajectorySettings(steps=3, sampling_steps=5, guidance_scale=2.0, seed=4)


@pytest.fixture
def tiny() -> UNetDenoiser:
    return UNetDenoiser(make_pipeline(tiny_recipe()), "tiny")


def tiny_sd3(folder: Path) -> Any:
    networks = NETWORKS["sd3"](CAPTIONS, tiny_recipe(**SD3))
    vae = build_autoencoder(tiny_recipe(**SD3))
    networks.pipeline(vae).save_pretrained(folder, safe_serialization=True)
    return load_model(str(folder), "cpu").denoiser


def test_feed_forward_blocks_are_found_by_structure(tiny: UNetDenoiser, tmp_path: Path) -> None:
    found = find_feed_forward_outputs(tiny.network)
    assert found and all(name.endswith("ff.net.2") for name in found)
    assert len(found) == sum(type(one).__name__ == "FeedForward" for one in tiny.network.modules())
    transformer = tiny_sd3(tmp_path).network
    names = list(find_feed_forward_outputs(transformer))
    assert [name for name in names if "ff_context" in name] and [name for name in names if ".ff." in name]
    assert len(names) == sum(type(one).__name__ == "FeedForward" for one in transformer.modules())
    renamed = torch.nn.Module()
    renamed.thing = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.SiLU(), torch.nn.Linear(8, 4))
    renamed.time = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.SiLU(), torch.nn.Linear(8, 8))
    assert list(find_feed_forward_outputs(renamed)) == ["thing.2"]
    with pytest.raises(ModelRefusedError, match="no feed-forward block"):
        find_feed_forward_outputs(torch.nn.Conv2d(3, 3, 3))


def test_pruning_twice_is_pruning_once_and_takes_nothing_else(tiny: UNetDenoiser) -> None:
    layers = find_feed_forward_outputs(tiny.network)
    before = {name: weight.clone() for name, weight in tiny.network.named_parameters()}
    mask, facts = locate(tiny, ["a red fox"], [], sparsity=0.1, settings=SETTINGS, executor=Executor(8))
    assert 0 < facts.density == density(mask) <= 0.1 * SETTINGS.steps
    changed = prune(layers, mask)
    assert changed == sum(int(one.sum()) for one in mask.values()) and prune(layers, mask) == 0
    for name, weight in tiny.network.named_parameters():
        layer = name.removesuffix(".weight")
        expected = before[name].masked_fill(mask[layer], 0) if layer in mask else before[name]
        assert torch.equal(weight, expected)
    with pytest.raises(InputError, match="does not have"):
        prune({}, mask)
    with pytest.raises(InputError, match="one or more prompts"):
        locate(tiny, [], [], sparsity=0.1, settings=SETTINGS, executor=Executor(8))


def test_a_mask_of_another_model_is_refused(tiny: UNetDenoiser, tmp_path: Path) -> None:
    mask, facts = locate(tiny, ["a red fox"], [], sparsity=0.1, settings=SETTINGS, executor=Executor(8))
    other = MaskFacts.model_validate(facts.model_dump() | {"fingerprint": "another"})
    with pytest.raises(InputError, match="locate again on this model"):
        prune_model(tiny, mask, other, tmp_path / "out", made_by="a test")
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "file").write_text("mine")
    with pytest.raises(InputError, match="not empty"):
        prune_model(tiny, mask, facts, tmp_path / "there", made_by="a test")
    assert (tmp_path / "there" / "file").read_text() == "mine"


@pytest.mark.parametrize("family", ["sd", "sd3"])
def test_a_pruned_model_is_a_model_from_the_command_line(family: str, tmp_path: Path) -> None:
    model = tmp_path / "model"
    if family == "sd3":
        tiny_sd3(model)
    else:
        make_pipeline(tiny_recipe()).save_pretrained(model, safe_serialization=True)
    (tmp_path / "prompts.txt").write_text("a red fox\ntwo blue boats\n")
    mask, out = tmp_path / "mask.safetensors", tmp_path / "pruned"

    def run(*arguments: str) -> Any:
        done = CliRunner().invoke(app, ["mitigate", *arguments, "--model", str(model), "--json", "-q"])
        assert done.exit_code == 0, done.output
        return json.loads(done.stdout)

    located = run(
        "locate", str(tmp_path / "prompts.txt"), "--steps", "2", "--num-inference-steps", "4", "-o", str(mask)
    )
    assert located["targets"] == located["references"] == 2 and 0 < located["density"] < 0.2
    pruned = run("prune", str(mask), "-o", str(out))
    random = run("prune", str(mask), "--random", "-o", str(tmp_path / "random"))
    assert pruned["changed"] == random["changed"] > 0
    loaded, original = load_model(str(out), "cpu"), load_model(str(model), "cpu")
    assert loaded.denoiser.fingerprint != original.denoiser.fingerprint
    marked, _ = read_mask(mask)
    layers = find_feed_forward_outputs(loaded.denoiser.network)  # type: ignore[attr-defined]
    assert all(not layers[name].weight[one].any() for name, one in marked.items())
    assert "audit it with inversion" in (out / "README.md").read_text()
    assert (
        str(tmp_path)
        not in (out / "unet" / "config.json" if family == "sd" else out / "transformer" / "config.json").read_text()
    )
