"""The training schedule itself: from almost no noise to almost nothing but noise, without a step back."""

import torch

from imgaudit.diffusion.model_checks.images import make_check
from imgaudit.diffusion.schedules import Schedule
from imgaudit.schema.model_checks import ModelCheck

MOST_FIRST_NOISE = 0.2
"""Largest factor of noise at the cleanest timestep; Stable Diffusion has 0.03, flows 0.001."""

MOST_LAST_SIGNAL = 0.2
"""Largest factor of the image at the noisiest timestep; Stable Diffusion has 0.07, flows 0."""


def check_schedule(schedule: Schedule) -> list[ModelCheck]:
    """Return three checks: how clean the schedule begins, how noisy it ends, and how often it goes backwards."""
    signal, noise = schedule.shares(torch.arange(schedule.num_train_timesteps))
    backwards = int((signal.diff() > 0).sum() + (noise.diff() < 0).sum())
    unclear = int((~(torch.isfinite(signal) & torch.isfinite(noise))).sum())
    where = "see betas or sigmas in scheduler_config.json"
    return [
        make_check(
            "noise at the first timestep", float(noise[0]),
            f"the cleanest timestep has noise with a factor of {float(noise[0]):.3g}; {where}", high=MOST_FIRST_NOISE,
        ),
        make_check(
            "image at the last timestep", float(signal[-1]),
            f"the noisiest timestep keeps the image with a factor of {float(signal[-1]):.3g}, so that generation would "
            f"not begin with noise; {where}", high=MOST_LAST_SIGNAL,
        ),
        make_check(
            "steps of the schedule that go backwards", float(backwards + unclear),
            f"noise falls or is not a number at {backwards + unclear} timesteps; {where}", high=0.0,
        ),
    ]  # fmt: skip
