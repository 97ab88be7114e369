"""CLIP as a judge of what was asked for, and an aesthetic head on top of it: read from local folders only.

CLIP (Radford et al. 2021, arXiv 2103.00020) puts images and texts into one space; the cosine between a picture and the
prompt it was made for is the field's usual measure of text alignment. Any CLIPModel folder serves, the published ones
as well as the small ones that `imgaudit lab clip` trains; cosines of different networks cannot be compared.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch.nn.functional import normalize
from transformers import CLIPImageProcessor, CLIPModel, CLIPTokenizer
from transformers.utils import logging as transformers_logging

from imgaudit.exceptions import ModelRefusedError
from imgaudit.io.framing import to_image
from imgaudit.io.reading import hash_file

MOST_LAYERS, MOST_WIDTH = 64, 4096
"""Largest networks that are built; the published ones have up to 48 layers and 1,664 numbers."""
MOST_HEAD_BYTES = 2**28
BATCH_SIZE = 32


@dataclass(frozen=True)
class ClipScorer:
    """One CLIPModel with its own preparation of images and texts."""

    network: Any
    """A transformers CLIPModel, frozen and in evaluation mode."""
    tokenizer: Any
    """Its CLIPTokenizer."""
    processor: Any
    """Its CLIPImageProcessor."""
    source: str
    """Name of the model, with the SHA-256 of its weights."""

    @torch.no_grad()
    def describe_images(self, images: torch.Tensor) -> torch.Tensor:
        """Describe (N, 3, H, W) in [-1, 1] as (N, projection) float32 of length one."""
        found = []
        for batch in torch.split(images, BATCH_SIZE):
            pixels = self.processor([to_image(image) for image in batch], return_tensors="pt")["pixel_values"]
            found.append(_project(self.network.get_image_features(pixel_values=pixels)))
        return torch.cat(found)

    @torch.no_grad()
    def describe_texts(self, texts: Sequence[str]) -> torch.Tensor:
        """Describe N texts, cut to the length that the network reads, as (N, projection) float32 of length one."""
        found = []
        for start in range(0, len(texts), BATCH_SIZE):
            tokens = self.tokenizer(
                list(texts[start : start + BATCH_SIZE]), padding="max_length", truncation=True,
                max_length=self.network.config.text_config.max_position_embeddings, return_tensors="pt",
            )  # fmt: skip
            found.append(
                _project(
                    self.network.get_text_features(
                        input_ids=tokens["input_ids"], attention_mask=tokens["attention_mask"]
                    )
                )
            )
        return torch.cat(found)


def _project(found: Any) -> torch.Tensor:
    # Some versions of transformers return the tensor, others an output that holds it.
    return normalize((found if isinstance(found, torch.Tensor) else found.pooler_output).float(), dim=1)


def load_clip(folder: Path) -> ClipScorer:
    """Load a CLIPModel folder with its tokenizer and preprocessor_config.json; no download, and no pickle is read.

    Raises ModelRefusedError for a folder that holds no such network, or a pickled, incomplete or absurd one.
    """
    weights = folder / "model.safetensors"
    if not weights.is_file():
        raise ModelRefusedError(
            f"{str(folder)!r} has no model.safetensors; expected a folder with a transformers CLIPModel, its tokenizer "
            "and preprocessor_config.json (pickled weights are not read)"
        )
    # Its bars would draw over the command line's own.
    transformers_logging.disable_progress_bar()
    try:
        config = CLIPModel.config_class.from_pretrained(folder, local_files_only=True)
        for part in (config.text_config, config.vision_config):
            if not (0 < part.num_hidden_layers <= MOST_LAYERS and 0 < part.hidden_size <= MOST_WIDTH):
                raise ModelRefusedError(
                    f"{str(folder)!r} describes an absurd network; expected a published CLIP's sizes"
                )
        network, found = CLIPModel.from_pretrained(
            folder, config=config, local_files_only=True, use_safetensors=True, output_loading_info=True,
            dtype=torch.float32,
        )  # fmt: skip
        tokenizer = CLIPTokenizer.from_pretrained(folder, local_files_only=True)
        processor = CLIPImageProcessor.from_pretrained(folder, local_files_only=True)
    except ModelRefusedError:
        raise
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise ModelRefusedError(
            f"{str(folder)!r} cannot be loaded as CLIP: {type(error).__name__}: {reason}"
        ) from error
    if missing := [*found["missing_keys"], *found["mismatched_keys"]]:
        raise ModelRefusedError(f"{str(folder)!r} lacks {len(missing)} weights that its config.json describes")
    return ClipScorer(
        network.eval().requires_grad_(False), tokenizer, processor,
        f"CLIP, {config.vision_config.num_hidden_layers} layers at {config.vision_config.image_size} pixels, weights "
        f"with SHA-256 {hash_file(weights)}",
    )  # fmt: skip


@dataclass(frozen=True)
class AestheticHead:
    """Linear layers from a CLIP image vector to one number, as LAION's aesthetic predictor; higher is liked more."""

    layers: tuple[tuple[torch.Tensor, torch.Tensor], ...]
    """(weight, bias) of each, applied in turn; the published head has nothing between them at inference."""
    source: str
    """Name of the head, with the SHA-256 of its file."""

    def score(self, vectors: torch.Tensor) -> torch.Tensor:
        """Return the scores (N,) of vectors (N, projection) of length one."""
        for weight, bias in self.layers:
            vectors = vectors @ weight.T + bias
        return vectors[:, 0]


def load_aesthetic_head(path: Path, width: int) -> AestheticHead:
    """Load a safetensors file of linear layers, `<name>.<number>.weight` and `.bias`, in order of their numbers.

    width:  numbers of the CLIP vectors it is to judge
    Raises ModelRefusedError for another kind of file, or layers that do not lead from `width` numbers to one.
    """
    if not path.is_file() or path.stat().st_size > MOST_HEAD_BYTES:
        raise ModelRefusedError(f"{str(path)!r} is no safetensors file of at most {MOST_HEAD_BYTES // 2**20} MiB")
    try:
        tensors = load_file(path)
        names = sorted(
            {name.rpartition(".")[0] for name in tensors}, key=lambda name: int("".join(filter(str.isdigit, name)) or 0)
        )
        layers = tuple((tensors[f"{name}.weight"].float(), tensors[f"{name}.bias"].float()) for name in names)
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise ModelRefusedError(f"{str(path)!r} cannot be read as linear layers: {reason}") from error
    shapes = [tuple(weight.shape) for weight, _ in layers]
    sizes = [width, *(after for after, _ in shapes)]
    if not shapes or sizes[-1] != 1 or [before for _, before in shapes] != sizes[:-1]:
        raise ModelRefusedError(
            f"{str(path)!r} has layers of shapes {shapes}; expected them to lead from the "
            f"{width} numbers of this CLIP to 1"
        )
    return AestheticHead(layers, f"aesthetic head with SHA-256 {hash_file(path)}")


def retrieves_own_caption(images: torch.Tensor, own: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
    """Return whether each picture is closer to its own caption than to every other one: (N,) bool.

    By chance this is 1 / (1 + M). All vectors have length one.

    images:  (N, width), of pictures
    own:     (N, width), of the captions they were made for
    others:  (N, M, width), of the captions they are to be told from

    >>> a, b = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]])
    >>> retrieves_own_caption(a, a, b[None]).tolist(), retrieves_own_caption(b, a, b[None]).tolist()
    ([True], [False])
    """
    right = (images * own).sum(dim=1)
    wrong = (images[:, None] * others).sum(dim=2).max(dim=1).values
    return right > wrong
