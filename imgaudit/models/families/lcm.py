"""Latent consistency models: Stable Diffusion 1.x distilled to few steps and to a guidance scale that is embedded."""

from typing import Any

import torch

from imgaudit.exceptions import ModelRefusedError
from imgaudit.models.families.unet import UNetDenoiser


class ConsistencyDenoiser(UNetDenoiser):
    """A LatentConsistencyModelPipeline as a Denoiser: it makes one pass a step, and has no null branch."""

    def __init__(self, pipeline: Any, fingerprint: str, device: torch.device | str = "cpu") -> None:
        """Freeze a pipeline and move it to a device.

        Raises ModelRefusedError as Stable Diffusion's adapter does, and for a UNet that embeds no guidance scale.
        """
        if pipeline.unet.config.time_cond_proj_dim is None:
            raise ModelRefusedError(
                "the UNet's time_cond_proj_dim is missing, but a LatentConsistencyModelPipeline tells the UNet the "
                "guidance scale: name StableDiffusionPipeline in model_index.json if it was distilled without"
            )
        super().__init__(pipeline, fingerprint, device)
