"""UNets that embed the guidance scale, against their own pipelines."""

import pytest
import torch

from imgaudit.models.families.unet import AnyUNetDenoiser
from tests.conftest import CAPTIONS
from tests.support.distilled import make_distilled

PROMPTS = CAPTIONS[:2]


@pytest.fixture(params=["epsilon", "v_prediction", "sdxl"])
def denoiser(request: pytest.FixtureRequest) -> AnyUNetDenoiser:
    return make_distilled(request.param)


def first_step(denoiser: AnyUNetDenoiser, start: torch.Tensor, guidance_scale: float) -> torch.Tensor:
    """Latents after the pipeline's first of three steps."""
    seen: list[torch.Tensor] = []
    denoiser.pipeline(
        PROMPTS, guidance_scale=guidance_scale, num_inference_steps=3, output_type="latent", latents=start,
        callback_on_step_end=lambda pipeline, step, time, given: seen.append(given["latents"].clone()) or given,
    )  # fmt: skip
    return seen[0]


def test_errors_are_measured_where_the_pipeline_predicts_without_guidance(denoiser: AnyUNetDenoiser) -> None:
    start = torch.randn((2, *denoiser.latent_shape), generator=torch.Generator().manual_seed(4))
    scheduler = denoiser.pipeline.scheduler
    scheduler.set_timesteps(3)
    time = scheduler.timesteps[0]
    with torch.no_grad():
        output = denoiser.predict(start, time.repeat(2).long(), denoiser.condition(PROMPTS)).output
    ours = scheduler.step(output, time, start).prev_sample
    torch.testing.assert_close(ours, first_step(denoiser, start, 1.0), atol=1e-4, rtol=1e-4)
    assert not torch.allclose(ours, first_step(denoiser, start, 3.0), atol=1e-3)


def test_a_guidance_scale_costs_no_second_pass(denoiser: AnyUNetDenoiser) -> None:
    condition, before = denoiser.condition(PROMPTS), denoiser.network_evaluations
    one, five = (
        denoiser.sample(condition, [1, 2], guidance_scale=scale, num_inference_steps=4) for scale in (1.0, 5.0)
    )
    assert not torch.allclose(one, five, atol=1e-4)
    assert denoiser.network_evaluations - before == 2 * 2 * 4
    assert not denoiser.is_guided_by_null and "guidance-distilled" in denoiser.no_null
