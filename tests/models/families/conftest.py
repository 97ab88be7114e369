"""The tiny Stable Diffusion XL: with either kind of null condition, and the usual one."""

import pytest

from imgaudit.models.families.sdxl import SDXLDenoiser
from tests.support.tiny_sdxl import make_sdxl


@pytest.fixture(
    params=[("epsilon", True), ("v_prediction", False)], ids=["epsilon, zeros", "v, the empty prompt"], scope="module"
)
def denoiser(request: pytest.FixtureRequest) -> SDXLDenoiser:
    return SDXLDenoiser(make_sdxl(*request.param), "fingerprint")


@pytest.fixture(scope="module")
def tiny() -> SDXLDenoiser:
    return SDXLDenoiser(make_sdxl(), "fingerprint")
