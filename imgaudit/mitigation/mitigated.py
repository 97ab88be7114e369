"""A model behind a mitigation that works while it is used: a Denoiser around a Denoiser, its weights as they were.

Methods see a model like any other. What reaches its network through `predict` is not changed: an inversion finds what
is in the weights, and the mitigation acts when pictures are made.
"""

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from imgaudit.diffusion.denoiser import Denoiser, PromptEmbeds


def fingerprint_mitigated(fingerprint: str, identity: str) -> str:
    """Return the fingerprint that a model has under a mitigation: SHA-256 over its own and the mitigation's identity.

    fingerprint:  the model's own
    identity:     the mitigation with every setting, as text
    """
    return hashlib.sha256(f"{fingerprint} {identity}".encode()).hexdigest()


class MitigatedDenoiser:
    """A model under a mitigation, which overrides `condition`, `sampling`, or both; all else is the model's own.

    The fingerprint is another one, so that null banks and runs of the bare model are not mixed with it.
    """

    def __init__(self, denoiser: Denoiser, identity: str) -> None:
        """identity: the mitigation with every setting, as text."""
        self.denoiser = denoiser
        self.identity = identity
        self.fingerprint = fingerprint_mitigated(denoiser.fingerprint, identity)

    def __getattr__(self, name: str) -> Any:
        # Python asks here only for what the mitigation does not define. Private names are no part of a Denoiser, and
        # copying asks for some of them before there is a model.
        if name.startswith("_"):
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        return getattr(self.denoiser, name)

    @contextmanager
    def sampling(
        self, prompt_embeds: PromptEmbeds, seeds: Sequence[int], latents: torch.Tensor | None
    ) -> Iterator[PromptEmbeds]:
        """Mitigate for as long as the context lasts, and yield the conditions to sample: here those that were given.

        Arguments are those of `sample`.
        """
        yield prompt_embeds

    def sample(
        self,
        prompt_embeds: PromptEmbeds,
        seeds: Sequence[int],
        *,
        guidance_scale: float,
        num_inference_steps: int,
        latents: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Sample as the model does, in the context of `sampling`."""
        with self.sampling(prompt_embeds, seeds, latents) as mitigated:
            return self.denoiser.sample(
                mitigated, seeds, guidance_scale=guidance_scale, num_inference_steps=num_inference_steps,
                latents=latents,
            )  # fmt: skip
