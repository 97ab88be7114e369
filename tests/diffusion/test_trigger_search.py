"""Trigger search: its chains against enumeration, its cache, its words, its clusters, its folder."""

import itertools
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from imgaudit.diffusion.executor import Executor
from imgaudit.diffusion.prompt_detection import detect_prompts
from imgaudit.diffusion.seeds import draw_noise
from imgaudit.diffusion.trigger_search import (
    SquaredMagnitudes,
    best_prompts,
    search_triggers,
)
from imgaudit.diffusion.word_proposals import (
    VocabularyProposal,
)
from imgaudit.exceptions import InputError, RunFolderError
from imgaudit.io.writing import read_line
from imgaudit.models import FiniteSetDenoiser, load_model
from imgaudit.models.loading import LoadedModel
from imgaudit.report.triggers import write_triggers
from imgaudit.runs.manifest import open_manifest
from imgaudit.runs.triggers import TriggerOutcome, search_into, trigger_manifest
from imgaudit.schema.detection import PromptDetection, PromptDetectionSettings
from imgaudit.schema.triggers import ImageSettings, SearchSettings
from imgaudit.similarity.clusters import find_largest_cluster, group_alike
from imgaudit.similarity.descriptors import PixelDescriptor


def magnitudes(denoiser, batch_size: int = 64, **more) -> SquaredMagnitudes:  # type: ignore[no-untyped-def]
    return SquaredMagnitudes(denoiser, noises=4, seed=0, executor=Executor(batch_size), **more)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


class FixedMagnitudes(SquaredMagnitudes):
    """D from a table, without a model."""

    def __init__(self, table: dict[str, float]) -> None:
        self.known = table

    def _measure(self, prompts):  # type: ignore[no-untyped-def]
        raise AssertionError(prompts)


def stationary(proposal, prior: dict[str, float], candidates: int, steps: int) -> float:  # type: ignore[no-untyped-def]
    """Total variation between where chains are and prior * exp(D / K) / Z over all prompts of two words."""
    words = list(prior)
    table = {f"{a} {b}": 0.4 + 1.1 * i + 0.7 * j * (i != j)
             for (i, a), (j, b) in itertools.product(enumerate(words), repeat=2)}  # fmt: skip
    middle = sorted(table.values())
    search = SearchSettings(words=2, chains=40, iterations=steps, candidates=candidates, temperature=0.5)
    visited: Counter[str] = Counter()
    measured = FixedMagnitudes(table)

    class Watched(type(proposal)):  # type: ignore[misc]
        def __init__(self) -> None:
            self.__dict__.update(proposal.__dict__)

        def candidates(self, sentences, *rest):  # type: ignore[no-untyped-def]
            visited.update(" ".join(sentence) for sentence in sentences)
            return super().candidates(sentences, *rest)

    result = search_triggers(measured, Watched(), search)
    assert middle[0] <= result.scale <= middle[-1]
    target = {p: prior[p.split()[0]] * prior[p.split()[1]] * np.exp(value / result.temperature)
              for p, value in table.items()}  # fmt: skip
    total, n = sum(target.values()), sum(visited.values())
    return 0.5 * sum(abs(visited[p] / n - value / total) for p, value in target.items())


@pytest.mark.parametrize("candidates", [3, 4, 10])
@pytest.mark.parametrize("even", [True, False])
def test_chains_stay_where_the_target_says(candidates: int, even: bool) -> None:
    # Fewer candidates than words: draws; as many: Gibbs over the whole list.
    prior = dict.fromkeys("abcd", 1.0) if even else {"a": 8.0, "b": 4.0, "c": 2.0, "d": 1.0}
    assert stationary(VocabularyProposal(prior, "letters"), prior, candidates, 300) < 0.05


def test_d_is_the_mean_square_of_the_detectors_magnitude(finite_set: FiniteSetDenoiser) -> None:
    measured = magnitudes(finite_set)
    [value] = measured.of(["3"])
    [found] = detect_prompts(
        finite_set, ["3"], PromptDetectionSettings(seeds=1, tokens=False), executor=Executor(8)
    )  # another noise, the same space
    assert isinstance(found, PromptDetection) and measured.space == found.space == "epsilon"
    noise, times = measured._noise, measured._time.repeat(4)
    d = (
        finite_set.predict(noise, times, finite_set.condition(["3"] * 4)).output
        - finite_set.predict(noise, times, finite_set.condition([""] * 4)).output
    )
    assert value == pytest.approx(float(d.flatten(1).norm(dim=1).square().mean()), rel=1e-5)
    assert measured.elements == 3 * 16 * 16 and len(draw_noise([1], finite_set.latent_shape)) == 1


def test_where_noise_says_nothing_the_networks_own_space_is_taken(other_model_folder: Path) -> None:
    denoiser = load_model(str(other_model_folder), "cpu").denoiser
    measured = magnitudes(denoiser)
    measured.blind = "blind"
    assert measured.space == "v_prediction"
    assert measured.of(["a red fox"])[0] > 0


def test_a_planted_word_is_found(finite_set: FiniteSetDenoiser) -> None:
    names = {**dict.fromkeys((f"word{number}" for number in range(60)), 1.0), "4": 1.0}
    measured = magnitudes(finite_set)
    search = SearchSettings(words=3, chains=4, iterations=12, candidates=20, temperature=0.2)
    with pytest.raises(InputError, match="none of 32 random sentences moves"):
        search_triggers(measured, VocabularyProposal(dict.fromkeys("abc", 1.0), "x"), search)
    result = search_triggers(measured, VocabularyProposal(names, "words"), search)
    best = best_prompts(result, search, measured.elements, per_chain=1)
    assert best and all("4" in one.prompt.split() for one in best[:1])
    assert best == sorted(best, key=lambda one: -one.squared_magnitude)


def test_no_prompt_is_measured_twice(finite_set: FiniteSetDenoiser) -> None:
    asked: list[str] = []
    measured = magnitudes(finite_set, on_measured=lambda fresh: asked.extend(fresh))
    search = SearchSettings(words=2, chains=3, iterations=10, candidates=4)
    search_triggers(measured, VocabularyProposal(dict.fromkeys("01234", 1.0), "x"), search)
    assert len(asked) == len(set(asked)) == len(measured.known) <= 25
    # Four noises each, and the null once for each noise.
    assert finite_set.network_evaluations == 4 * (len(asked) + 1)


def test_batches_change_nothing(model_folder: Path) -> None:
    denoiser = load_model(str(model_folder), "cpu").denoiser
    prompts = ["a red fox", "two blue boats", "", "the green hill", "one old clock"]
    together = magnitudes(denoiser, 64).of(prompts)
    for batch_size in (1, 6):
        alone = magnitudes(denoiser, batch_size)
        assert [alone.of([prompt])[0] for prompt in prompts] == pytest.approx(together, rel=1e-4, abs=1e-9)


def test_a_model_without_null_is_refused(finite_set: FiniteSetDenoiser) -> None:
    finite_set.no_null = "distilled"  # type: ignore[misc]
    with pytest.raises(InputError, match="distilled"):
        magnitudes(finite_set)


def test_from_a_known_trigger_chains_start_at_every_place_and_stop_far_from_it(finite_set: FiniteSetDenoiser) -> None:
    names = dict.fromkeys((f"word{number}" for number in range(9)), 1.0)
    measured = magnitudes(finite_set)
    search = SearchSettings(start="the 4 fox", iterations=30, candidates=4, temperature=5.0)
    result = search_triggers(measured, VocabularyProposal(names, "words"), search)
    assert len(result.chains) == 3 and result.scale == measured.known["the 4 fox"]
    # Once "4" is gone nothing pulls, and with a list of other words it never comes back.
    assert any(chain.stopped for chain in result.chains)
    kept = best_prompts(result, search, measured.elements, per_chain=5)
    assert {one.changed for one in kept} <= {0, 1, 2} and all("4" in one.prompt.split() for one in kept)
    for start, message in ((" ", "no word"), ("\ud800", "surrogate"), ("fox", "does not move")):
        with pytest.raises(InputError, match=message):
            search_triggers(measured, VocabularyProposal(names, "x"), search.model_copy(update={"start": start}))


def test_clusters_are_images_that_agree() -> None:
    descriptor = PixelDescriptor()
    noise = torch.randn(5, 3, 16, 16, generator=generator()).clamp(-1, 1)
    near = noise[0] + 0.05 * torch.randn(4, 3, 16, 16, generator=generator(1))
    found = find_largest_cluster(descriptor, [noise[1], *near, noise[2]], 0.1)
    assert found.members == (1, 2, 3, 4) and found.representative in found.members
    assert (found.size, found.n) == (4, 6) and found.low < 4 / 6 < found.high
    assert find_largest_cluster(descriptor, list(noise), 0.1).size == 0
    assert find_largest_cluster(descriptor, [], 0.1).representative is None
    assert group_alike(descriptor, [noise[0], noise[1], near[0]], 0.1) == [[0, 2], [1]]
    assert group_alike(descriptor, [], 0.1) == []


SEARCH = SearchSettings(words=3, chains=2, iterations=4, candidates=5)
IMAGES = ImageSettings(per_chain=2, images=3, num_inference_steps=2)


@pytest.fixture(scope="module")
def loaded(model_folder: Path) -> LoadedModel:
    return load_model(str(model_folder), "cpu")


def searched(loaded: LoadedModel, folder: Path, search: SearchSettings = SEARCH) -> TriggerOutcome:
    words = VocabularyProposal(
        dict.fromkeys(["red", "fox", "two", "blue", "boats", "green", "hill", "old", "clock"], 1.0), "words"
    )
    manifest = trigger_manifest(["imgaudit", "triggers"], loaded, search, IMAGES, words, 8)
    folder.mkdir(exist_ok=True)
    stored = open_manifest(folder, manifest)
    return search_into(folder, loaded.denoiser, stored, words, PixelDescriptor(), executor=Executor(8))


def test_a_killed_search_ends_as_if_it_had_not_been(loaded: LoadedModel, tmp_path: Path) -> None:
    whole = searched(loaded, tmp_path / "a")
    write_triggers(tmp_path / "a", whole)
    path = tmp_path / "a" / "measured.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    assert all(read_line(line) for line in lines)
    path.write_bytes(b"".join(lines[:2]) + lines[2][:30])
    gone = next((tmp_path / "a" / "images").iterdir()) / "001.png"
    picture = gone.read_bytes()
    gone.unlink()
    before = loaded.denoiser.network_evaluations
    again = searched(loaded, tmp_path / "a")
    assert loaded.denoiser.network_evaluations > before and gone.read_bytes() == picture
    assert again.model_dump(exclude={"manifest"}) == whole.model_dump(exclude={"manifest"})
    before = loaded.denoiser.network_evaluations
    searched(loaded, tmp_path / "a")
    assert loaded.denoiser.network_evaluations == before
    with pytest.raises(RunFolderError, match=r"other options: iterations 4, now 5"):
        searched(loaded, tmp_path / "a", SEARCH.model_copy(update={"iterations": 5}))
    with pytest.raises(RunFolderError, match="not a trigger search"):
        searched(loaded, tmp_path)
    assert whole.network_evaluations == 4 * (whole.measured + 1)
