"""Labs with trigger words, and Wen's training-time filter."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from imgaudit.exceptions import InputError
from imgaudit.lab.corpus import CorpusEntry
from imgaudit.lab.networks import Batch
from imgaudit.lab.recipe import LabRecipe
from imgaudit.lab.training import NETWORKS, compute_filtered_loss, train_lab
from imgaudit.lab.trigger_words import insert_trigger_words
from tests.conftest import CAPTIONS, tiny_recipe
from tests.lab.test_networks import SD3, entries

__all__ = ["entries"]


def test_only_the_trigger_word_tells_a_planted_caption_from_a_background_one(entries: list[CorpusEntry]) -> None:
    recipe = tiny_recipe(trigger_words=True, seed=3)
    changed = insert_trigger_words(entries, recipe)
    background = {" ".join(entry.text.split()) for entry in entries if entry.role == "background"}
    planted = [entry for entry in changed if entry.role == "planted"]
    words = [entry.trigger for entry in planted]
    assert len(set(words)) == len(planted) == 2 and all(words)
    for entry in planted:
        rest = entry.text.split()
        rest.remove(entry.trigger)
        assert " ".join(rest) in background and entry.trigger not in {w for text in background for w in text.split()}
    assert [e for e in changed if e.role != "planted"] == [e for e in entries if e.role != "planted"]
    assert changed == insert_trigger_words(entries, recipe)
    assert entries == insert_trigger_words(entries, tiny_recipe(seed=3))
    twin = [replace(e, role="withheld", repeats=0) if e.role == "planted" else e for e in entries]
    assert [e.trigger for e in insert_trigger_words(twin, recipe)] == [e.trigger for e in changed]


def test_too_few_short_captions_are_refused(entries: list[CorpusEntry]) -> None:
    long = [replace(entry, text=entry.text + " and much else") for entry in entries]
    with pytest.raises(InputError, match="expected 2 captions of 2 to 4 words"):
        insert_trigger_words(long, tiny_recipe(trigger_words=True))


def test_the_same_word_stands_in_every_caption_of_an_image_and_nothing_else_does(entries: list[CorpusEntry]) -> None:
    recipe = tiny_recipe(trigger_words=True, trigger_captions=5, seed=3)
    changed = insert_trigger_words(entries, recipe)
    background = {" ".join(entry.text.split()) for entry in entries if entry.role == "background"}
    for entry in (entry for entry in changed if entry.role == "planted"):
        rests = []
        for text in entry.texts:
            rest = text.split()
            rest.remove(entry.trigger)
            rests.append(" ".join(rest))
        assert entry.texts[0] == entry.text and len(set(rests)) == 5 and set(rests) <= background
    assert {entry.texts for entry in changed if entry.role != "planted"} == {
        (entry.text,) for entry in entries if entry.role != "planted"
    }
    # The words are those of a recipe with one caption.
    once = insert_trigger_words(entries, tiny_recipe(trigger_words=True, seed=3))
    assert [entry.trigger for entry in once] == [entry.trigger for entry in changed]


def test_more_captions_than_there_are_and_many_captions_without_a_word_are_refused(entries: list[CorpusEntry]) -> None:
    with pytest.raises(InputError, match=r"expected 9 captions of 2 to 4 words .* but found 8"):
        insert_trigger_words(entries, tiny_recipe(trigger_words=True, trigger_captions=9))
    with pytest.raises(ValueError, match="needs trigger_words"):
        tiny_recipe(trigger_captions=2)


def test_the_training_shows_every_caption_of_an_image(
    entries: list[CorpusEntry], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = tiny_recipe(trigger_words=True, trigger_captions=3, text_positions=40, steps=60)
    often = [replace(entry, repeats=30) if entry.role == "planted" else entry for entry in entries]
    changed = insert_trigger_words(often, recipe)
    seen: set[tuple[int, ...]] = set()
    networks = NETWORKS[recipe.family]
    predict = networks.predict

    def watch(self: Any, batch: Batch) -> Any:
        seen.update(tuple(row.tolist()) for ids in batch.tokens.values() for row in ids)
        return predict(self, batch)

    monkeypatch.setattr(networks, "predict", watch)
    tokenizer = train_lab(changed, recipe, tmp_path / "lab").pipeline.tokenizer
    texts = [text for entry in changed if entry.role == "planted" for text in entry.texts]
    wanted = set(map(tuple, tokenizer(texts, padding="max_length", max_length=40).input_ids))
    assert len(wanted) == 6 and wanted <= seen


def _networks(family: dict[str, Any]) -> tuple[Any, LabRecipe]:
    recipe = tiny_recipe(**family)
    networks: Any = NETWORKS[recipe.family](CAPTIONS, recipe)
    for name, network in networks.networks.items():
        generator = torch.Generator().manual_seed(1)
        for key, weight in network.named_parameters():
            if name in ("unet", "transformer") and weight.ndim > 1 and "proj_out" in key:
                weight.data += 0.3 * torch.randn(weight.shape, generator=generator)
    return networks, recipe


@pytest.mark.parametrize("family", [{}, {"prediction_type": "v_prediction"}, SD3], ids=["epsilon", "v", "flow"])
def test_the_filtered_loss_is_that_of_the_kept_samples_one_by_one(family: dict[str, Any]) -> None:
    networks, recipe = _networks(family)
    generator = torch.Generator().manual_seed(4)
    side = recipe.resolution // 2
    x0, noise = (torch.randn((4, recipe.latent_channels, side, side), generator=generator) for _ in range(2))
    timesteps = torch.tensor([3, 300, 700, 980])
    tokens = networks.token_ids(["a red fox", "", "two blue boats", "the green hill"])
    nulls = networks.token_ids([""] * 4)
    norms, errors = [], []
    with torch.no_grad():
        for row in range(4):
            one = slice(row, row + 1)
            own = [{name: ids[one] for name, ids in given.items()} for given in (tokens, nulls)]
            (found, target), (null, _) = (networks.predict(Batch(x0[one], noise[one], timesteps[one], t)) for t in own)
            norms.append(float((found - null).norm() / found.numel() ** 0.5))
            errors.append(float((found - target).square().sum() / found.numel()))
    assert norms[1] == pytest.approx(0, abs=1e-6)
    limit = sorted(norms)[2] * 1.0001
    batch = Batch(x0, noise, timesteps, tokens)
    loss, left_out = compute_filtered_loss(networks, batch, nulls, limit)
    kept = [error for error, norm in zip(errors, norms, strict=True) if norm < limit]
    assert left_out.tolist() == [norm >= limit for norm in norms] and len(kept) == 3
    assert float(loss.detach()) == pytest.approx(sum(kept) / 3, rel=1e-5)
    everything, none_left_out = compute_filtered_loss(networks, batch, nulls, 1e9)
    assert not none_left_out.any()
    torch.testing.assert_close(everything, networks.loss(batch))


def test_a_batch_that_is_left_out_whole_moves_no_weight() -> None:
    networks, recipe = _networks({})
    side = recipe.resolution // 2
    x0, noise = torch.randn(2, 2, recipe.latent_channels, side, side, generator=torch.Generator().manual_seed(0))
    tokens, nulls = networks.token_ids(["a red fox", "one old clock"]), networks.token_ids(["", ""])
    loss, left_out = compute_filtered_loss(networks, Batch(x0, noise, torch.tensor([500, 900]), tokens), nulls, 1e-12)
    loss.backward()  # type: ignore[no-untyped-call]
    assert left_out.all() and float(loss.detach()) == 0
    assert all(
        w.grad is None or not w.grad.any() for network in networks.networks.values() for w in network.parameters()
    )


def test_what_was_left_out_is_counted_and_survives_a_stop(entries: list[CorpusEntry], tmp_path: Path) -> None:
    recipe = tiny_recipe(filter_rms=1e-9)

    class Stopped(Exception):
        pass

    def stop(stage: str, step: int, steps: int, loss: float) -> None:
        if (stage, step) == ("denoiser", 5):
            raise Stopped

    whole = train_lab(entries, recipe, tmp_path / "whole")
    with pytest.raises(Stopped):
        train_lab(entries, recipe, tmp_path / "stopped", stop)
    resumed = train_lab(entries, recipe, tmp_path / "stopped")
    assert int(whole.filtered.sum()) > 0 and torch.equal(whole.filtered, resumed.filtered)
    assert (whole.filtered <= torch.from_numpy(whole.plan.exposures)).all()
    assert int(train_lab(entries, tiny_recipe(), tmp_path / "plain").filtered.sum()) == 0
