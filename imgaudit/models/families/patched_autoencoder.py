"""Autoencoders whose latents are normalised in squares of two by two, by the running statistics of a batch norm."""

import math
from typing import Any, ClassVar

import torch

from imgaudit.exceptions import ModelRefusedError
from imgaudit.models.families.transformer import TransformerDenoiser

SQUARE = 2
"""Side of the squares of the autoencoder's latents that become the channels of one place."""


class PatchedAutoencoderDenoiser(TransformerDenoiser):
    """A pipeline around FLUX.2's autoencoder; outside of it latents are (N, 4 C, h/2, w/2), normalised.

    Noise is drawn in this form by the pipelines, and each of the 4 C channels has a mean and a deviation of its own.
    """

    squares_first: ClassVar[bool] = False
    """Whether the places within a square come before the autoencoder's channels, in the batch norm as well."""

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
        return self._join_squares(super()._encode_raw(vae, images))

    def _decode_raw(self, vae: Any, latents: torch.Tensor) -> torch.Tensor:
        return super()._decode_raw(vae, self._split_squares(latents))

    def _join_squares(self, latents: torch.Tensor) -> torch.Tensor:
        """Make (N, 4 C, h/2, w/2) of the autoencoder's latents (N, C, h, w), in the batch norm's order."""
        squares = latents.unflatten(3, (-1, SQUARE)).unflatten(2, (-1, SQUARE))
        order = (0, 3, 5, 1, 2, 4) if self.squares_first else (0, 1, 3, 5, 2, 4)
        return squares.permute(order).flatten(1, 3)

    def _split_squares(self, latents: torch.Tensor) -> torch.Tensor:
        """Undo `_join_squares`."""
        if self.squares_first:
            squares = latents.unflatten(1, (SQUARE, SQUARE, -1)).permute(0, 3, 4, 1, 5, 2)
        else:
            squares = latents.unflatten(1, (-1, SQUARE, SQUARE)).permute(0, 1, 4, 2, 5, 3)
        return squares.flatten(4, 5).flatten(2, 3)

    def _unpacked(self, latents: torch.Tensor, height: int, width: int) -> torch.Tensor:
        """Return tokens (N, height * width, C) as squares (N, C, height, width)."""
        return latents.transpose(1, 2).unflatten(2, (height, width))
