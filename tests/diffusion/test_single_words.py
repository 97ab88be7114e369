"""Words measured one by one: all of them, in batches that tell their progress, and nothing where nothing moves."""

import pytest

from imgaudit.diffusion.executor import Executor
from imgaudit.diffusion.single_words import AT_ONCE, measure_words
from imgaudit.diffusion.trigger_search import SquaredMagnitudes, best_prompts
from imgaudit.exceptions import InputError
from imgaudit.models import FiniteSetDenoiser
from imgaudit.schema.triggers import SearchSettings


def magnitudes(denoiser: FiniteSetDenoiser) -> SquaredMagnitudes:
    return SquaredMagnitudes(denoiser, noises=4, seed=0, executor=Executor(64))


def test_the_best_words_are_those_that_move_the_model(finite_set: FiniteSetDenoiser) -> None:
    search = SearchSettings(chains=3, each_word=True)
    words = [*(f"word{number}" for number in range(300)), "3", "1", "1"]
    told: list[tuple[int, int]] = []
    measured = magnitudes(finite_set)
    result = measure_words(measured, words, search, on_iteration=lambda done, total: told.append((done, total)))
    assert told == [(AT_ONCE, 302), (302, 302)] and len(result.chains[0].seen) == 302
    # Only the two that name an image of the set move the prediction, and as many prompts as chains were asked for.
    best = best_prompts(result, search, measured.elements, per_chain=1)
    assert {one.prompt for one in best} == {"1", "3"} and result.temperature == 0
    assert [one.squared_magnitude for one in best] == sorted(measured.of(["1", "3"]), reverse=True)


def test_no_more_words_are_measured_than_prompts_by_a_search(finite_set: FiniteSetDenoiser) -> None:
    search = SearchSettings(chains=1, iterations=2, candidates=3, each_word=True)
    assert search.most_prompts == 4
    assert list(measure_words(magnitudes(finite_set), list("012345"), search).chains[0].seen) == list("0123")


def test_words_that_move_nothing_are_an_error(finite_set: FiniteSetDenoiser) -> None:
    with pytest.raises(InputError, match="none of 2 words moves the model's prediction"):
        measure_words(magnitudes(finite_set), ["a", "b"], SearchSettings(each_word=True))
