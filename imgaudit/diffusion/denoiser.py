"""The protocol through which every method sees a model, and the conditions it takes.

A method never imports diffusers. It can therefore be tested on a closed-form denoiser, and a new model family is one
adapter, never a second copy of a method.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import torch

from imgaudit.diffusion.schedules import Prediction, Schedule


@dataclass(frozen=True)
class PromptEmbeds:
    """A batch of conditions: what may be inverted, apart from what only rides along."""

    streams: Mapping[str, torch.Tensor]
    """Name to (N, tokens, width) float tensor: text encoder outputs (and pooled vectors, as one token)."""
    free: Mapping[str, torch.Tensor]
    """Name to (tokens,) bool tensor: positions that inversion may change. BOS is never free."""
    extras: Mapping[str, torch.Tensor] = field(default_factory=dict)
    """Masks, position ids, time ids, (N, ...): passed on to the network and never arithmetic."""

    def __len__(self) -> int:
        return len(next(iter(self.streams.values())))

    def select(self, rows: torch.Tensor | slice) -> "PromptEmbeds":
        """The conditions at `rows`, which may repeat."""
        return PromptEmbeds(
            {name: stream[rows] for name, stream in self.streams.items()},
            self.free,
            {name: extra[rows] for name, extra in self.extras.items()},
        )

    def repeat(self, count: int) -> "PromptEmbeds":
        """Each condition `count` times in a row."""
        return self.select(torch.arange(len(self)).repeat_interleave(count))

    @classmethod
    def concatenate(cls, conditions: Sequence["PromptEmbeds"]) -> "PromptEmbeds":
        """Conditions of one model in one batch, on the device of the first."""
        first = conditions[0]
        return cls(
            {
                name: torch.cat([one.streams[name].to(stream.device) for one in conditions])
                for name, stream in first.streams.items()
            },
            first.free,
            {
                name: torch.cat([one.extras[name].to(extra.device) for one in conditions])
                for name, extra in first.extras.items()
            },
        )

    def with_streams(self, streams: Mapping[str, torch.Tensor]) -> "PromptEmbeds":
        """The same masks and extras around other streams of the same shape."""
        return PromptEmbeds(streams, self.free, self.extras)

    def root_mean_square(self) -> dict[str, float]:
        """Per stream, over the free positions; of the start condition, what learning rates are measured in."""
        return {
            name: float(stream[:, self.free[name]].double().square().mean().sqrt())
            for name, stream in self.streams.items()
        }


class Denoiser(Protocol):
    """A text-to-image diffusion model, as the methods see it."""

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        """(C, h, w) of one latent."""

    @property
    def resolution(self) -> int:
        """Side of the square images the model makes, in pixels."""

    @property
    def schedule(self) -> Schedule:
        """The training schedule."""

    @property
    def prediction_type(self) -> str:
        """What `predict` returns raw: "epsilon", "v_prediction", "sample" or "flow"."""

    @property
    def network_evaluations(self) -> int:
        """Passes of one sample through the network so far; a backward pass (to inputs only) counts as one more."""

    @property
    def fingerprint(self) -> str:
        """SHA-256 that changes whenever a weight or a setting of the model changes."""

    def encode(self, images: torch.Tensor) -> torch.Tensor:
        """(N, 3, H, W) in [-1, 1] to scaled latents (N, C, h, w): the posterior's mode, never a sample."""

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        """Scaled latents to images (N, 3, H, W), clipped to [-1, 1]."""

    def condition(self, prompts: Sequence[str]) -> PromptEmbeds:
        """Text to conditions."""

    @property
    def no_null(self) -> str:
        """Why the model has no null branch to compare with (guidance-distilled, few-step); empty when it has one."""

    @property
    def fewest_steps(self) -> int:
        """Sampling steps that its scheduler needs at least."""

    def characters_read(self, prompt: str) -> dict[str, int]:
        """Per text encoder that cuts a prompt, how many of its characters it reads; without encoders that read all of
        it, and those whose tokenizer cannot tell."""

    def cut_tokens(self, prompt: str) -> dict[str, int]:
        """Per text encoder, how many tokens of a prompt it never sees, because it is too short; without zeros."""

    def token_spans(self, prompt: str) -> dict[str, list[tuple[int, int, int]]]:
        """Per stream, the tokens of a prompt that its encoder reads: first character, the one after the last, and row
        in the stream. Without BOS, EOS and padding; empty when the adapter cannot tell."""

    @property
    def words(self) -> Sequence[str]:
        """Texts of the tokens that prompts can be searched over, each of which is encoded as itself; empty when the
        adapter has no such search."""

    @property
    def word_positions(self) -> int:
        """How many words at most a prompt has room for; 0 when the adapter has no search over words."""

    def condition_words(self, weights: torch.Tensor) -> PromptEmbeds:
        """Conditions from mixtures of words, differentiable in the weights; for one-hot weights, what `condition` gives
        for the words separated by spaces.

        weights:  (N, positions, len(words)) float32
        """

    def null_condition(self) -> PromptEmbeds:
        """One condition: what the model was trained to take as "no text"."""

    def start_condition(self) -> PromptEmbeds:
        """One condition that says nothing: where inversions start, and whose root mean square is each stream's scale.

        The null condition, unless an inversion cannot start there: SDXL's zeros have no scale, and rows that are all
        the same have the same gradient and move as one.
        """

    def predict(self, noisy: torch.Tensor, timesteps: torch.Tensor, prompt_embeds: PromptEmbeds) -> Prediction:
        """Raw network output; differentiable in the streams of `prompt_embeds`."""

    def spare_memory(self) -> bool:
        """From now on need less memory for gradients, at the cost of time; False when nothing more can be spared."""

    def sample(
        self,
        prompt_embeds: PromptEmbeds,
        seeds: Sequence[int],
        *,
        guidance_scale: float,
        num_inference_steps: int,
        latents: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Generate one image per condition: (N, 3, H, W) in [-1, 1], NaN where generation failed.

        seeds:    N integers, each the seed of a CPU generator of its own
        latents:  (N, C, h, w) initial standard normal noise; by default what the generators draw
        """
