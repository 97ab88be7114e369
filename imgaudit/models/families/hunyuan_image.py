"""HunyuanImage 2.1: a language model's states, the bytes of quoted words beside them, and guidance by projection."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, cast

import torch
from torch.utils.checkpoint import checkpoint

from imgaudit.diffusion.denoiser import PromptEmbeds
from imgaudit.exceptions import ModelRefusedError
from imgaudit.models.families.grouped import GroupedDenoiser
from imgaudit.models.families.padded_text import fill_up
from imgaudit.models.families.short_template import ShortTemplateDenoiser


class HunyuanImageDenoiser(GroupedDenoiser, ShortTemplateDenoiser):
    """A HunyuanImagePipeline as a Denoiser.

    Words in quotation marks are read by a text encoder of their own. No prompt that says nothing has any, so that its
    states, "glyphs", ride along with their mask and are not inverted. `guidance_scale` is that of the guider's first
    steps; the further ones are guided by projection, with the scale that the model's files say.
    """

    max_sequence_length = 1000
    # Taken and left alone by models that embed no scale; the guiders have it.
    guidance_name = "distilled_guidance_scale"

    def __init__(self, pipeline: Any, fingerprint: str, device: torch.device | str = "cpu") -> None:
        """Freeze a pipeline and move it to a device.

        Raises ModelRefusedError as the other transformers do, for distilled models, and for one without a guider.
        """
        for switch in ("guidance_embeds", "use_meanflow"):
            if pipeline.transformer.config[switch]:
                raise ModelRefusedError(
                    f"the transformer sets {switch!r}, as the distilled model does, which has no null branch; audit "
                    "the model that it was made from"
                )
        if pipeline.guider is None:
            raise ModelRefusedError("the pipeline has no guider, so that its images are not those of this model")
        self._guiders = {name: getattr(pipeline, name) for name in ("guider", "ocr_guider")}
        super().__init__(pipeline, fingerprint, device)
        self._refuse_tokenizer()

    def _patch(self, pipeline: Any) -> int:
        if list(patch := pipeline.transformer.config.patch_size) != [1, 1]:
            raise ModelRefusedError(f"the transformer's patch_size is {patch!r:.80}; expected [1, 1]")
        return 1

    @property
    def _around(self) -> int:
        template, cut = self.pipeline.prompt_template_encode, self.pipeline.prompt_template_encode_start_idx
        return len(self.pipeline.tokenizer(template.format("")).input_ids) - int(cut)

    @torch.no_grad()
    def _encode(self, prompts: Sequence[str]) -> tuple[torch.Tensor, torch.Tensor]:
        """Return (N, 1000, width) states and (N, 1000) mask of 0 and 1."""
        none = torch.zeros(len(prompts), 1, 1)
        text, mask, _, _ = self.pipeline.encode_prompt(
            prompt=list(prompts), device=self.device, batch_size=len(prompts), prompt_embeds_2=none,
            prompt_embeds_mask_2=none[:, 0],
        )  # fmt: skip
        return fill_up(text, mask, self.max_sequence_length)

    def condition(self, prompts: Sequence[str]) -> PromptEmbeds:
        """Encode as the pipeline does; free are the first rows."""
        whole = super().condition(prompts)
        text, mask = whole.streams["text"], whole.extras["mask"]
        _, _, glyphs, shown = self.pipeline.encode_prompt(
            prompt=list(prompts), device=self.device, batch_size=len(prompts), prompt_embeds=text,
            prompt_embeds_mask=mask,
        )  # fmt: skip
        return PromptEmbeds(whole.streams, whole.free, {**whole.extras, "glyphs": glyphs.float(), "glyph_mask": shown})

    def unmasked_condition(self, prompts: Sequence[str]) -> PromptEmbeds:
        """Encode prompts and show as many rows of each as at the start, without any quoted words."""
        whole = super().unmasked_condition(prompts)
        null = self.null_condition().repeat(len(prompts)).extras
        return PromptEmbeds(whole.streams, whole.free, {**null, "mask": whole.extras["mask"]})

    def _text_lengths(self) -> Mapping[str, tuple[Any, int]]:
        return {"text_encoder": (self.pipeline.tokenizer, self.max_sequence_length - self._around)}

    def _kinds(self, prompt_embeds: PromptEmbeds) -> torch.Tensor:
        # The guider of a whole batch is chosen by whether any prompt in it has quoted words.
        return (prompt_embeds.extras["glyphs"] != 0).flatten(1).any(dim=1).long()

    def _call(self, noisy: torch.Tensor, timesteps: torch.Tensor, prompt_embeds: PromptEmbeds) -> torch.Tensor:
        given = self._prompt_arguments(prompt_embeds)
        # Without any quoted words their places are hidden, all of them, and so are left out.
        quoted = bool(given["prompt_embeds_mask_2"].any())
        output = self.pipeline.transformer(
            hidden_states=noisy,
            timestep=(timesteps + 1).to(noisy.dtype),
            encoder_hidden_states=given["prompt_embeds"],
            encoder_attention_mask=given["prompt_embeds_mask"],
            encoder_hidden_states_2=given["prompt_embeds_2"] if quoted else None,
            encoder_attention_mask_2=given["prompt_embeds_mask_2"] if quoted else None,
        ).sample
        return cast(torch.Tensor, output)

    def spare_memory(self) -> bool:
        """Checkpoint gradients with torch's own function: the network names arguments, which diffusers' refuses."""
        if self.network.is_gradient_checkpointing:
            return False
        self.network.enable_gradient_checkpointing(partial(checkpoint, use_reentrant=False))
        return True

    def _prompt_arguments(self, prompt_embeds: PromptEmbeds) -> dict[str, Any]:
        (text, mask), extras = self._seen(prompt_embeds), prompt_embeds.extras
        glyphs, shown = extras["glyphs"].to(text.dtype), extras["glyph_mask"]
        names = ("prompt_embeds", "prompt_embeds_mask", "prompt_embeds_2", "prompt_embeds_mask_2")
        return dict(zip(names, (text, mask, glyphs, shown), strict=True))

    def _sampling_arguments(self, prompt_embeds: PromptEmbeds, guidance_scale: float) -> dict[str, Any]:
        for name, guider in self._guiders.items():
            if guider is not None:
                setattr(self.pipeline, name, guider.new(guidance_scale=max(guidance_scale, 1.0)))
        return super()._sampling_arguments(prompt_embeds, guidance_scale)
