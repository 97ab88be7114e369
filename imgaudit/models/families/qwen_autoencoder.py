"""Qwen-Image's autoencoder, which was made for films and scales latents channel by channel."""

import math
from typing import Any, cast

import torch

from imgaudit.exceptions import ModelRefusedError
from imgaudit.models.families.transformer import PackedDenoiser


class QwenAutoencoderDenoiser(PackedDenoiser):
    """A pipeline around an AutoencoderKLQwenImage, whose latents it packs two by two."""

    def _channels(self, pipeline: Any) -> int:
        return cast(int, pipeline.vae.config.z_dim)

    def _factors(self) -> tuple[Any, Any]:
        config = self.pipeline.vae.config
        mean, deviation = (
            torch.tensor(values, device=self.device, dtype=self.pipeline.vae.dtype)[None, :, None, None]
            for values in (config.latents_mean, config.latents_std)
        )
        return 1 / deviation, mean

    def _refuse_factors(self) -> None:
        config = self.pipeline.vae.config
        for name, values in (("latents_mean", config.latents_mean), ("latents_std", config.latents_std)):
            numbers = [value for value in values if isinstance(value, int | float) and math.isfinite(value)]
            if not len(numbers) == len(values) == config.z_dim or (name == "latents_std" and 0 in numbers):
                raise ModelRefusedError(
                    f"the autoencoder's {name} is {values!r:.80}; expected {config.z_dim} finite numbers, and no "
                    "deviation of 0"
                )

    # Images are films of one frame to this autoencoder.
    def _encode_raw(self, vae: Any, images: torch.Tensor) -> torch.Tensor:
        return super()._encode_raw(vae, images[:, :, None])[:, :, 0]

    def _decode_raw(self, vae: Any, latents: torch.Tensor) -> torch.Tensor:
        return super()._decode_raw(vae, latents[:, :, None])[:, :, 0]
