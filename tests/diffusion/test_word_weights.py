"""Weights of words against closed forms, an encoder that reads from left to right, and what leaving out must keep."""

from collections.abc import Sequence

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from imgaudit.diffusion.denoiser import PromptEmbeds
from imgaudit.diffusion.executor import Executor
from imgaudit.diffusion.prompt_detection import detect_prompts, draw_detection_seeds
from imgaudit.diffusion.schedules import Prediction
from imgaudit.diffusion.seeds import draw_noise
from imgaudit.diffusion.word_weights import MOST_WORDS, NOT_FINITE, WORD, find_read_words, remove_word, weigh_words
from imgaudit.models import FiniteSetDenoiser
from imgaudit.models.families.unet import UNetDenoiser
from imgaudit.schema.detection import PromptDetectionSettings
from imgaudit.schema.records import Skipped
from tests.conftest import make_pipeline, tiny_recipe

NOISE = torch.randn(3, 3, 16, 16, generator=torch.Generator().manual_seed(5))
LAST = torch.tensor(99)

TEXTS = st.text(st.sampled_from("ab 'é猫,.-\n"), max_size=30)


def weigh(denoiser, *prompts: str, noise: torch.Tensor = NOISE, batch: int = 64):  # type: ignore[no-untyped-def]
    return weigh_words(denoiser, prompts, noise, LAST, Executor(batch))


def test_weights_are_what_posterior_means_lose(finite_set: FiniteSetDenoiser) -> None:
    [found] = weigh(finite_set, "one 2 3 and 2")
    assert [(word.text, word.start) for word in found] == [("2", 4), ("3", 6), ("2", 12)]
    a = float(finite_set.schedule.alphas_cumprod[-1])
    points = finite_set.points.double()

    def mean(x: torch.Tensor, counts: dict[int, int]) -> torch.Tensor:
        logits = -((x - a**0.5 * points).flatten(1).square().sum(1)) / (2 * (1 - a))
        for number, count in counts.items():
            logits[number] += 12.0 * count
        return (torch.softmax(logits, 0)[:, None, None, None] * points).sum(0)

    def lose(counts: dict[int, int]) -> float:
        """Compare distances of posterior means, which are those of predicted noises up to a factor."""
        pairs = [(mean(x, {2: 2, 3: 1}) - mean(x, {}), mean(x, counts) - mean(x, {})) for x in NOISE.double()]
        return sum(1 - float(part.norm() / whole.norm()) for whole, part in pairs) / len(pairs)

    assert found[0].weight == found[2].weight == pytest.approx(lose({3: 1}), abs=1e-4)
    assert found[1].weight == pytest.approx(lose({2: 2}), abs=1e-4)


def test_weights_are_what_scores_lose(finite_set: FiniteSetDenoiser) -> None:
    settings = PromptDetectionSettings(tokens=False)
    texts = ("1 1 3", "3", "1 1")
    whole, *without = (
        torch.tensor(one.by_seed) for one in detect_prompts(finite_set, texts, settings, executor=Executor(8))
    )
    noise = draw_noise(draw_detection_seeds(settings), finite_set.latent_shape)
    [found] = weigh(finite_set, texts[0], noise=noise)
    assert [word.text for word in found] == ["1", "1", "3"]
    assert [found[0].weight, found[2].weight] == pytest.approx(
        [float((1 - one / whole).mean()) for one in without], abs=1e-5
    )


class LeftToRight(FiniteSetDenoiser):
    """Each row of the condition is the sum of all words up to there, and the network reads the row after the last."""

    rows = 8

    def condition(self, prompts: Sequence[str]) -> PromptEmbeds:
        embedded = torch.zeros(len(prompts), self.rows, len(self.points))
        for number, prompt in enumerate(prompts):
            for place, match in enumerate(WORD.finditer(prompt)):
                if self._names(match.group()):
                    embedded[number, place, int(match.group())] = self.sharpness
        return PromptEmbeds({"text": embedded.cumsum(dim=1)}, {"text": torch.ones(self.rows, dtype=torch.bool)})

    def token_spans(self, prompt: str) -> dict[str, list[tuple[int, int, int]]]:
        return {"text": [(*match.span(), place) for place, match in enumerate(WORD.finditer(prompt))]}

    def predict(self, noisy: torch.Tensor, timesteps: torch.Tensor, prompt_embeds: PromptEmbeds) -> Prediction:
        return super().predict(
            noisy, timesteps, prompt_embeds.with_streams({"text": prompt_embeds.streams["text"][:, -1:]})
        )


def test_a_word_that_an_encoder_writes_into_later_rows_is_found(finite_set: FiniteSetDenoiser) -> None:
    model = LeftToRight(finite_set.points)
    prompt = "old 2 on hill"
    # The published weight, the norm of the gradient at a word's own row, is 0 for every word.
    condition = model.condition([prompt])
    rows = condition.streams["text"].requires_grad_(True)
    noise, times = NOISE[:1], LAST.repeat(1)
    null = model.predict(noise, times, model.null_condition()).output
    output = model.predict(noise, times, condition.with_streams({"text": rows})).output
    [slope] = torch.autograd.grad((output - null).norm(), [rows])
    assert not slope[0, :4].any() and slope[0, -1].any()
    [found] = weigh(model, prompt)
    assert {word.text: round(word.weight, 6) for word in found} == {"old": 0, "2": 1, "on": 0, "hill": 0}


def test_batches_change_nothing_and_passes_are_those_promised(finite_set: FiniteSetDenoiser) -> None:
    prompts = ("1", "a b", "2 3 4", "")
    whole = weigh(finite_set, *prompts)
    assert [[word.text for word in own] for own in whole] == [["1"], [], ["2", "3", "4"], []]
    before = finite_set.network_evaluations
    for batch in (1, 5):
        for own, other in zip(whole, weigh(finite_set, *prompts, batch=batch), strict=True):
            assert [word.weight for word in own] == pytest.approx([word.weight for word in other], abs=1e-6)
    # Once for the null condition, each prompt and each word.
    assert finite_set.network_evaluations - before == 2 * 3 * (1 + len(prompts) + 4)
    assert weigh(finite_set, "2 3 4") == [whole[2]], "other prompts change nothing"


def test_a_prompt_that_moves_nothing_weighs_nothing_and_what_is_not_finite_is_said(
    finite_set: FiniteSetDenoiser,
) -> None:
    model = LeftToRight(finite_set.points)
    [found] = weigh(model, "old hill")
    assert [word.weight for word in found] == [0, 0]

    class Broken(LeftToRight):
        def condition(self, prompts: Sequence[str]) -> PromptEmbeds:
            found = super().condition(prompts)
            lost = torch.tensor([prompt == "1" for prompt in prompts])
            return found.map(lambda one: torch.where(lost[:, None, None], float("nan"), one))

    assert weigh(Broken(finite_set.points), "2 1") == [Skipped(skipped=NOT_FINITE)]


def test_a_real_text_encoder_gets_weights_and_weights_of_networks_no_gradient() -> None:
    denoiser = UNetDenoiser(make_pipeline(tiny_recipe()), "f")
    noise = torch.randn(2, *denoiser.latent_shape, generator=torch.Generator().manual_seed(0))
    [found] = weigh_words(denoiser, ["a red, fox"], noise, torch.tensor(999), Executor(4))
    assert [word.text for word in found] == ["a", "red", "fox"] and any(word.weight != 0 for word in found)
    assert all(weight.grad is None for weight in denoiser.network.parameters())


def test_only_words_that_an_encoder_reads_are_weighed_and_not_too_many() -> None:
    assert [word.text for word in find_read_words("red fox", {"a": [(0, 3, 1)], "b": []})] == ["red"]
    assert [word.text for word in find_read_words("red, fox!", {})] == ["red", "fox"]
    assert find_read_words("red fox", {"a": []}) == []
    assert len(find_read_words(" ".join(map(str, range(1000))), {})) == MOST_WORDS


@given(TEXTS)
def test_leaving_out_a_word_leaves_all_others(text: str) -> None:
    words = [match.group() for match in WORD.finditer(text)]
    for word in find_read_words(text, {}):
        assert all(text[start:end] == word.text for start, end in word.places)
        assert len(word.places) == words.count(word.text)
        left = remove_word(text, word.text)
        # Parts that stood on both sides of a word may become one word; letters never change.
        kept = "".join(own for own in words if own != word.text)
        assert "".join(match.group() for match in WORD.finditer(left)) == kept


@pytest.mark.parametrize(
    ("prompt", "word", "left"),
    [
        ("a red fox", "fox", "a red "),
        ("a red fox", "a", "red fox"),
        ("fox", "fox", ""),
        ("foxes", "fox", "foxes"),
        ("red, red", "red", ", "),
        ("don't", "don", "don't"),
        ("日本 猫", "猫", "日本 "),
    ],
)
def test_a_word_is_dropped_where_it_stands_alone(prompt: str, word: str, left: str) -> None:
    assert remove_word(prompt, word) == left
