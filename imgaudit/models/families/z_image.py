"""Z-Image: one list of tensors of several lengths for the prompts, time from noise to image, and a negated output."""

from collections.abc import Sequence
from typing import Any

import torch

from imgaudit.diffusion.denoiser import PromptEmbeds
from imgaudit.exceptions import ModelRefusedError
from imgaudit.models.families.padded_chat import PaddedChatDenoiser, fill_up_rows
from imgaudit.models.families.transformer import refuse_no_shift

PATCH = 2
"""Side of the squares of latents that the pipeline has the network make one token of."""

PLACES_BESIDE_TEXT = 2
"""Places on the first axis besides those of a text: they are counted from 1, and the image has the one after them."""


class ZImageDenoiser(PaddedChatDenoiser):
    """A ZImagePipeline as a Denoiser.

    Stream: "text", the last layer but one of the chat model, filled up with zeros that the "mask" hides; the network
    is given the rows before them alone. The guidance scale is the usual one, and the pipeline's is one lower.
    """

    guidance_offset = 1.0

    def _refuse_sizes(self, pipeline: Any) -> None:
        config = pipeline.transformer.config
        if config.siglip_feat_dim is not None:
            raise ModelRefusedError(
                f"the transformer's siglip_feat_dim is {config.siglip_feat_dim!r:.80}: it takes images besides text; "
                "only plain text-to-image models can be audited"
            )
        refuse_no_shift(pipeline)
        if list(config.all_patch_size) != [PATCH] or list(config.all_f_patch_size) != [1]:
            raise ModelRefusedError(
                f"the transformer's all_patch_size is {config.all_patch_size!r:.80} and its all_f_patch_size "
                f"{config.all_f_patch_size!r:.80}; expected [{PATCH}] and [1]"
            )
        super()._refuse_sizes(pipeline)
        side = self._side(pipeline) // PATCH
        wanted = [self.max_sequence_length + PLACES_BESIDE_TEXT, side, side]
        if any(there < needed for there, needed in zip(config.axes_lens, wanted, strict=True)):
            raise ModelRefusedError(
                f"the transformer's axes_lens is {config.axes_lens!r:.80}; expected at least {wanted}, the places of "
                "a text and of an image"
            )

    def _side(self, pipeline: Any) -> int:
        named = super()._side(pipeline)
        if hasattr(pipeline, "default_sample_size"):
            return named
        # The pipeline makes 1,024 pixels whatever the model, so a smaller one is known by the places that it has.
        _, rows, columns = pipeline.transformer.config.axes_lens
        return min(named, PATCH * min(rows, columns))

    def _patch(self, pipeline: Any) -> int:
        return PATCH

    def _fill_in(self, prompt: str) -> str:
        return self._fill_in_as_user(prompt, enable_thinking=True)

    @torch.no_grad()
    def _encode(self, prompts: Sequence[str]) -> tuple[torch.Tensor, torch.Tensor]:
        """Return (N, 512, width) states and (N, 512) mask of 0 and 1."""
        listed, _ = self.pipeline.encode_prompt(
            # A list of its own: the pipeline writes the filled-in templates into it.
            prompt=list(prompts), device=self.device, do_classifier_free_guidance=False,
            max_sequence_length=self.max_sequence_length,
        )  # fmt: skip
        return fill_up_rows(listed, self.max_sequence_length)

    def _listed(self, prompt_embeds: PromptEmbeds) -> list[torch.Tensor]:
        """Return the rows that are seen of each condition, as the pipeline has them."""
        lengths = prompt_embeds.extras["mask"].sum(dim=1).tolist()
        return [text[:length] for text, length in zip(prompt_embeds.streams["text"], lengths, strict=True)]

    def _call(self, noisy: torch.Tensor, timesteps: torch.Tensor, prompt_embeds: PromptEmbeds) -> torch.Tensor:
        # Latents are films of one frame; time runs from 0 at the noise to 1 at the image, and the flow against ours.
        time = (1000 - (timesteps + 1)) / 1000
        output = self.pipeline.transformer(list(noisy[:, :, None]), time, self._listed(prompt_embeds)).sample
        return -torch.stack(output)[:, :, 0]

    def _prompt_arguments(self, prompt_embeds: PromptEmbeds) -> dict[str, Any]:
        return {"prompt_embeds": self._listed(prompt_embeds)}
