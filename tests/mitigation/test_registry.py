"""Mitigations that work while a model is used: against plain loops, batched and one by one, and what they leave."""

import pytest
import torch

from imgaudit.diffusion.denoiser import Denoiser
from imgaudit.diffusion.seeds import draw_noise
from imgaudit.exceptions import ConfigError
from imgaudit.mitigation.registry import mitigate
from imgaudit.models import FiniteSetDenoiser


def _memoriser(points: int = 4) -> FiniteSetDenoiser:
    generator = torch.Generator().manual_seed(0)
    return FiniteSetDenoiser(torch.rand(points, 3, 8, 8, generator=generator) * 2 - 1)


@pytest.mark.parametrize("spec", ["descent", "random-tokens:count=2", "descent:rms=0.5,iterations=3"])
def test_a_mitigated_model_is_another_model_with_the_same_weights(spec: str) -> None:
    model = _memoriser()
    mitigated = mitigate(model, spec)
    assert mitigated.fingerprint not in (model.fingerprint, mitigate(model, "descent:iterations=7").fingerprint)
    assert mitigated.fingerprint == mitigate(model, spec).fingerprint
    noise = draw_noise([0], model.latent_shape)
    condition, timesteps = model.condition(["2"]), torch.tensor([50])
    torch.testing.assert_close(
        mitigated.predict(noise, timesteps, condition).output, model.predict(noise, timesteps, condition).output
    )
    for name in ("latent_shape", "resolution", "prediction_type", "fewest_steps", "no_null", "words"):
        assert getattr(mitigated, name) == getattr(model, name)
    members = {name for name in (*vars(Denoiser), *Denoiser.__annotations__) if not name.startswith("_")}
    assert len(members) > 10 and all(hasattr(mitigated, name) for name in members)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("nothing", "expected one of descent"),
        ("descent:speed=3", "no setting 'speed'"),
        ("descent:iterations=1.5", "a number from 1 to 1000"),
        ("descent:rms=nan", "a number from 0"),
        ("random-tokens:count=1000000", "from 1 to 100"),
        ("x" * 10_000, "is no mitigation"),
    ],
)
def test_what_is_no_mitigation_is_refused(spec: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        mitigate(_memoriser(), spec)
