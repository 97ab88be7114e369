"""The optimal denoiser of a finite set of points: exact answers on paper, and a perfect memoriser.

For data that is a finite set {p_k} with prior weights w_k, the posterior mean of x0 given x_t is

    E[x0 | x_t] = sum_k softmax_k( log w_k - |x_t - sqrt(abar) p_k|^2 / (2 (1 - abar)) ) p_k

The condition is the logits log w; the null condition is equal weights. Inverting it therefore means finding the point.
"""

import hashlib
import re
from collections.abc import Sequence

import torch

from imgaudit.diffusion.denoiser import PromptEmbeds
from imgaudit.diffusion.schedules import NoiseSchedule, Prediction
from imgaudit.diffusion.seeds import draw_noise


class FiniteSetDenoiser:
    """A Denoiser whose images are its latents and whose prompts are the numbers of its points.

    >>> points = torch.stack([torch.ones(3, 4, 4), -torch.ones(3, 4, 4)])
    >>> model = FiniteSetDenoiser(points)
    >>> images = model.sample(model.condition(["1"]), [0], guidance_scale=1.0, num_inference_steps=10)
    >>> float((images[0] - points[1]).abs().max()) < 0.05
    True
    """

    prediction_type = "epsilon"
    fewest_steps = 1

    def __init__(self, points: torch.Tensor, num_train_timesteps: int = 100, sharpness: float = 12.0) -> None:
        """points: (K, 3, H, W) in [-1, 1]; sharpness: logit that a prompt gives to the point it names."""
        self.points = points
        self.sharpness = sharpness
        betas = torch.linspace(0.0009**0.5, 0.12**0.5, num_train_timesteps, dtype=torch.float64) ** 2
        self.schedule = NoiseSchedule(torch.cumprod(1 - betas, dim=0))
        self.network_evaluations = 0
        self.fingerprint = hashlib.sha256(points.numpy().tobytes()).hexdigest()

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        """The shape of one point."""
        _, channels, height, width = self.points.shape
        return channels, height, width

    @property
    def resolution(self) -> int:
        """Side of the points."""
        return self.points.shape[-1]

    def encode(self, images: torch.Tensor) -> torch.Tensor:
        """Return the images: this model has no autoencoder."""
        return images

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        """Return the latents, clipped."""
        return latents.clamp(-1, 1)

    def condition(self, prompts: Sequence[str]) -> PromptEmbeds:
        """Put weight on every point whose number is a word of the prompt; other words do nothing."""
        logits = torch.zeros(len(prompts), 1, len(self.points), dtype=self.points.dtype)
        for row, prompt in enumerate(prompts):
            for word in prompt.split():
                if self._names(word):
                    logits[row, 0, int(word)] += self.sharpness
        return PromptEmbeds({"text": logits}, {"text": torch.ones(1, dtype=torch.bool)})

    def _names(self, word: str) -> bool:
        return word.isdecimal() and int(word) < len(self.points)

    @property
    def words(self) -> Sequence[str]:
        """The numbers of the points."""
        return [str(number) for number in range(len(self.points))]

    word_positions = 1

    def condition_words(self, weights: torch.Tensor) -> PromptEmbeds:
        """Mix logits, which are linear in the words."""
        logits = self.sharpness * weights.to(self.points.dtype).sum(dim=1, keepdim=True)
        return PromptEmbeds({"text": logits}, {"text": torch.ones(1, dtype=torch.bool)})

    no_null = ""

    def characters_read(self, prompt: str) -> dict[str, int]:
        """Return nothing: no prompt is cut."""
        return {}

    def cut_tokens(self, prompt: str) -> dict[str, int]:
        """Return nothing: no prompt is cut."""
        return {}

    def token_spans(self, prompt: str) -> dict[str, list[tuple[int, int, int]]]:
        """Return the words that name a point; all share the one row of logits."""
        words = [word for word in re.finditer(r"\S+", prompt) if self._names(word.group())]
        return {"text": [(*word.span(), 0) for word in words]}

    vocabulary: Sequence[str] = ()

    def unmasked_condition(self, prompts: Sequence[str]) -> PromptEmbeds:
        """Return what `condition` does: there are no masks."""
        return self.condition(prompts)

    def null_condition(self) -> PromptEmbeds:
        """Return equal weights."""
        return self.condition([""])

    def start_condition(self) -> PromptEmbeds:
        """Return equal weights."""
        return self.null_condition()

    def predict(self, noisy: torch.Tensor, timesteps: torch.Tensor, prompt_embeds: PromptEmbeds) -> Prediction:
        """Return the exact posterior mean, as noise."""
        logits = prompt_embeds.streams["text"][:, 0]
        self.network_evaluations += len(noisy) * (2 if logits.requires_grad and torch.is_grad_enabled() else 1)
        signal, spread = self.schedule.coefficients(timesteps, noisy)
        # |x - a p|^2 without |x|^2, and less the smallest: softmax does not see what is the same for all points. In
        # float64, as the terms are much larger than their sum.
        x, points = noisy.flatten(1).double(), self.points.flatten(1).double()
        a, b = signal.reshape(-1, 1).double(), spread.reshape(-1, 1).double()
        distances = a**2 * points.square().sum(1) - 2 * a * (x @ points.T)
        further = (distances - distances.amin(dim=1, keepdim=True)) / (2 * b**2)
        weights = torch.softmax(logits - further.to(logits), dim=1)
        x0 = torch.einsum("nk,kchw->nchw", weights, self.points)
        return Prediction((noisy - signal * x0) / spread, noisy, timesteps, "epsilon", self.schedule)

    def spare_memory(self) -> bool:
        """Return False: there is nothing to spare."""
        return False

    @torch.no_grad()
    def sample(
        self,
        prompt_embeds: PromptEmbeds,
        seeds: Sequence[int],
        *,
        guidance_scale: float,
        num_inference_steps: int,
        latents: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Sample by deterministic DDIM (eta 0) with classifier-free guidance."""
        x = draw_noise(seeds, self.latent_shape).to(self.points) if latents is None else latents
        null = self.null_condition().repeat(len(x))
        times = torch.linspace(self.schedule.num_train_timesteps - 1, 0, num_inference_steps).round().long()
        for step, time in enumerate(times):
            timesteps = time.repeat(len(x))
            noise = self.predict(x, timesteps, prompt_embeds).noise()
            if guidance_scale > 1:
                base = self.predict(x, timesteps, null).noise()
                noise = base + guidance_scale * (noise - base)
            x0 = Prediction(noise, x, timesteps, "epsilon", self.schedule).x0()
            if step + 1 == len(times):
                return self.decode(x0)
            x = self.schedule.add_noise(x0, noise, times[step + 1].repeat(len(x)))
        return self.decode(x)
