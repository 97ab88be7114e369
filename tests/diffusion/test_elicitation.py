"""Which seeds choose and which give the rate, on a model whose answers are known."""

import torch

from imgaudit.diffusion.elicitation import Question, elicit
from imgaudit.diffusion.executor import Executor
from imgaudit.models import FiniteSetDenoiser
from imgaudit.schema.protocol import GenerationConfig
from imgaudit.similarity.matcher import Matcher

POINTS = torch.rand(3, 3, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1


def question(model: FiniteSetDenoiser, texts: list[str], seeds: int, reference: int = 1) -> Question:
    return Question(texts, model.condition(texts), list(range(100, 100 + seeds)), POINTS[reference])


def test_with_one_scale_every_seed_is_used_once_and_spread_over_the_texts() -> None:
    model = FiniteSetDenoiser(POINTS)
    config = GenerationConfig(seeds=7, num_inference_steps=4)
    [first, second] = elicit(
        model,
        [question(model, ["0", "1", "2"], 7), question(model, ["1"], 7)],
        config,
        executor=Executor(5),
        matcher=Matcher(),
    )
    assert [answer.frame.seed for answer in first] == list(range(100, 107))
    assert [answer.text for answer in first] == [0, 1, 2, 0, 1, 2, 0]
    assert [answer.text for answer in second] == [0] * 7


def test_first_seeds_choose_scale_and_text_and_fresh_ones_keep_to_it() -> None:
    model = FiniteSetDenoiser(POINTS)
    config = GenerationConfig(seeds=9, selection_seeds=4, guidance_scales=(1.0, 3.0), num_inference_steps=6)
    [answers] = elicit(model, [question(model, ["0", "1"], 9)], config, executor=Executor(64), matcher=Matcher())
    looked, fresh = answers[:8], answers[8:]
    assert [(a.frame.guidance_scale, a.frame.seed) for a in looked] == [
        (scale, seed) for scale in (1.0, 3.0) for seed in range(100, 104)
    ]
    assert [a.frame.seed for a in fresh] == list(range(104, 109))
    assert {a.text for a in fresh} == {1} and len({a.frame.guidance_scale for a in fresh}) == 1
    assert len({(a.frame.guidance_scale, a.frame.seed) for a in answers}) == len(answers)
