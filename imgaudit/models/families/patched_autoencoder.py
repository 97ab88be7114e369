"""Autoencoders whose latents are normalised in squares of two by two, by the running statistics of a batch norm."""

import math
from typing import Any, cast

import torch

from imgaudit.exceptions import ModelRefusedError
from imgaudit.models.families.transformer import TransformerDenoiser

SQUARE = 2
"""Side of the squares of the autoencoder's latents that become the channels of one place."""


class PatchedAutoencoderDenoiser(TransformerDenoiser):
    """A pipeline around FLUX.2's autoencoder; outside of it latents are (N, 4 C, h/2, w/2), normalised.

    Noise is drawn in this form by the pipelines, and each of the 4 C channels has a mean and a deviation of its own.
    """

    def _channels(self, pipeline: Any) -> int:
        return int(pipeline.vae.config.latent_channels) * SQUARE**2

    def _side(self, pipeline: Any) -> int:
        return super()._side(pipeline) // SQUARE

    @property
    def resolution(self) -> int:
        """Side of the latents times the autoencoder's scale, and that of the squares."""
        return self.latent_shape[1] * SQUARE * int(self.pipeline.vae_scale_factor)

    def _factors(self) -> tuple[Any, Any]:
        vae = self.pipeline.vae
        deviation = torch.sqrt(vae.bn.running_var + vae.config.batch_norm_eps)
        # Where networks wait in main memory, so does the norm, which is no part of the autoencoder's passes.
        mean, deviation = (
            each.to(self.device, vae.dtype)[None, :, None, None] for each in (vae.bn.running_mean, deviation)
        )
        return 1 / deviation, mean

    def _refuse_factors(self) -> None:
        vae, channels = self.pipeline.vae, self._channels(self.pipeline)
        least = vae.config.batch_norm_eps
        if not isinstance(least, int | float) or not math.isfinite(least) or least < 0:
            raise ModelRefusedError(
                f"the autoencoder's batch_norm_eps is {least!r:.80}; expected a finite number of 0 or more"
            )
        if len(vae.bn.running_var) != channels:
            raise ModelRefusedError(
                f"the autoencoder's batch norm has {len(vae.bn.running_var)} channels; expected {channels}, those of "
                f"squares of {SQUARE} x {SQUARE} latents"
            )

    def _refuse_weights(self, name: str, network: Any) -> None:
        super()._refuse_weights(name, network)
        if name == "vae" and not bool((network.bn.running_var + network.config.batch_norm_eps > 0).all()):
            raise ModelRefusedError("the autoencoder's batch norm has variances that are not above 0")

    def _encode_raw(self, vae: Any, images: torch.Tensor) -> torch.Tensor:
        return cast(torch.Tensor, self.pipeline._patchify_latents(super()._encode_raw(vae, images)))

    def _decode_raw(self, vae: Any, latents: torch.Tensor) -> torch.Tensor:
        return super()._decode_raw(vae, self.pipeline._unpatchify_latents(latents))
