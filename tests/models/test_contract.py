"""The contract of adapters: every family keeps it, and an adapter with one fault is told where it breaks it."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch

from imgaudit.diffusion.denoiser import PromptEmbeds
from imgaudit.models.contract import find_breaches
from imgaudit.models.families.flux import FluxDenoiser
from imgaudit.models.families.pixart import PixArtDenoiser
from imgaudit.models.families.sd3 import SD3Denoiser
from imgaudit.models.families.sdxl import SDXLDenoiser
from imgaudit.models.families.transformer import TransformerDenoiser
from imgaudit.models.families.unet import UNetDenoiser
from tests.conftest import make_pipeline, tiny_recipe
from tests.models.families.test_transformer import guided, options
from tests.support.tiny_sdxl import make_sdxl
from tests.support.tiny_transformers import MAKERS, adapt, make_flux, make_pixart, make_sd3

# Raised inside diffusers' DPM-Solver; nothing of ours can avoid it.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept:DeprecationWarning")

UNETS: dict[str, Callable[[], Any]] = {
    "sd": lambda: UNetDenoiser(make_pipeline(tiny_recipe()), "fingerprint"),
    "sdxl": lambda: SDXLDenoiser(make_sdxl(), "fingerprint"),
}


def look_for_breaches(denoiser: TransformerDenoiser) -> list[str]:
    """Call the pipeline as a user would, without guidance and with it."""
    own = {name: value for name, value in options(denoiser).items() if name not in ("height", "width")}
    plain = own | guided(denoiser, 1.0)
    return find_breaches(
        denoiser, plain=plain, guided=own | guided(denoiser, 5.0) if denoiser.is_guided_by_null else None
    )


@pytest.mark.parametrize("name", MAKERS)
def test_every_transformer_keeps_the_contract(name: str) -> None:
    assert look_for_breaches(adapt(MAKERS[name]())) == []


@pytest.mark.parametrize("name", UNETS)
def test_every_unet_keeps_the_contract(name: str) -> None:
    assert find_breaches(UNETS[name](), plain={"guidance_scale": 1.0}, guided={"guidance_scale": 5.0}) == []


class Negated(SD3Denoiser):
    def _call(self, noisy: torch.Tensor, timesteps: torch.Tensor, prompt_embeds: PromptEmbeds) -> torch.Tensor:
        return -super()._call(noisy, timesteps, prompt_embeds)


class Backwards(SD3Denoiser):
    def _call(self, noisy: torch.Tensor, timesteps: torch.Tensor, prompt_embeds: PromptEmbeds) -> torch.Tensor:
        return super()._call(noisy, 999 - timesteps, prompt_embeds)


class Unscaled(SD3Denoiser):
    def _factors(self) -> tuple[Any, Any]:
        return 1.0, 0.0


class Deaf(SD3Denoiser):
    def _call(self, noisy: torch.Tensor, timesteps: torch.Tensor, prompt_embeds: PromptEmbeds) -> torch.Tensor:
        pooled = prompt_embeds.streams["pooled"].detach()
        return super()._call(noisy, timesteps, prompt_embeds.with_streams({**prompt_embeds.streams, "pooled": pooled}))


class Half(FluxDenoiser):
    def _prompt_arguments(self, prompt_embeds: PromptEmbeds) -> dict[str, torch.Tensor]:
        return {name: one / 2 for name, one in super()._prompt_arguments(prompt_embeds).items()}


class Guided(PixArtDenoiser):
    def null_condition(self) -> PromptEmbeds:
        return self.condition(["a red fox"])


class Company(SD3Denoiser):
    def condition(self, prompts: Sequence[str]) -> PromptEmbeds:
        encoded = super().condition(prompts)
        return encoded.with_streams({name: one * len(prompts) for name, one in encoded.streams.items()})


FAULTS: dict[type[Any], tuple[Callable[[], Any], str]] = {
    Negated: (make_sd3, "one step of the scheduler along the adapter's prediction"),
    Backwards: (make_sd3, "one step of the scheduler along the adapter's prediction"),
    Unscaled: (make_sd3, "do not decode to its images"),
    Deaf: (make_sd3, "no gradient reaches stream 'pooled'"),
    Half: (make_flux, "images sampled at guidance scale 1 are not those of the pipeline"),
    Guided: (make_pixart, "images sampled at guidance scale 5 are not those of the pipeline"),
    Company: (make_sd3, "stream 'clip' of 'a red fox' is another one beside other prompts"),
}


@pytest.mark.parametrize("adapter", FAULTS, ids=lambda adapter: adapter.__name__)
def test_an_adapter_with_a_fault_is_told_where(adapter: type[Any]) -> None:
    make, told = FAULTS[adapter]
    breaches = look_for_breaches(adapter(make(), "fingerprint"))
    assert any(told in breach for breach in breaches), breaches
