"""The protocol through which every method sees a model, and the conditions that it takes.

A method never imports diffusers. It can therefore be tested on a closed-form denoiser, and a new model family is one
adapter, never a second copy of a method.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import torch

from imgaudit.diffusion.schedules import Prediction, Schedule


@dataclass(frozen=True)
class PromptEmbeds:
    """A batch of N conditions: the streams, which may be inverted, and extras that are only passed on."""

    streams: Mapping[str, torch.Tensor]
    """Name to (N, tokens, width) float tensor: text encoder outputs (and pooled vectors, as one token)."""
    free: Mapping[str, torch.Tensor]
    """Name to (tokens,) bool tensor: positions that inversion may change. BOS is never free."""
    extras: Mapping[str, torch.Tensor] = field(default_factory=dict)
    """Masks, position ids, time ids, (N, ...): passed on to the network and never arithmetic."""

    def __len__(self) -> int:
        return len(next(iter(self.streams.values())))

    def select(self, rows: torch.Tensor | slice) -> "PromptEmbeds":
        """Return the conditions at `rows`, which may repeat."""
        if isinstance(rows, slice):
            return self.map(lambda tensor: tensor[rows])
        # Copied to a GPU once: an index on the CPU would be copied for every stream, and again for its gradient.
        devices = {one.device for one in (*self.streams.values(), *self.extras.values())}
        places = {device: rows.to(device) for device in devices}
        return self.map(lambda tensor: tensor[places[tensor.device]])

    def map(self, change: Callable[[torch.Tensor], torch.Tensor]) -> "PromptEmbeds":
        """Return the conditions with every stream and every extra changed by one function."""
        streams, extras = ({key: change(one) for key, one in own.items()} for own in (self.streams, self.extras))
        return PromptEmbeds(streams, self.free, extras)

    def repeat(self, count: int) -> "PromptEmbeds":
        """Return each condition `count` times in a row."""
        return self.select(torch.arange(len(self)).repeat_interleave(count))

    @classmethod
    def concatenate(cls, conditions: Sequence["PromptEmbeds"]) -> "PromptEmbeds":
        """Join conditions of one model into one batch, on the device of the first."""
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
        """Return the same masks and extras with other streams of the same shape."""
        return PromptEmbeds(streams, self.free, self.extras)

    def root_mean_square(self) -> dict[str, float]:
        """Return the root mean square of each stream over its free positions.

        That of the start condition is the unit of learning rates.
        """
        return {
            name: float(stream[:, self.free[name]].double().square().mean().sqrt())
            for name, stream in self.streams.items()
        }


class Denoiser(Protocol):
    """A text-to-image diffusion model, as the methods see it; `imgaudit.models.families` has one adapter per family.

    Images are (N, 3, H, W) float32 in [-1, 1], and latents (N, C, h, w) float32 scaled by the autoencoder's factor, so
    that they have about the variance of the noise. Timesteps are (N,) int64, 0 the cleanest. Conditions are
    `PromptEmbeds` of N rows. `encode` and `predict` return tensors on the model's device, `decode` and `sample` on the
    CPU; arguments may be on any device. `models.finite_set.FiniteSetDenoiser` is a complete example.
    """

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        """(C, h, w) of one latent."""

    @property
    def resolution(self) -> int:
        """The side of the square images that the model makes, in pixels."""

    @property
    def schedule(self) -> Schedule:
        """The training schedule: how much image and how much noise there is at each timestep."""

    @property
    def prediction_type(self) -> str:
        """The kind of the network's raw output: "epsilon", "v_prediction", "sample" or "flow"."""

    @property
    def network_evaluations(self) -> int:
        """The passes of one sample through the network so far; a backward pass (to inputs only) counts as one more."""

    @property
    def fingerprint(self) -> str:
        """A SHA-256 that changes whenever a weight or a setting of the model changes."""

    @property
    def no_null(self) -> str:
        """The reason why the model has no null branch to compare with (guidance-distilled, few-step); else empty."""

    @property
    def fewest_steps(self) -> int:
        """The smallest number of sampling steps that its scheduler can make, 1 or more."""

    def encode(self, images: torch.Tensor) -> torch.Tensor:
        """Return the latents of images: the mode of the autoencoder's posterior, never a sample of it."""

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        """Return the images of latents, clipped to [-1, 1]."""

    def condition(self, prompts: Sequence[str]) -> PromptEmbeds:
        """Return one condition per prompt, encoded as the model's own pipeline does."""

    def unmasked_condition(self, prompts: Sequence[str]) -> PromptEmbeds:
        """Return one condition per prompt in the form of the start condition: every row is seen, none is masked.

        Such conditions can be added up.
        """

    @property
    def vocabulary(self) -> Sequence[str]:
        """Whole words that the model's tokenizer reads as one token, the commonest first; empty without a tokenizer."""

    def null_condition(self) -> PromptEmbeds:
        """Return one condition: what the model was trained to take as "no text"."""

    def start_condition(self) -> PromptEmbeds:
        """Return one condition that says nothing: where inversions start; its root mean square is each stream's scale.

        The null condition, unless an inversion cannot start there: SDXL's zeros have no scale, and rows that are all
        the same have the same gradient and move as one.
        """

    def predict(self, noisy: torch.Tensor, timesteps: torch.Tensor, prompt_embeds: PromptEmbeds) -> Prediction:
        """Pass noisy latents through the network once; differentiable in the streams of `prompt_embeds`.

        noisy:      (N, C, h, w), latents with noise added by `schedule`
        timesteps:  (N,) int64
        Returns     the raw output (N, C, h, w) float32, which converts itself to clean latents and noise
        """

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

        seeds:           N integers, each the seed of a CPU generator of its own
        guidance_scale:  of classifier-free guidance; 1 means none
        latents:         (N, C, h, w) initial standard normal noise; by default what the generators draw
        """

    def spare_memory(self) -> bool:
        """Need less memory for gradients from now on, at the cost of time; False when nothing more can be spared."""

    def characters_read(self, prompt: str) -> dict[str, int]:
        """Return, per text encoder that cuts the prompt, how many of its characters it reads.

        Text encoders that read all of it are left out, and those whose tokenizer cannot tell.
        """

    def cut_tokens(self, prompt: str) -> dict[str, int]:
        """Return, per text encoder, how many tokens of a prompt it cuts off and never sees; without zeros."""

    def token_spans(self, prompt: str) -> dict[str, list[tuple[int, int, int]]]:
        """Return, per stream, the tokens of a prompt that its encoder reads.

        Each is the first character, the one after the last, and the row in the stream. BOS, EOS and padding are left
        out; empty when the adapter cannot tell.
        """

    @property
    def words(self) -> Sequence[str]:
        """The words that prompts can be searched over, each of which is encoded as itself; empty without a search."""

    @property
    def word_positions(self) -> int:
        """The largest number of words that a prompt has room for; 0 when the adapter has no search over words."""

    def condition_words(self, weights: torch.Tensor) -> PromptEmbeds:
        """Return conditions of mixtures of words, differentiable in the weights.

        For one-hot weights they are what `condition` returns for the words separated by spaces.

        weights:  (N, positions, len(words)) float32
        """
