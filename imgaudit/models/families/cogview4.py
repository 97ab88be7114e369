"""CogView4: a language model's last state but one, padding that is seen, and times that no shift of noise changes."""

import math
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, cast

import torch
from diffusers.pipelines.cogview4.pipeline_cogview4 import calculate_shift
from torch.nn.functional import pad

from imgaudit.diffusion.denoiser import PromptEmbeds
from imgaudit.diffusion.schedules import Schedule
from imgaudit.exceptions import ModelRefusedError
from imgaudit.models.families.transformer import TransformerDenoiser, spread_rows

OTHER_SIGMAS = ("shift_terminal", "use_karras_sigmas", "use_exponential_sigmas", "use_beta_sigmas")
"""Settings of the scheduler by which noise and time no longer belong together in one way."""


class CogView4Denoiser(TransformerDenoiser):
    """A CogView4Pipeline as a Denoiser.

    Stream: "text". The pipeline fills texts up on the left to a multiple of 16 tokens, and both networks see what
    it filled in; so a text is encoded by itself, never beside a longer one, and the network reads its rows and no more:
    the "mask" that rides along says which. Free are as many rows as the empty prompt has.
    """

    shifts_latents = False
    # Half of what the pipeline reads by default: sums of longer texts would fill the memory.
    max_sequence_length = 512

    def _read_schedule(self, scheduler: Any) -> Schedule:
        schedule = super()._read_schedule(scheduler)
        for setting in OTHER_SIGMAS:
            if scheduler.config.get(setting):
                raise ModelRefusedError(
                    f"the scheduler sets {setting!r}, with which it is unknown what time the network is told at which "
                    "noise; delete the key"
                )
        return schedule

    def _side(self, pipeline: Any) -> int:
        return cast(int, pipeline.transformer.config.sample_size)

    @torch.no_grad()
    def _encode(self, prompts: Sequence[str]) -> list[torch.Tensor]:
        """Return (rows, width) states of each prompt."""
        return [
            self.pipeline.encode_prompt(
                [prompt], do_classifier_free_guidance=False, device=self.device,
                max_sequence_length=self.max_sequence_length,
            )[0][0].float()
            for prompt in prompts
        ]  # fmt: skip

    def _build(self, states: Sequence[torch.Tensor]) -> PromptEmbeds:
        length = self.max_sequence_length
        text = torch.stack([pad(rows, (0, 0, 0, length - len(rows))) for rows in states])
        seen = torch.tensor([len(rows) for rows in states], device=text.device)
        mask = (torch.arange(length, device=text.device) < seen[:, None]).long()
        return PromptEmbeds({"text": text}, {"text": torch.arange(length) < self._empty_rows}, {"mask": mask})

    @cached_property
    def _empty_rows(self) -> int:
        return len(self._encode([""])[0])

    def condition(self, prompts: Sequence[str]) -> PromptEmbeds:
        """Encode each prompt as the pipeline does one alone; as many rows are free as the empty prompt has."""
        return self._build(self._encode(prompts))

    def unmasked_condition(self, prompts: Sequence[str]) -> PromptEmbeds:
        """Encode prompts and keep the last rows, as many as the empty prompt has: a row more is another condition."""
        return self._build([rows[-self._empty_rows :] for rows in self._encode(prompts)])

    def start_condition(self) -> PromptEmbeds:
        """Return the empty prompt, with its rows moved apart: those that fill it up are all the same."""
        null, rows = self.null_condition(), self._empty_rows
        text = null.streams["text"]
        return null.with_streams({"text": torch.cat([spread_rows(text[:, :rows]), text[:, rows:]], dim=1)})

    def _text_lengths(self) -> Mapping[str, tuple[Any, int]]:
        return {"text_encoder": (self.pipeline.tokenizer, self.max_sequence_length)}

    def _shift(self, height: int, width: int) -> float:
        """Return s, by which the scheduler shifts the noise of latents of this size: sigma = s / (s + 1/u - 1)."""
        config = self.pipeline.scheduler.config
        if not config.get("use_dynamic_shifting"):
            return float(config.shift)
        tokens = height * width // self.pipeline.transformer.config.patch_size**2
        mu = float(calculate_shift(tokens, config.base_image_seq_len, config.base_shift, config.max_shift))
        return mu if config.time_shift_type == "linear" else math.exp(mu)

    def _call(self, noisy: torch.Tensor, timesteps: torch.Tensor, prompt_embeds: PromptEmbeds) -> torch.Tensor:
        steps, (height, width) = self.schedule.num_train_timesteps, noisy.shape[-2:]
        # The pipeline shifts the noise, and tells the network the time that it had before.
        noise = (timesteps + 1).double() / steps
        time = (steps * noise / (noise + self._shift(height, width) * (1 - noise))).float()
        scale = self.pipeline.vae_scale_factor
        size = noisy.new_tensor([[height * scale, width * scale]]).expand(len(noisy), -1)
        # A mask would not keep the network from seeing what it hides: texts of one length pass together.
        parts = [
            (rows, self.pipeline.transformer(
                noisy[rows], encoder_hidden_states=text, timestep=time[rows], original_size=size[rows],
                target_size=size[rows], crop_coords=torch.zeros_like(size[rows]),
            ).sample)
            for rows, text in _split_by_length(prompt_embeds)
        ]  # fmt: skip
        order = torch.cat([rows for rows, _ in parts]).argsort()
        return torch.cat([part for _, part in parts])[order]

    def _prompt_arguments(self, prompt_embeds: PromptEmbeds) -> dict[str, torch.Tensor]:
        [(_, text)] = _split_by_length(prompt_embeds)
        return {"prompt_embeds": text}

    def sample(self, prompt_embeds: PromptEmbeds, seeds: Sequence[int], **options: Any) -> torch.Tensor:
        """Call the pipeline once for each length of text; images on the CPU."""
        latents = options.pop("latents", None)
        images: dict[int, torch.Tensor] = {}
        for rows, _ in _split_by_length(prompt_embeds):
            own = None if latents is None else latents[rows.to(latents.device)]
            part = super().sample(prompt_embeds.select(rows), [seeds[row] for row in rows], latents=own, **options)
            images |= dict(zip(rows.tolist(), part, strict=True))
        return torch.stack([images[row] for row in range(len(seeds))])


def _split_by_length(prompt_embeds: PromptEmbeds) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Return, for every number of rows that the mask shows, the conditions (n,) that have as many, and these rows."""
    text, seen = prompt_embeds.streams["text"], prompt_embeds.extras["mask"].sum(dim=1)
    groups = [(int(length), (seen == length).nonzero()[:, 0].to(text.device)) for length in seen.unique()]
    return [(rows, text[rows, :length]) for length, rows in groups]
