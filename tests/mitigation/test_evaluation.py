"""MemBench's two scenarios on a closed-form memoriser: what is measured, what is made of it, and how it is shown."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser

from imgaudit.diffusion.denoiser import PromptEmbeds
from imgaudit.diffusion.denoising_error import DrawSource
from imgaudit.diffusion.executor import Executor
from imgaudit.diffusion.generation import draw_replica_seeds
from imgaudit.mitigation.evaluation import (
    CaptionedImage,
    CopyFreeScores,
    EvaluationSettings,
    EvaluationTask,
    Judges,
    ModelOutcome,
    PromptOutcome,
    evaluate_model,
    score_copy_free,
)
from imgaudit.mitigation.evaluation_summary import EvaluationTable, summarise
from imgaudit.models import FiniteSetDenoiser
from imgaudit.report.mitigation import write_mitigation
from imgaudit.schema.records import Skipped
from imgaudit.similarity.clip import AestheticHead
from imgaudit.similarity.descriptors import compare_vectors
from imgaudit.similarity.matcher import Matcher
from imgaudit.statistics import bootstrap_mean

SETTINGS = EvaluationSettings(images=4, guidance_scale=1.0, num_inference_steps=8, error_draws=16, seed=5)


class Forgetful(FiniteSetDenoiser):
    """Answers no prompt."""

    def condition(self, prompts: Sequence[str]) -> PromptEmbeds:
        return super().condition(["" for _ in prompts])


class Judge:
    """Stands for a CLIP: a text's vector is that of the point it names."""

    def __init__(self, points: torch.Tensor) -> None:
        flat = points.flatten(1)
        self.points = flat / flat.norm(dim=1, keepdim=True)
        self.source = "judge"

    def describe_images(self, images: torch.Tensor) -> torch.Tensor:
        flat = images.flatten(1)
        return flat / flat.norm(dim=1, keepdim=True)

    def describe_texts(self, texts: Sequence[str]) -> torch.Tensor:
        return torch.stack([self.points[int(text)] for text in texts])


def _points() -> torch.Tensor:
    return torch.rand(12, 3, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1


def _captioned(
    points: torch.Tensor, numbers: Sequence[int], images: torch.Tensor | None = None
) -> list[CaptionedImage]:
    given = points if images is None else images
    return [CaptionedImage(f"{number:064x}", str(number), given[number]) for number in numbers]


@pytest.fixture(scope="module")
def measured() -> tuple[list[CaptionedImage], list[CaptionedImage], list[ModelOutcome], Judges]:
    points = _points()
    triggers = _captioned(points, [0, 1, 2])
    # General prompts name points too, but their images are none of them.
    general = _captioned(points, [5, 6, 7, 8], points.flip(0))
    clip: Any = Judge(points)
    judges = Judges(clip, AestheticHead(((torch.ones(1, 192), torch.zeros(1)),), "head"))
    models = [
        evaluate_model(name, denoiser, EvaluationTask(triggers, general, SETTINGS, judges), executor=Executor(8))
        for name, denoiser in (("as it is", FiniteSetDenoiser(points)), ("forgetful", Forgetful(points)))
    ]
    return triggers, general, models, judges


def test_every_figure_is_what_a_plain_loop_gives(measured: Any) -> None:
    triggers, general, (base, _), judges = measured
    model = FiniteSetDenoiser(_points())
    descriptor = Matcher().deciding()
    for number, one in enumerate([*triggers, *general]):
        outcome = [*base.triggers, *base.general][number]
        for place, seed in enumerate(draw_replica_seeds(5, one.sha256, 4)):
            image = model.sample(model.condition([one.prompt]), [seed], guidance_scale=1.0, num_inference_steps=8)
            image = ((image + 1) * 127.5).round() / 127.5 - 1
            [close] = compare_vectors(descriptor, descriptor.describe(one.image[None]), descriptor.describe(image))
            assert outcome.similarity[place] == pytest.approx(close, abs=1e-5)
            cosine = float((judges.clip.describe_images(image) @ judges.clip.points[int(one.prompt)])[0])
            assert outcome.alignment[place] == pytest.approx(cosine, abs=1e-5)
            total = float(judges.clip.describe_images(image).sum())
            assert outcome.aesthetic[place] == pytest.approx(total, abs=1e-4)
        assert outcome.retrieved == 4 and outcome.unusable == 0
    for one, outcome in zip(general, base.general, strict=True):
        draws = DrawSource(5, [one.sha256], "clean images", model.latent_shape).draw("stratified", 16, 100)
        errors, responses = [], []
        for timestep, noise in zip(draws.timesteps[0], draws.noise[0], strict=True):
            noisy = model.schedule.add_noise(one.image[None], noise[None], timestep[None])
            found, null = (model.predict(noisy, timestep[None], model.condition([p])).output for p in (one.prompt, ""))
            errors.append(float(((found - noise) ** 2).mean()))
            responses.append(float(((found - null) ** 2).mean()))
        assert outcome.error == pytest.approx(sum(errors) / 16, rel=1e-4)
        assert outcome.response == pytest.approx(sum(responses) / 16, rel=1e-4)


def test_batches_and_order_change_no_figure(measured: Any) -> None:
    triggers, general, (base, _), judges = measured
    again = evaluate_model(
        "as it is",
        FiniteSetDenoiser(_points()),
        EvaluationTask(triggers, general, SETTINGS, judges),
        executor=Executor(1),
    )
    for one, other in zip(base.triggers + base.general, again.triggers + again.general, strict=True):
        np.testing.assert_allclose(one.similarity, other.similarity, atol=1e-5)
        assert one.error == (None if other.error is None else pytest.approx(other.error, rel=1e-5))
    assert again.network_evaluations == base.network_evaluations == 7 * 4 * 8 + 2 * 4 * 16


def test_forgetting_is_seen_on_both_sides(measured: Any) -> None:
    triggers, general, models, judges = measured
    copy_free = score_copy_free(FiniteSetDenoiser(_points()), EvaluationTask(triggers, general, SETTINGS, judges))
    table = EvaluationTable(
        model="closed form", settings=SETTINGS, clip="judge", aesthetic="head", copy_free=copy_free, hardware="here",
        models=models,
    )  # fmt: skip
    figures = summarise(table)
    before, after = figures.rows
    assert (before.reproduced.hits, after.reproduced.hits) == (3, 0) and before.copies.mean == 1
    assert figures.threshold >= 0.9 and figures.controls == 4
    assert before.response_left.mean == 1 and after.response_left.mean == 0  # type: ignore[union-attr]
    assert before.error_rise.mean == 0 and after.error_rise.mean < 0, "its images are not what general prompts name"  # type: ignore[union-attr]
    assert after.general_retrieved.mean < before.general_retrieved.mean == 1  # type: ignore[union-attr]
    assert isinstance(copy_free, CopyFreeScores) and max(copy_free.similarity) < 0.9
    assert figures.copy_free_similarity.n == 3  # type: ignore[union-attr]
    expected = []
    for one in general:
        [picture] = judges.clip.describe_images(one.image[None])
        others = [other.prompt for other in [*triggers, *general] if other.prompt != one.prompt]
        own, *rest = (float(picture @ judges.clip.points[int(text)]) for text in [one.prompt, *others])
        expected.append(own > max(rest))
    assert copy_free.retrieved == expected
    # Tables written before the field had its name call it "reference".
    stored = table.model_dump(mode="json")
    stored["reference"] = stored.pop("copy_free")
    assert EvaluationTable.model_validate(stored) == table


def test_a_control_that_comes_back_raises_what_a_copy_needs() -> None:
    def outcome(similarity: list[float]) -> PromptOutcome:
        why = Skipped(skipped="no CLIP")
        return PromptOutcome(
            sha256="0", similarity=similarity, alignment=why, retrieved=why, aesthetic=why, unusable=0, error=0.5
        )

    base = ModelOutcome(
        name="as it is", fingerprint="0", network_evaluations=1, seconds=0.0,
        triggers=[outcome([0.99, 0.95, 0.1, 0.2]), outcome([0.91, 0.93, 0.92, 0.0])],
        general=[outcome([0.1, 0.94]), outcome([0.2, 0.3])],
    )  # fmt: skip
    worse = base.model_copy(update={"general": [one.model_copy(update={"error": 0.6}) for one in base.general]})
    no_clip = Skipped(skipped="no CLIP")
    table = EvaluationTable(
        model="m", settings=SETTINGS, clip=no_clip, aesthetic=no_clip, copy_free=no_clip, hardware="here",
        models=[base, worse],
    )  # fmt: skip
    figures = summarise(table)
    assert figures.threshold == 0.94
    first, second = figures.rows
    assert first.copies.mean == pytest.approx((2 / 4 + 0) / 2) and first.reproduced.hits == 1
    assert first.highest.mean == pytest.approx((0.99 + 0.93) / 2)
    assert first.top.mean == pytest.approx(((0.99 + 0.95 + 0.2) / 3 + 0.92) / 2)
    assert second.error_rise.mean == pytest.approx(0.2)  # type: ignore[union-attr]
    assert first.general_alignment == no_clip and figures.copy_free_similarity == no_clip


def test_pictures_that_cannot_be_scored_are_counted_and_no_copies() -> None:
    class Blank(FiniteSetDenoiser):
        def sample(self, *args: Any, **keywords: Any) -> torch.Tensor:
            images = super().sample(*args, **keywords)
            images[::2] = float("nan")
            return images

    points = _points()
    clip: Any = Judge(points)
    outcome = evaluate_model(
        "blank", Blank(points),
        EvaluationTask(_captioned(points, [0]), _captioned(points, [5]), SETTINGS, Judges(clip)), executor=Executor(64),
    )  # fmt: skip
    assert outcome.triggers[0].unusable == 2 and outcome.triggers[0].similarity.count(-1.0) == 2


def test_without_a_clip_everything_but_similarity_says_why() -> None:
    points = _points()
    outcome = evaluate_model(
        "m", FiniteSetDenoiser(points),
        EvaluationTask(_captioned(points, [0]), _captioned(points, [5]), SETTINGS, Judges()), executor=Executor(64),
    )  # fmt: skip
    assert "--clip" in outcome.triggers[0].alignment.skipped  # type: ignore[union-attr]
    alone = EvaluationTask(_captioned(points, [0]), [], SETTINGS, Judges())
    assert isinstance(score_copy_free(FiniteSetDenoiser(points), alone), Skipped)


def test_the_interval_of_a_mean_covers_it_as_often_as_it_says() -> None:
    draw = np.random.default_rng(3)
    covered = sum(
        interval.low <= 0.5 <= interval.high
        for interval in (bootstrap_mean(draw.uniform(size=40), resamples=500) for _ in range(200))
    )
    assert 180 <= covered <= 199
    assert bootstrap_mean([0.25]) == (0.25, 0.25)
    with pytest.raises(ValueError, match="one or more"):
        bootstrap_mean([])


@pytest.mark.browser
def test_the_page_shows_hostile_names_as_text_and_has_no_barriers(
    measured: Any, tmp_path: Path, browser: Browser
) -> None:
    triggers, general, models, judges = measured
    hostile = "<script>document.title='run'</script>\u202e"
    models = [models[0], models[1].model_copy(update={"name": hostile})]
    copy_free = score_copy_free(FiniteSetDenoiser(_points()), EvaluationTask(triggers, general, SETTINGS, judges))
    table = EvaluationTable(
        model=hostile, settings=SETTINGS, clip=hostile, aesthetic=Skipped(skipped="no head"), copy_free=copy_free,
        hardware="here", models=models,
    )  # fmt: skip
    path = write_mitigation(tmp_path, table, summarise(table))
    page = browser.new_page()
    problems: list[str] = []
    page.on("console", lambda message: problems.append(message.text))
    page.on("request", lambda request: problems.append(request.url) if not request.url.startswith("file:") else None)
    page.goto(path.as_uri())
    assert page.title() != "run" and "document.title" in page.locator("#triggers ~ div").first.inner_text()
    assert page.locator("#triggers ~ div tbody tr").count() == 3
    assert page.locator("figure img").evaluate("e => e.naturalWidth") > 0
    serious = [
        one["id"]
        for one in Axe().run(page, options={"preload": False}).response["violations"]
        if one["impact"] in ("serious", "critical")
    ]
    assert serious == [] and problems == []
    page.close()
