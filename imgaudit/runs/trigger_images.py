"""Images of the prompts that a trigger search found: made once, kept in its folder, compared with the owner's."""

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch

from imgaudit.diffusion.denoiser import Denoiser
from imgaudit.diffusion.executor import Executor
from imgaudit.diffusion.generation import Generated, generate
from imgaudit.diffusion.seeds import draw_seed
from imgaudit.exceptions import ImageError
from imgaudit.io.framing import to_batch, to_image, to_tensor
from imgaudit.io.images import load_image
from imgaudit.io.portfolio import Target
from imgaudit.io.reading import format_path
from imgaudit.io.writing import write_png
from imgaudit.schema.protocol import Framing
from imgaudit.schema.triggers import ClosestTarget, ImageSettings
from imgaudit.similarity.descriptors import Descriptor, compare_vectors

TARGETS_AT_ONCE = 64
"""Number of the owner's images that are encoded together."""


def prompt_folder(prompt: str) -> str:
    """Return the place of a prompt's images inside a run: prompts are text, never paths.

    >>> prompt_folder("../..")
    'images/0cfd1c96cbc0c0e0'
    """
    return f"images/{hashlib.sha256(prompt.encode()).hexdigest()[:16]}"


def trigger_seeds(run_seed: int, prompt: str, count: int) -> list[int]:
    """Seeds of the images of a prompt."""
    digest = hashlib.sha256(prompt.encode()).hexdigest()
    return [draw_seed(run_seed, digest, "trigger image", index) for index in range(count)]


def image_name(number: int) -> str:
    """File of an image of a prompt, by its number from 0."""
    return f"{number:03d}.png"


def prompt_images(
    folder: Path,
    denoiser: Denoiser,
    prompts: Sequence[str],
    settings: ImageSettings,
    *,
    run_seed: int,
    executor: Executor,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[list[torch.Tensor]]:
    """Images (3, H, W) float32 in [-1, 1] of every prompt: from the run's folder where they are, or made and kept."""
    kept = {prompt: own for prompt in prompts if (own := _read(folder / prompt_folder(prompt), settings.images))}
    missing = [prompt for prompt in dict.fromkeys(prompts) if prompt not in kept]
    size = max(1, executor.batch_size // settings.images)
    for start in range(0, len(missing), size):
        chunk = missing[start : start + size]
        on_progress(len(prompts) - len(missing) + start, len(prompts))
        batches = generate(
            denoiser, denoiser.condition(chunk),
            [trigger_seeds(run_seed, prompt, settings.images) for prompt in chunk],
            guidance_scale=settings.guidance_scale, num_inference_steps=settings.num_inference_steps,
            executor=executor,
        )  # fmt: skip
        for prompt, batch in zip(chunk, batches, strict=True):
            kept[prompt] = _write(folder / prompt_folder(prompt), batch)
    on_progress(len(prompts), len(prompts))
    return [kept[prompt] for prompt in prompts]


def _write(folder: Path, batch: Sequence[Generated]) -> list[torch.Tensor]:
    images = []
    for number, one in enumerate(batch):
        # What is not finite becomes black, which is as unusable.
        image = to_image(torch.nan_to_num(one.image, nan=-1.0, posinf=-1.0, neginf=-1.0))
        write_png(folder / image_name(number), image)
        images.append(to_tensor(image))
    return images


def _read(folder: Path, count: int) -> list[torch.Tensor] | None:
    try:
        return [to_tensor(load_image(folder / image_name(number)).pixels) for number in range(count)]
    except (ImageError, OSError):
        return None


def closest_targets(
    folder: Path, representatives: Sequence[str], eps: float, targets: Sequence[Target], denoiser: Denoiser,
    descriptor: Descriptor, framing: Framing,
) -> list[ClosestTarget | None]:  # fmt: skip
    """Per candidate the owner's image that is most similar to its representative, as given or as the model renders it.

    representatives:  files of pictures inside the run's folder
    Returns           None where the picture is gone
    """
    given, rendered = [], []
    for start in range(0, len(targets), TARGETS_AT_ONCE):
        chunk = [one.load().pixels for one in targets[start : start + TARGETS_AT_ONCE]]
        images = to_batch(chunk, denoiser.resolution, framing)
        given.append(descriptor.describe(images))
        rendered.append(descriptor.describe(denoiser.decode(denoiser.encode(images)).float().cpu()))
    owned = np.concatenate([*given, *rendered])
    found: list[ClosestTarget | None] = []
    for name in representatives:
        try:
            image = to_tensor(load_image(folder / name).pixels)
        except (ImageError, OSError):
            found.append(None)
            continue
        own = np.repeat(descriptor.describe(image[None]), len(owned), axis=0)
        values = compare_vectors(descriptor, own, owned)
        best = int(np.argmax(values))
        path = format_path(targets[best % len(targets)].path)
        found.append(ClosestTarget(path=path, similarity=values[best], near_copy=1 - values[best] <= eps))
    return found
