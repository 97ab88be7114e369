"""HiDream-I1: two CLIP vectors, T5's states and all layers of Llama's, read by experts that each token chooses."""

from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch
from diffusers import UniPCMultistepScheduler
from diffusers.models.transformers.transformer_hidream_image import MOEFeedForwardSwiGLU

from imgaudit.diffusion.denoiser import PromptEmbeds
from imgaudit.diffusion.schedules import FlowSchedule, Schedule
from imgaudit.models.families.flow_solver import refuse_dynamic_shift, refuse_other_paths
from imgaudit.models.families.transformer import TransformerDenoiser, mark_all_free, refuse_no_shift, spread_rows


class HiDreamDenoiser(TransformerDenoiser):
    """A HiDreamImagePipeline as a Denoiser.

    Streams: "t5", T5's states; "llama", the states of all layers of Llama side by side; and "pooled", both CLIP vectors
    as one token. The network sees the padding of either text, and gives texts no places. Which experts a token goes to
    is decided anew at every pass; gradients are those of the experts that were chosen, and of their weights.
    """

    max_sequence_length = 128

    def __init__(self, pipeline: Any, fingerprint: str, device: torch.device | str = "cpu") -> None:
        """Freeze a pipeline and move it to a device.

        Raises ModelRefusedError as the other transformers do, for another solver than along flows, and for an
        autoencoder that names no shift.
        """
        super().__init__(pipeline, fingerprint, device)
        refuse_no_shift(pipeline)
        self._experts = [part for part in self.network.modules() if isinstance(part, MOEFeedForwardSwiGLU)]
        for part in self._experts:
            part._force_inference_output = False

    def _read_schedule(self, scheduler: Any) -> Schedule:
        if isinstance(scheduler, UniPCMultistepScheduler):
            refuse_dynamic_shift(scheduler)
            refuse_other_paths(scheduler, "UniPC")
            return FlowSchedule(int(scheduler.config.num_train_timesteps))
        return super()._read_schedule(scheduler)

    @torch.no_grad()
    def condition(self, prompts: Sequence[str]) -> PromptEmbeds:
        """Encode as the pipeline does; all positions are free."""
        t5, _, llama, _, pooled, _ = self.pipeline.encode_prompt(
            prompt=list(prompts), device=self.device, do_classifier_free_guidance=False,
            max_sequence_length=self.max_sequence_length,
        )  # fmt: skip
        streams = {"t5": t5.float(), "llama": llama.float().movedim(0, 2).flatten(2), "pooled": pooled.float()[:, None]}
        return PromptEmbeds(streams, dict(zip(streams, mark_all_free(*streams.values()), strict=True)))

    def start_condition(self) -> PromptEmbeds:
        """Return the empty prompt, with the rows of padding moved apart, in each layer by its own size."""
        null = self.null_condition()
        layers = null.streams["llama"].unflatten(2, (self._layers, -1)).unbind(2)
        # The beginning of a text has states that are far larger than all others.
        apart = [torch.cat([layer[:, :1], spread_rows(layer[:, 1:])], dim=1) for layer in layers]
        llama = torch.stack(apart, dim=2).flatten(2)
        return null.with_streams({**null.streams, "t5": spread_rows(null.streams["t5"]), "llama": llama})

    @property
    def _layers(self) -> int:
        return int(self.pipeline.text_encoder_4.config.num_hidden_layers)

    def _text_lengths(self) -> Mapping[str, tuple[Any, int]]:
        pipeline, most = self.pipeline, self.max_sequence_length
        return {
            "text_encoder": (pipeline.tokenizer, most),
            "text_encoder_2": (pipeline.tokenizer_2, most),
            "text_encoder_3": (pipeline.tokenizer_3, min(most, int(pipeline.tokenizer_3.model_max_length))),
            "text_encoder_4": (pipeline.tokenizer_4, min(most, int(pipeline.tokenizer_4.model_max_length))),
        }

    def _token_rows(self) -> Mapping[str, str]:
        rows = {"t5": "text_encoder_3"}
        # A tokenizer that fills up from the left puts a prompt's tokens elsewhere.
        return rows | ({"llama": "text_encoder_4"} if self.pipeline.tokenizer_4.padding_side == "right" else {})

    def _call(self, noisy: torch.Tensor, timesteps: torch.Tensor, prompt_embeds: PromptEmbeds) -> torch.Tensor:
        for part in self._experts:
            # In evaluation mode experts are computed without gradients, in training mode with the same result.
            part.training = torch.is_grad_enabled()
        text = self._prompt_arguments(prompt_embeds)
        output = self.pipeline.transformer(
            hidden_states=noisy,
            timesteps=(timesteps + 1).float(),
            encoder_hidden_states_t5=text["prompt_embeds_t5"],
            encoder_hidden_states_llama3=text["prompt_embeds_llama3"],
            pooled_embeds=text["pooled_prompt_embeds"],
        ).sample
        return cast(torch.Tensor, -output)

    def _prompt_arguments(self, prompt_embeds: PromptEmbeds) -> dict[str, torch.Tensor]:
        streams = prompt_embeds.streams
        return {
            "prompt_embeds_t5": streams["t5"],
            "prompt_embeds_llama3": streams["llama"].unflatten(2, (self._layers, -1)).movedim(2, 0),
            "pooled_prompt_embeds": streams["pooled"][:, 0],
        }
