"""A small CLIP trained on a captioned corpus, to judge text alignment where no published CLIP is available.

Image and text encoder are transformers' CLIPModel, trained with its own symmetric contrastive loss on background
images, augmented as a lab's are. It has seen neither the planted images nor the held-out ones of the same split, so it
judges pictures of a lab without having learned its answers.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, CLIPTokenizer, CLIPVisionConfig
from transformers.utils import logging as transformers_logging

from imgaudit.exceptions import InputError
from imgaudit.io.framing import to_batch
from imgaudit.lab.components import build_clip_config, train_tokenizer
from imgaudit.lab.corpus import CorpusEntry, read_pixels
from imgaudit.lab.recipe import LabRecipe
from imgaudit.lab.samples import ImageVariants
from imgaudit.lab.training import take_step
from imgaudit.schema.records import Record

PATCH = 4
VISION_WIDTH = 128


class ClipRecipe(Record):
    """The settings of a CLIP's training."""

    steps: int = 1500
    """Optimiser steps."""
    batch_size: int = 128
    """Different captions that are told apart in each."""
    learning_rate: float = 1e-3
    """Peak, of AdamW with a warm-up of a tenth and a cosine after it."""
    seed: int = 0
    """Seeds weights and samples."""


def train_clip(
    entries: Sequence[CorpusEntry],
    lab: LabRecipe,
    recipe: ClipRecipe,
    folder: Path,
    progress: Callable[[int, int, float], None] = lambda step, steps, loss: None,
) -> Path:
    """Train on the background images of a split and save as an ordinary CLIP folder, which is returned.

    lab:  recipe of the split: its resolution, framing, augmentation and text sizes
    Raises InputError with fewer captions than a batch tells apart.
    """
    shown = [entry for entry in entries if entry.role == "background"]
    captions = sorted({entry.text for entry in shown})
    if len(captions) < recipe.batch_size:
        raise InputError(f"expected {recipe.batch_size} different captions to tell apart, but found {len(captions)}")
    place = {text: number for number, text in enumerate(captions)}
    pixels = to_batch(read_pixels(shown), lab.resolution, lab.framing)
    variants = ImageVariants(pixels, ["background"] * len(shown), lab)
    owner = torch.tensor([place[entry.text] for entry in shown])
    tokenizer = train_tokenizer(captions, lab)
    network = build_clip_model(lab, tokenizer, recipe.seed)
    ids = tokenizer(captions, padding="max_length", truncation=True, return_tensors="pt")
    _fit(network, variants, owner, (ids["input_ids"], ids["attention_mask"]), recipe, progress)
    transformers_logging.disable_progress_bar()
    network.eval().to(torch.float16).save_pretrained(folder, safe_serialization=True)
    tokenizer.save_pretrained(folder)
    side = {"height": lab.resolution, "width": lab.resolution}
    CLIPImageProcessor(
        size={"shortest_edge": lab.resolution}, crop_size=side, image_mean=[0.5] * 3, image_std=[0.5] * 3
    ).save_pretrained(folder)
    return folder


def build_clip_model(lab: LabRecipe, tokenizer: CLIPTokenizer, seed: int) -> CLIPModel:
    """Build an untrained CLIPModel for images of a lab's resolution."""
    text = build_clip_config(lab, tokenizer)
    vision = CLIPVisionConfig(
        hidden_size=VISION_WIDTH, intermediate_size=4 * VISION_WIDTH, num_hidden_layers=4, num_attention_heads=4,
        image_size=lab.resolution, patch_size=PATCH, projection_dim=text.projection_dim,
    )  # fmt: skip
    torch.manual_seed(seed)
    return CLIPModel(
        CLIPConfig(text_config=text.to_dict(), vision_config=vision.to_dict(), projection_dim=text.projection_dim)
    )


def _fit(
    network: CLIPModel,
    variants: ImageVariants,
    owner: torch.Tensor,
    tokens: tuple[torch.Tensor, torch.Tensor],
    recipe: ClipRecipe,
    progress: Callable[[int, int, float], None],
) -> None:
    """Train on batches in which no caption occurs twice: two pictures of one caption must not count as a mistake."""
    optimiser = torch.optim.AdamW(network.parameters(), lr=recipe.learning_rate, weight_decay=0.1)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, recipe.learning_rate, total_steps=recipe.steps + 1, pct_start=0.1
    )
    generator = torch.Generator().manual_seed(recipe.seed)
    by_caption = [torch.nonzero(owner == caption).flatten() for caption in range(len(tokens[0]))]
    network.train()
    for step in range(recipe.steps):
        chosen = torch.randperm(len(by_caption), generator=generator)[: recipe.batch_size]
        draws = torch.rand(2, len(chosen), generator=generator)
        rows = torch.stack(
            [by_caption[int(c)][int(draws[0, n] * len(by_caption[int(c)]))] for n, c in enumerate(chosen)]
        )
        which = (draws[1] * variants.count).long()
        loss = network(
            input_ids=tokens[0][chosen], attention_mask=tokens[1][chosen], pixel_values=variants.pick(rows, which),
            return_loss=True,
        ).loss  # fmt: skip
        value = take_step(optimiser, loss)
        schedule.step()
        progress(step + 1, recipe.steps, value)
