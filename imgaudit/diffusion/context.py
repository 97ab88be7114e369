"""What measurements share: the model with everything that decides their numbers, and images as the model sees them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import torch
from PIL import Image

from imgaudit.diffusion.denoiser import Denoiser
from imgaudit.diffusion.executor import Executor
from imgaudit.diffusion.text_span import TextSpan, span_texts
from imgaudit.io.framing import frame_image, measure_complexity, to_tensor
from imgaudit.io.portfolio import LoadedTarget
from imgaudit.io.reading import format_path
from imgaudit.schema.funnel import FirstLookConfig
from imgaudit.schema.image_scores import ImageScores
from imgaudit.schema.protocol import Protocol
from imgaudit.schema.records import Replica
from imgaudit.similarity.matcher import Matcher


@dataclass(frozen=True)
class MeasurementContext:
    """Everything that a measurement depends on besides the image."""

    denoiser: Denoiser
    """The model."""
    protocol: Protocol
    """The measurements and their budgets."""
    run_seed: int
    """Decides all random draws, together with each image's SHA-256."""
    executor: Executor
    """Runs batches that fit into memory."""
    matcher: Matcher = field(default_factory=Matcher)
    """Compares generated images with the target."""
    is_copy: Callable[[Replica], bool] = lambda replica: False
    """Tells copies among the embedding's replicas; the model is asked for these again with some of the streams only."""
    find_reason_not_to_ask: Callable[[ImageScores], str] = lambda scores: ""
    """Tells from what is known of an image so far why it is not asked further; empty where it is. It is called after
    the first look, where there is one, and after the score."""
    first_look: FirstLookConfig | None = None
    """The first look that is taken at every image; None where every image is scored."""
    on_step: Callable[[str, Sequence[str]], None] = lambda step, paths: None
    """Called with what is done next, in words, and the paths of the images that it is done with."""

    def begin(self, step: str, loaded: Sequence[LoadedTarget]) -> None:
        """Say what is done next, and with which images."""
        self.on_step(step, [format_path(one.target.path) for one in loaded])

    @cached_property
    def text_span(self) -> TextSpan | None:
        """The span of texts in which conditions are searched, found once; None where the protocol has no such search.

        Raises ConfigError when the model's vocabulary has too few words.
        """
        if self.protocol.span is None or not self.protocol.searches_span(self.denoiser.prediction_type):
            return None
        return span_texts(self.denoiser, self.protocol.span)


@dataclass(frozen=True)
class EncodedImages:
    """Images that went through a model's autoencoder."""

    sha256s: Sequence[str]
    """SHA-256s of the files; they decide the random draws of each image."""
    latents: torch.Tensor
    """(images, C, h, w) float32, scaled by the autoencoder's factor."""
    rendered: torch.Tensor
    """(images, 3, H, W) in [-1, 1]: decode(latents), which generated images are compared with."""


@dataclass(frozen=True)
class Chunk:
    """Images that are measured together."""

    loaded: Sequence[LoadedTarget]
    """The files and their pixels."""
    framed_images: Sequence[Image.Image]
    """The images at the model's size."""
    framed: torch.Tensor
    """(images, 3, R, R) in [-1, 1]: the same as tensors."""
    encoded: EncodedImages
    """The same as the model sees them."""

    def __len__(self) -> int:
        return len(self.loaded)

    @cached_property
    def complexities(self) -> list[float]:
        """Detail of every image, log(PNG bytes per pixel), measured once."""
        return [measure_complexity(image) for image in self.framed_images]

    def select(self, rows: Sequence[int]) -> "Chunk":
        """Return the images of some rows."""
        chosen, encoded = list(rows), self.encoded
        return Chunk(
            [self.loaded[row] for row in chosen],
            [self.framed_images[row] for row in chosen],
            self.framed[chosen],
            EncodedImages([encoded.sha256s[row] for row in chosen], encoded.latents[chosen], encoded.rendered[chosen]),
        )


def encode_chunk(context: MeasurementContext, loaded: Sequence[LoadedTarget]) -> Chunk:
    """Frame images to the model's size, and pass them through its autoencoder and back."""
    denoiser, executor = context.denoiser, context.executor
    images = [frame_image(one.pixels, denoiser.resolution, context.protocol.framing) for one in loaded]
    framed = torch.stack([to_tensor(image) for image in images])
    latents = torch.cat(list(executor.slices(len(framed), lambda rows: denoiser.encode(framed[rows]))))
    rendered = torch.cat(list(executor.slices(len(framed), lambda rows: denoiser.decode(latents[rows]))))
    sha256s = [one.target.image.sha256 for one in loaded]
    return Chunk(loaded, images, framed, EncodedImages(sha256s, latents, rendered))
