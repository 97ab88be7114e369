"""A model behind a mitigation that works while it is used: a Denoiser around a Denoiser, its weights as they were.

Methods see a model like any other. What reaches its network through `predict` is not changed: an inversion finds what
is in the weights, and the mitigation acts when pictures are made.
"""

import hashlib
from collections.abc import Sequence

import torch

from imgaudit.diffusion.denoiser import Denoiser, PromptEmbeds
from imgaudit.diffusion.schedules import Prediction, Schedule


class MitigatedDenoiser:
    """A model under a mitigation, which overrides `condition`, `sample`, or both; all else is the model's own.

    The fingerprint is another one, so that null banks and runs of the bare model are not mixed with it.
    """

    def __init__(self, denoiser: Denoiser, identity: str) -> None:
        """identity: the mitigation with every setting, as text."""
        self.denoiser = denoiser
        self.identity = identity
        self.fingerprint = hashlib.sha256(f"{denoiser.fingerprint} {identity}".encode()).hexdigest()

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        """The model's latent shape."""
        return self.denoiser.latent_shape

    @property
    def resolution(self) -> int:
        """The model's resolution in pixels."""
        return self.denoiser.resolution

    @property
    def schedule(self) -> Schedule:
        """The model's noise schedule."""
        return self.denoiser.schedule

    @property
    def prediction_type(self) -> str:
        """The model's kind of prediction."""
        return self.denoiser.prediction_type

    @property
    def network_evaluations(self) -> int:
        """The number of network evaluations, including the mitigation's own."""
        return self.denoiser.network_evaluations

    @property
    def no_null(self) -> str:
        """The model's reason for having no null branch; empty where it has one."""
        return self.denoiser.no_null

    @property
    def fewest_steps(self) -> int:
        """The model's fewest sampling steps."""
        return self.denoiser.fewest_steps

    @property
    def words(self) -> Sequence[str]:
        """The model's words."""
        return self.denoiser.words

    @property
    def word_positions(self) -> int:
        """The model's number of word positions."""
        return self.denoiser.word_positions

    @property
    def device(self) -> torch.device:
        """The device of the model."""
        return torch.device(getattr(self.denoiser, "device", "cpu"))

    def encode(self, images: torch.Tensor) -> torch.Tensor:
        """Encode as the model does."""
        return self.denoiser.encode(images)

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        """Decode as the model does."""
        return self.denoiser.decode(latents)

    def condition(self, prompts: Sequence[str]) -> PromptEmbeds:
        """Condition as the model does, unless the mitigation changes prompts."""
        return self.denoiser.condition(prompts)

    def characters_read(self, prompt: str) -> dict[str, int]:
        """Count the characters read as the model does."""
        return self.denoiser.characters_read(prompt)

    def cut_tokens(self, prompt: str) -> dict[str, int]:
        """Count cut tokens as the model does."""
        return self.denoiser.cut_tokens(prompt)

    def token_spans(self, prompt: str) -> dict[str, list[tuple[int, int, int]]]:
        """Find token spans as the model does."""
        return self.denoiser.token_spans(prompt)

    def condition_words(self, weights: torch.Tensor) -> PromptEmbeds:
        """Condition on words as the model does."""
        return self.denoiser.condition_words(weights)

    def null_condition(self) -> PromptEmbeds:
        """Return the null condition as the model does."""
        return self.denoiser.null_condition()

    def start_condition(self) -> PromptEmbeds:
        """Return the start condition as the model does."""
        return self.denoiser.start_condition()

    def predict(self, noisy: torch.Tensor, timesteps: torch.Tensor, prompt_embeds: PromptEmbeds) -> Prediction:
        """Predict as the model does."""
        return self.denoiser.predict(noisy, timesteps, prompt_embeds)

    def spare_memory(self) -> bool:
        """Spare memory as the model does."""
        return self.denoiser.spare_memory()

    def sample(
        self,
        prompt_embeds: PromptEmbeds,
        seeds: Sequence[int],
        *,
        guidance_scale: float,
        num_inference_steps: int,
        latents: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Sample as the model does, unless the mitigation changes sampling."""
        return self.denoiser.sample(
            prompt_embeds, seeds, guidance_scale=guidance_scale, num_inference_steps=num_inference_steps,
            latents=latents,
        )  # fmt: skip
