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
    """Everything as the model itself has it, but for what a mitigation overrides: `condition`, `sample`, or both.

    The fingerprint is another one, so that null banks and runs of the bare model are not mixed with it.
    """

    def __init__(self, denoiser: Denoiser, identity: str) -> None:
        """identity: the mitigation with every setting, as text."""
        self.denoiser = denoiser
        self.identity = identity
        self.fingerprint = hashlib.sha256(f"{denoiser.fingerprint} {identity}".encode()).hexdigest()

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        """The model's."""
        return self.denoiser.latent_shape

    @property
    def resolution(self) -> int:
        """The model's."""
        return self.denoiser.resolution

    @property
    def schedule(self) -> Schedule:
        """The model's."""
        return self.denoiser.schedule

    @property
    def prediction_type(self) -> str:
        """The model's."""
        return self.denoiser.prediction_type

    @property
    def network_evaluations(self) -> int:
        """The model's, with what the mitigation spent."""
        return self.denoiser.network_evaluations

    @property
    def no_null(self) -> str:
        """The model's."""
        return self.denoiser.no_null

    @property
    def fewest_steps(self) -> int:
        """The model's."""
        return self.denoiser.fewest_steps

    @property
    def words(self) -> Sequence[str]:
        """The model's."""
        return self.denoiser.words

    @property
    def word_positions(self) -> int:
        """The model's."""
        return self.denoiser.word_positions

    @property
    def device(self) -> torch.device:
        """The device of the model."""
        return torch.device(getattr(self.denoiser, "device", "cpu"))

    def encode(self, images: torch.Tensor) -> torch.Tensor:
        """As the model does."""
        return self.denoiser.encode(images)

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        """As the model does."""
        return self.denoiser.decode(latents)

    def condition(self, prompts: Sequence[str]) -> PromptEmbeds:
        """As the model does, unless the mitigation changes prompts."""
        return self.denoiser.condition(prompts)

    def characters_read(self, prompt: str) -> dict[str, int]:
        """As the model does."""
        return self.denoiser.characters_read(prompt)

    def cut_tokens(self, prompt: str) -> dict[str, int]:
        """As the model does."""
        return self.denoiser.cut_tokens(prompt)

    def token_spans(self, prompt: str) -> dict[str, list[tuple[int, int, int]]]:
        """As the model does."""
        return self.denoiser.token_spans(prompt)

    def condition_words(self, weights: torch.Tensor) -> PromptEmbeds:
        """As the model does."""
        return self.denoiser.condition_words(weights)

    def null_condition(self) -> PromptEmbeds:
        """As the model does."""
        return self.denoiser.null_condition()

    def start_condition(self) -> PromptEmbeds:
        """As the model does."""
        return self.denoiser.start_condition()

    def predict(self, noisy: torch.Tensor, timesteps: torch.Tensor, prompt_embeds: PromptEmbeds) -> Prediction:
        """As the model does."""
        return self.denoiser.predict(noisy, timesteps, prompt_embeds)

    def spare_memory(self) -> bool:
        """As the model does."""
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
        """As the model does, unless the mitigation changes sampling."""
        return self.denoiser.sample(
            prompt_embeds, seeds, guidance_scale=guidance_scale, num_inference_steps=num_inference_steps,
            latents=latents,
        )  # fmt: skip
