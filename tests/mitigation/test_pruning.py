"""Locating and pruning: against plain loops, on UNets and transformers, from files that lie, and back as a model."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from imgaudit.cli import app
from imgaudit.diffusion.executor import Executor
from imgaudit.diffusion.guided_trajectory import choose_timesteps
from imgaudit.diffusion.schedules import Prediction
from imgaudit.diffusion.seeds import draw_noise, draw_seed
from imgaudit.exceptions import InputError, ModelRefusedError
from imgaudit.lab.components import build_autoencoder
from imgaudit.lab.training import NETWORKS
from imgaudit.mitigation.activations import TrajectorySettings, measure_column_norms
from imgaudit.mitigation.feed_forward import find_feed_forward_outputs
from imgaudit.mitigation.mask_file import MaskFacts, read_mask, write_mask
from imgaudit.mitigation.pruning import locate, prune, prune_model
from imgaudit.mitigation.wanda import build_wanda_mask, density, draw_random_mask, overlap
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


def test_column_norms_are_those_of_a_plain_loop_over_the_conditional_half(tiny: UNetDenoiser) -> None:
    layers = find_feed_forward_outputs(tiny.network)
    prompts = ["a red fox", "two blue boats", "the green hill"]
    found = measure_column_norms(tiny, layers, prompts, SETTINGS, executor=Executor(2))
    timesteps = choose_timesteps(tiny.schedule, 5)
    name, layer = next(iter(layers.items()))
    squares = torch.zeros(3, layer.in_features, dtype=torch.float64)
    count = 0
    for place, prompt in enumerate(prompts):
        x = draw_noise([draw_seed(4, "", "feed-forward activations", place)], tiny.latent_shape)
        for step in range(3):
            taken: list[torch.Tensor] = []
            with torch.no_grad():
                base = tiny.predict(x, timesteps[step : step + 1], tiny.null_condition())
                handle = layer.register_forward_pre_hook(lambda _, given, taken=taken: taken.append(given[0]))  # type: ignore[misc]
                own = tiny.predict(x, timesteps[step : step + 1], tiny.condition([prompt]))
                handle.remove()
            for row in taken[0].flatten(0, -2).double():
                squares[step] += (row / math.sqrt(float((row**2).sum()))) ** 2
                count += step == 0
            mixed = Prediction(
                base.output + 2.0 * (own.output - base.output), x, base.timesteps, base.kind, base.schedule
            )
            if step < 2:
                x = tiny.schedule.add_noise(mixed.x0(), mixed.noise(), timesteps[step + 1 : step + 2])
    torch.testing.assert_close(found[name], (squares / count).sqrt(), rtol=1e-4, atol=1e-6)
    assert not any(one._forward_pre_hooks for one in layers.values()), "hooks are taken off again"
    alone = measure_column_norms(tiny, layers, prompts, SETTINGS, executor=Executor(64))
    torch.testing.assert_close(found[name], alone[name], rtol=1e-5, atol=1e-7)


def test_the_mask_is_that_of_a_plain_loop_over_weights() -> None:
    generator = torch.Generator().manual_seed(0)
    layer = torch.nn.Linear(10, 4)
    weights = layer.weight.data = torch.randn(4, 10, generator=generator)
    targets, others = (torch.rand(2, 10, generator=generator).double() for _ in range(2))
    mask = build_wanda_mask({"a": layer}, {"a": targets}, {"a": others}, 0.3)["a"]
    for row in range(4):
        for column in range(10):
            marked = False
            for step in range(2):
                scores = [abs(float(weights[row, c])) * float(targets[step, c]) for c in range(10)]
                largest = sorted(range(10), key=lambda c, s=scores: -s[c])[:3]  # type: ignore[misc]
                own = abs(float(weights[row, column])) * float(others[step, column])
                marked |= column in largest and scores[column] > own
            assert bool(mask[row, column]) == marked


@given(st.integers(0, 2**32), st.integers(1, 6), st.integers(1, 17))
def test_random_masks_have_as_many_weights_in_every_row(seed: int, rows: int, columns: int) -> None:
    mask = {"a": torch.rand(rows, columns, generator=torch.Generator().manual_seed(seed % 97)) < 0.3}
    drawn = draw_random_mask(mask, seed)
    assert torch.equal(drawn["a"].sum(dim=1), mask["a"].sum(dim=1)) and density(drawn) == density(mask)
    assert torch.equal(draw_random_mask(mask, seed)["a"], drawn["a"])
    assert overlap(mask, mask) == (1.0 if mask["a"].any() else 0.0)


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


def test_masks_come_back_from_their_file_and_other_files_are_refused(tmp_path: Path, tiny: UNetDenoiser) -> None:
    mask, facts = locate(tiny, ["a red fox"], ["the green hill"], sparsity=0.2, settings=SETTINGS, executor=Executor(8))
    path = tmp_path / "mask.safetensors"
    write_mask(path, mask, facts)
    again, same = read_mask(path)
    assert same == facts and again.keys() == mask.keys() and all(torch.equal(again[n], mask[n]) for n in mask)
    tensors = load_file(path)
    lying = {name: list(one.shape) for name, one in mask.items()}
    name = next(iter(mask))
    good = {"imgaudit": facts.model_dump_json(), "shapes": json.dumps(lying)}
    for metadata in (
        None,
        good | {"imgaudit": "{"},
        good | {"shapes": "[]"},
        good | {"shapes": json.dumps(lying | {name: [10**9, 10**9]})},
        good | {"shapes": json.dumps(lying | {"more": [1, 1]})},
        good | {"imgaudit": facts.model_dump_json().replace('"sparsity":0.2', '"sparsity":7')},
    ):
        save_file(tensors, path, metadata=metadata)
        with pytest.raises(InputError, match="is no mask"):
            read_mask(path)
    save_file({}, path, metadata=good | {"shapes": "[]"})
    with pytest.raises(InputError, match="is no mask"):
        read_mask(path)
    path.write_bytes(b"\x80\x04 a pickle")
    with pytest.raises(InputError, match="is no mask"):
        read_mask(path)
    with pytest.raises(InputError, match="is no mask"):
        read_mask(tmp_path / "nothing")


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
