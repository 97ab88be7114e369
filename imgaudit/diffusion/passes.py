"""The passes that an audit makes of a model, over noise, so that they can be timed and their memory counted."""

import torch

from imgaudit.diffusion.denoiser import Denoiser, PromptEmbeds

GUIDANCE = 3.0
"""A guidance scale; all above 1 cost the same."""


class Passes:
    """Passes of any number of samples, under the condition that inversions start from."""

    def __init__(self, denoiser: Denoiser) -> None:
        self.denoiser = denoiser
        self.device = torch.device(getattr(denoiser, "device", "cpu"))
        """Device of the model."""
        self._start = denoiser.start_condition()

    def _inputs(self, count: int) -> tuple[torch.Tensor, torch.Tensor, PromptEmbeds]:
        noise = torch.randn((count, *self.denoiser.latent_shape), generator=torch.Generator().manual_seed(0))
        timesteps = (torch.arange(count) * self.denoiser.schedule.num_train_timesteps) // count
        return noise, timesteps, self._start.repeat(count)

    @torch.no_grad()
    def forward(self, count: int) -> None:
        """Pass through the network, without gradients."""
        self.denoiser.predict(*self._inputs(count))

    def backward(self, count: int) -> None:
        """Pass through the network forward, and backward to the prompt embeddings."""
        noise, timesteps, condition = self._inputs(count)
        streams = {name: one.to(self.device).requires_grad_(True) for name, one in condition.streams.items()}
        output = self.denoiser.predict(noise.to(self.device), timesteps, condition.with_streams(streams)).output
        torch.autograd.grad(output.square().sum(), list(streams.values()))

    def decode(self, count: int) -> None:
        """Pass latents through the autoencoder."""
        self.denoiser.decode(self._inputs(count)[0])

    def encode(self, count: int) -> None:
        """Pass images through the autoencoder."""
        self.denoiser.encode(torch.zeros(count, 3, self.denoiser.resolution, self.denoiser.resolution))

    def sample(self, count: int, steps: int, *, guided: bool) -> torch.Tensor:
        """Generate whole images (N, 3, H, W), on the CPU."""
        return self.denoiser.sample(
            self._start.repeat(count),
            range(count),
            guidance_scale=GUIDANCE if guided else 1.0,
            num_inference_steps=steps,
        )

    def synchronize(self) -> None:
        """Wait until everything is computed."""
        if self.device.type != "cpu":
            getattr(torch, self.device.type).synchronize()
