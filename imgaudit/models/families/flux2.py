"""FLUX.2 dev and klein: three layers of a chat model side by side, and noise among normalised squares of latents."""

from collections.abc import Sequence
from typing import Any, ClassVar, cast

import torch
from diffusers.pipelines.flux2.pipeline_flux2 import format_input

from imgaudit.diffusion.denoiser import PromptEmbeds
from imgaudit.exceptions import ModelRefusedError
from imgaudit.models.families.chat_text import ChatTextDenoiser
from imgaudit.models.families.flux import GUIDANCE
from imgaudit.models.families.patched_autoencoder import PatchedAutoencoderDenoiser
from imgaudit.models.families.transformer import GUIDANCE_DISTILLED, mark_all_free


class AnyFlux2Denoiser(ChatTextDenoiser, PatchedAutoencoderDenoiser):
    """What both pipelines share.

    Stream: "text", all rows of the template filled up to 512 tokens. Nothing hides the padding from the network, which
    numbers the rows, so all are free and no two have the same gradient.
    """

    embeds_guidance: ClassVar[bool]
    """Whether the guidance scale is an input of the network in this pipeline's models."""

    def __init__(self, pipeline: Any, fingerprint: str, device: torch.device | str = "cpu") -> None:
        """Freeze a pipeline and move it to a device.

        Raises ModelRefusedError as the other transformers do, and for a transformer that takes guidance as an input
        where the pipeline gives none, or the other way round.
        """
        if bool(pipeline.transformer.config.guidance_embeds) != self.embeds_guidance:
            raise ModelRefusedError(
                f"the transformer's guidance_embeds is {pipeline.transformer.config.guidance_embeds!r:.80}; expected "
                f"{self.embeds_guidance} of a {type(pipeline).__name__}"
            )
        super().__init__(pipeline, fingerprint, device)

    @torch.no_grad()
    def condition(self, prompts: Sequence[str]) -> PromptEmbeds:
        """Encode as the pipeline does; all positions are free."""
        embeds, _ = self.pipeline.encode_prompt(
            prompt=list(prompts), device=self.device, num_images_per_prompt=1,
            max_sequence_length=self.max_sequence_length,
        )  # fmt: skip
        text = embeds.float()
        return PromptEmbeds({"text": text}, dict(zip(["text"], mark_all_free(text), strict=True)))

    def _call(self, noisy: torch.Tensor, timesteps: torch.Tensor, prompt_embeds: PromptEmbeds) -> torch.Tensor:
        rows, columns = noisy.shape[-2:]
        text = prompt_embeds.streams["text"]
        text_ids, image_ids = self._find_places(text.shape[1], rows, columns)
        output = self.pipeline.transformer(
            hidden_states=self.pipeline._pack_latents(noisy),
            timestep=self._sigmas(timesteps, noisy.dtype),
            guidance=torch.full_like(timesteps, GUIDANCE, dtype=torch.float32) if self.embeds_guidance else None,
            encoder_hidden_states=text,
            txt_ids=text_ids,
            img_ids=image_ids,
        ).sample
        return self._unpacked(output, rows, columns)

    def _find_places(self, tokens: int, rows: int, columns: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the places of the tokens of a text and of an image, as the pipeline numbers them, on the device."""
        known = self.__dict__.setdefault("_places", {})
        key = tokens, rows, columns
        if key not in known:
            # Made in main memory; kept, so that they are copied to the device once and not at every pass.
            text_ids = self.pipeline._prepare_text_ids(torch.empty(1, tokens, 1))
            image_ids = self.pipeline._prepare_latent_ids(torch.empty(1, 1, rows, columns))
            known[key] = text_ids.to(self.device), image_ids.to(self.device)
        return cast(tuple[torch.Tensor, torch.Tensor], known[key])

    def _prompt_arguments(self, prompt_embeds: PromptEmbeds) -> dict[str, torch.Tensor]:
        return {"prompt_embeds": prompt_embeds.streams["text"]}


class Flux2Denoiser(AnyFlux2Denoiser):
    """A Flux2Pipeline as a Denoiser: a message to the system before every prompt; `guidance_scale` is embedded."""

    embeds_guidance = True

    @property
    def is_guided_by_null(self) -> bool:
        """False: the scale is embedded."""
        return False

    @property
    def no_null(self) -> str:
        """The model is distilled for guidance."""
        return GUIDANCE_DISTILLED

    def _fill_in(self, prompt: str) -> str:
        [messages] = format_input([prompt], self.pipeline.system_message)
        return cast(str, self.pipeline.tokenizer.apply_chat_template(messages, tokenize=False))


class Flux2KleinDenoiser(AnyFlux2Denoiser):
    """A Flux2KleinPipeline as a Denoiser: guided away from the empty prompt, unless it is distilled to a few steps."""

    embeds_guidance = False

    def _fill_in(self, prompt: str) -> str:
        return self._fill_in_as_user(prompt, enable_thinking=False)
