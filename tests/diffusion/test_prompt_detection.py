"""Prompt detection against plain loops, closed forms and central differences."""

from pathlib import Path
from typing import Any

import pytest
import torch

from imgaudit.diffusion.executor import Executor
from imgaudit.diffusion.guided_trajectory import choose_timesteps, explain_no_epsilon, measure_trajectory
from imgaudit.diffusion.prompt_detection import (
    LONGEST_PROMPT,
    PromptDetection,
    PromptDetectionSettings,
    PromptSkipped,
    detect_prompts,
    draw_detection_seeds,
)
from imgaudit.diffusion.schedules import FlowSchedule, NoiseSchedule, Prediction
from imgaudit.diffusion.seeds import draw_noise
from imgaudit.models import FiniteSetDenoiser, load_model
from imgaudit.models.families.unet import UNetDenoiser
from imgaudit.schema.records import Skipped
from tests.conftest import make_other_pipeline, make_pipeline, tiny_recipe
from tests.support.tiny_template_text import make_small

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept:DeprecationWarning")

PROMPTS = ["a red fox", "", "two blue boats, a green hill", "clock"]
SETTINGS = PromptDetectionSettings(steps=3, sampling_steps=5, seeds=2)


def detect(denoiser, prompts=PROMPTS, settings=SETTINGS, batch=64):  # type: ignore[no-untyped-def]
    return list(detect_prompts(denoiser, prompts, settings, executor=Executor(batch)))


def plain_magnitudes(denoiser, prompt: str, settings: PromptDetectionSettings):  # type: ignore[no-untyped-def]
    """DDIM step by step in the textbook's form, one prompt, one seed and one pass at a time."""
    abar = denoiser.schedule.alphas_cumprod
    times = [round(x) for x in torch.linspace(len(abar) - 1, 0, settings.sampling_steps).tolist()]
    condition, null = denoiser.condition([prompt]), denoiser.null_condition()
    native, epsilon = [], []
    for seed in draw_detection_seeds(settings):
        x = draw_noise([seed], denoiser.latent_shape)
        for step in range(settings.steps):
            t = torch.tensor([times[step]])
            a = float(abar[times[step]])
            raw = [denoiser.predict(x, t, one).output.detach() for one in (condition, null)]
            native.append(float((raw[0] - raw[1]).square().sum().sqrt()))
            if denoiser.prediction_type == "v_prediction":
                raw = [a**0.5 * v + (1 - a) ** 0.5 * x for v in raw]
            epsilon.append(float((raw[0] - raw[1]).square().sum().sqrt()))
            guided = raw[1] + settings.guidance_scale * (raw[0] - raw[1])
            x0 = (x - (1 - a) ** 0.5 * guided) / a**0.5
            b = float(abar[times[step + 1]])
            x = b**0.5 * x0 + (1 - b) ** 0.5 * guided
    return sum(native) / len(native), sum(epsilon) / len(epsilon)


@pytest.mark.parametrize("make", [lambda: make_pipeline(tiny_recipe()), make_other_pipeline])
def test_magnitudes_are_those_of_plain_loops_and_batches_change_nothing(make) -> None:  # type: ignore[no-untyped-def]
    denoiser = UNetDenoiser(make(), "f")
    whole = detect(denoiser)
    for prompt, found in zip(PROMPTS, whole, strict=True):
        assert isinstance(found, PromptDetection) and isinstance(found.epsilon, type(found.native))
        native, epsilon = plain_magnitudes(denoiser, prompt, SETTINGS)
        assert found.native.raw == pytest.approx(native, rel=1e-4, abs=1e-6)
        assert found.score == found.epsilon.raw == pytest.approx(epsilon, rel=1e-4, abs=1e-6)
        elements = torch.Size(denoiser.latent_shape).numel()
        assert found.rms == pytest.approx(epsilon / elements**0.5, rel=1e-4, abs=1e-6)
        assert found.score == pytest.approx(sum(found.by_seed) / 2)
    for batch in (1, 3):
        for one, other in zip(whole, detect(denoiser, batch=batch), strict=True):
            assert one.score == pytest.approx(other.score, rel=1e-5, abs=1e-6)
            assert [w.text for w in one.tokens] == [w.text for w in other.tokens]
            for a, b in zip(one.tokens, other.tokens, strict=True):
                assert a.weight == pytest.approx(b.weight, abs=1e-3), "a ratio of differences in float32"
    assert whole[1].score == pytest.approx(0, abs=1e-5)
    assert all(weight.grad is None for weight in denoiser.network.parameters())


def test_the_closed_form_is_the_difference_of_posterior_means(finite_set: FiniteSetDenoiser) -> None:
    settings = PromptDetectionSettings(seeds=3)
    [found] = detect(finite_set, ["2"], settings)
    a = float(finite_set.schedule.alphas_cumprod[-1])
    points = finite_set.points.double()
    norms = []
    for seed in draw_detection_seeds(settings):
        x = draw_noise([seed], finite_set.latent_shape)[0].double()
        distances = torch.stack([-((x - a**0.5 * p) ** 2).sum() / (2 * (1 - a)) for p in points])
        logits = torch.zeros(5, dtype=torch.float64)
        logits[2] = 12.0
        means = [(torch.softmax(own + distances, 0)[:, None, None, None] * points).sum(0) for own in (logits, 0)]
        norms.append(float(((a / (1 - a)) ** 0.5 * (means[0] - means[1])).norm()))
    assert found.score == pytest.approx(sum(norms) / 3, rel=1e-4)
    assert found.by_seed == pytest.approx(norms, rel=1e-4)


def test_sharpness_is_the_jacobian_of_the_score_difference_times_itself(finite_set: FiniteSetDenoiser) -> None:
    finite_set.points = finite_set.points.double()
    noise = draw_noise([1], finite_set.latent_shape).double()
    condition, null = finite_set.condition(["1"]), finite_set.null_condition()
    times = choose_timesteps(finite_set.schedule, 8)[4:]
    found = measure_trajectory(
        finite_set, condition, null, noise, times, steps=1, guidance_scale=1.0, sharpness=True
    ).sharpness
    spread = float(finite_set.schedule.shares(times[:1])[1])

    def score(x: torch.Tensor) -> torch.Tensor:
        one, other = (finite_set.predict(x, times[:1], c).noise() for c in (condition, null))
        return -(one - other) / spread

    _, product = torch.autograd.functional.jvp(score, noise, score(noise))
    assert found is not None
    assert float(found) == pytest.approx(float(product.square().sum()), rel=2e-3)


def test_where_there_is_no_image_the_networks_own_space_takes_over() -> None:
    times = choose_timesteps(FlowSchedule(1000), 50)
    assert "own output space (flow)" in explain_no_epsilon(FlowSchedule(1000), "flow", times[:1])
    assert explain_no_epsilon(FlowSchedule(1000), "flow", times[1:]) == ""
    zero = NoiseSchedule(torch.linspace(1, 0, 10, dtype=torch.float64))
    assert "(v_prediction)" in explain_no_epsilon(zero, "v_prediction", torch.tensor([9]))
    assert explain_no_epsilon(zero, "epsilon", torch.tensor([9])) == ""


class Flow(FiniteSetDenoiser):
    """The same posterior means, as the velocity of a straight path."""

    prediction_type = "flow"

    def __init__(self, points: torch.Tensor) -> None:
        super().__init__(points)
        self.schedule = FlowSchedule(100)

    def predict(self, noisy, timesteps, prompt_embeds):  # type: ignore[no-untyped-def]
        x0 = Prediction(super().predict(noisy, timesteps, prompt_embeds).output, noisy, timesteps, "epsilon",
                        NoiseSchedule(torch.full((100,), 0.5))).output  # fmt: skip
        return Prediction(x0 - noisy, noisy, timesteps, "flow", self.schedule)


def test_a_flow_model_scores_in_velocities_at_its_first_step(finite_set: FiniteSetDenoiser) -> None:
    flow = Flow(finite_set.points)
    named, empty = detect(flow, ["1 3", ""], PromptDetectionSettings(seeds=2, detector="sharpness"))
    assert named.space == "flow" and isinstance(named.epsilon, Skipped) and "flow" in named.epsilon.skipped
    assert empty.native.raw == 0
    assert named.rms == named.native.rms


def test_models_without_a_null_branch_and_prompts_no_encoder_takes_are_skipped(
    finite_set: FiniteSetDenoiser,
) -> None:
    broken, long, fine = detect(finite_set, ["\ud800", "1" * (LONGEST_PROMPT + 1), "1\x00\x1b[31m \u202e"])
    assert isinstance(broken, PromptSkipped) and "surrogate" in broken.skipped
    assert isinstance(long, PromptSkipped) and "characters" in long.skipped
    assert isinstance(fine, PromptDetection)

    class Distilled(FiniteSetDenoiser):
        no_null = "the model is distilled"

    [found] = detect(Distilled(finite_set.points), ["1"])
    assert found == PromptSkipped(prompt="1", skipped="the model is distilled")


def test_every_family_has_its_words_weighed(family_folders: dict[str, Path]) -> None:
    settings = PromptDetectionSettings(steps=2, sampling_steps=4, seeds=1)
    for name, folder in family_folders.items():
        denoiser: Any = load_model(str(folder), "cpu").denoiser
        # Pipelines do not save these sizes, and have those of published models.
        make_small(denoiser.pipeline)
        [found] = detect(denoiser, ["a red fox"], settings)
        if denoiser.no_null:
            assert isinstance(found, PromptSkipped), name
            continue
        assert isinstance(found, PromptDetection) and found.score > 0, name
        assert not isinstance(found.tokens, Skipped), name
        assert [word.text for word in found.tokens] == ["a", "red", "fox"], name
        assert any(word.weight != 0 for word in found.tokens), name
