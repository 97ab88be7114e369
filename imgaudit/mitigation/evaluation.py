"""The effect of a mitigation and its cost: MemBench's two scenarios (Hong et al., TMLR 2025, arXiv 2407.17095).

    triggers  prompts of images that the model is thought to reproduce: how close what it makes now is to them
    general   other prompts and images: whether the model still does what it is asked for

The same prompts and seeds go to the model as it is and to every mitigation, always switched on. Text alignment is
measured against the prompt that was given, never against what a mitigation made of it. Only what is measured is kept
here; `evaluation_summary` makes figures of it, so that another threshold costs no generation.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from pydantic import Field

from imgaudit.diffusion.denoiser import Denoiser
from imgaudit.diffusion.denoising_error import DrawSource
from imgaudit.diffusion.executor import Executor
from imgaudit.diffusion.generation import Generated, draw_replica_seeds, generate
from imgaudit.diffusion.seeds import draw_seed
from imgaudit.schema.records import Record, Skipped
from imgaudit.similarity.clip import AestheticHead, ClipScorer, retrieves_own_caption
from imgaudit.similarity.descriptors import compare_vectors
from imgaudit.similarity.matcher import Matcher

OTHER_CAPTIONS = 9
"""Captions that a picture's own is to be told from: by chance one in ten is."""

NO_CLIP = "no CLIP was given: name a folder with --clip"
NO_HEAD = "no aesthetic head was given: name a safetensors file with --aesthetic"


@dataclass(frozen=True)
class CaptionedImage:
    """An image and the prompt that asks for it."""

    sha256: str
    """SHA-256 of the file. Random draws depend on it."""
    prompt: str
    """The prompt as it is given to the model."""
    image: torch.Tensor
    """(3, H, W) float32 in [-1, 1] at the model's resolution."""


class EvaluationSettings(Record):
    """The images to generate; the defaults are MemBench's."""

    images: int = Field(10, ge=1, le=1000)
    """Pictures per prompt."""
    guidance_scale: float = Field(7.5, ge=1, allow_inf_nan=False)
    """Guidance scale of the sampling."""
    num_inference_steps: int = Field(50, ge=1, le=1000)
    """Sampling steps."""
    error_draws: int = Field(64, ge=1, le=10_000)
    """Noises and timesteps, the same for every model, on which general images are predicted."""
    seed: int = 0
    """Run seed."""


class PromptOutcome(Record):
    """Results of one prompt on one model."""

    sha256: str
    """First 16 hexadecimal digits of the image's."""
    similarity: list[float]
    """Per picture, to decode(encode(image)) by the deciding descriptor; higher is closer; -1 for unusable pictures."""
    alignment: list[float] | Skipped
    """Per picture, cosine with the prompt; higher is more as asked for."""
    retrieved: int | Skipped
    """Pictures that are closer to their prompt than to nine others."""
    aesthetic: list[float] | Skipped
    """Per picture; higher is liked more."""
    unusable: int
    """Pictures that are blank or not finite."""
    error: float | None = Field(None, exclude_if=lambda value: value is None)
    """General images only: mean squared error of the network's output under the prompt; lower is better."""
    response: float | None = Field(None, exclude_if=lambda value: value is None)
    """General images only: mean squared difference of conditional and null output; 0 where prompts are ignored."""


class ModelOutcome(Record):
    """Everything that was measured of one model."""

    name: str
    """Name of the model: "as it is", a mitigation, or a folder."""
    fingerprint: str
    """Fingerprint of the model, with its mitigation."""
    triggers: list[PromptOutcome]
    """By image."""
    general: list[PromptOutcome]
    """By image."""
    network_evaluations: int
    """Network evaluations in all, including those of the mitigation."""
    seconds: float
    """Wall time in all."""


@dataclass(frozen=True)
class Judges:
    """The networks and measures that judge generated images."""

    clip: ClipScorer | None = None
    """Text alignment; None where no CLIP was given."""
    head: AestheticHead | None = None
    """Quality; None where no head was given."""
    matcher: Matcher = field(default_factory=Matcher)
    """Similarity."""


@dataclass(frozen=True)
class EvaluationTask:
    """Everything that is the same for every model."""

    triggers: Sequence[CaptionedImage]
    """Images that the model is thought to reproduce."""
    general: Sequence[CaptionedImage]
    """Other images, for what a mitigation costs."""
    settings: EvaluationSettings
    """The images to generate."""
    judges: Judges
    """The judges of the generated images."""


def evaluate_model(
    name: str,
    denoiser: Denoiser,
    task: EvaluationTask,
    *,
    executor: Executor,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> ModelOutcome:
    """Measure both scenarios on one model. Seeds depend on the run seed and the image, never on the model.

    name:  name of the model in the table
    """
    triggers, general, settings, judges = task.triggers, task.general, task.settings, task.judges
    begun, before = time.perf_counter(), denoiser.network_evaluations
    everything = [*triggers, *general]
    vectors = judges.clip.describe_texts([one.prompt for one in everything]) if judges.clip else None
    outcomes = []
    for number, (one, frames) in enumerate(_generate(denoiser, everything, settings, executor)):
        others = _draw_other_prompts(everything, number, settings.seed)
        texts = None if vectors is None else (vectors[number], vectors[others])
        outcomes.append(_judge(denoiser, one, frames, texts, judges))
        on_progress(number + 1, len(everything))
    answers = _measure_predictions(denoiser, general, settings, executor) if general else []
    return ModelOutcome(
        name=name,
        fingerprint=denoiser.fingerprint,
        triggers=outcomes[: len(triggers)],
        general=[
            outcome.model_copy(update={"error": error, "response": response})
            for outcome, (error, response) in zip(outcomes[len(triggers) :], answers, strict=True)
        ],
        network_evaluations=denoiser.network_evaluations - before,
        seconds=round(time.perf_counter() - begun, 2),
    )


def _generate(
    denoiser: Denoiser, prompts: Sequence[CaptionedImage], settings: EvaluationSettings, executor: Executor
) -> Iterator[tuple[CaptionedImage, list[Generated]]]:
    frames = generate(
        denoiser,
        denoiser.condition([one.prompt for one in prompts]),
        [draw_replica_seeds(settings.seed, one.sha256, settings.images) for one in prompts],
        guidance_scale=settings.guidance_scale,
        num_inference_steps=settings.num_inference_steps,
        executor=executor,
    )
    return zip(prompts, frames, strict=True)


def _draw_other_prompts(prompts: Sequence[CaptionedImage], number: int, seed: int) -> list[int]:
    """Draw nine prompts other than the given one, the same for all models; fewer when there are not as many texts."""
    own = prompts[number]
    first: dict[str, int] = {}
    for place, one in enumerate(prompts):
        if one.prompt != own.prompt:
            first.setdefault(one.prompt, place)
    places = list(first.values())
    generator = torch.Generator().manual_seed(draw_seed(seed, own.sha256, "other captions"))
    return [places[int(place)] for place in torch.randperm(len(places), generator=generator)[:OTHER_CAPTIONS]]


def _judge(
    denoiser: Denoiser,
    one: CaptionedImage,
    frames: Sequence[Generated],
    texts: tuple[torch.Tensor, torch.Tensor] | None,
    judges: Judges,
) -> PromptOutcome:
    usable = [frame.image for frame in frames if frame.invalid is None]
    rendered = denoiser.decode(denoiser.encode(one.image[None]))[0]
    descriptor = judges.matcher.deciding()
    described = np.repeat(descriptor.describe(rendered[None]), len(usable), axis=0)
    close = iter(compare_vectors(descriptor, descriptor.describe(torch.stack(usable)), described) if usable else ())
    alignment: list[float] | Skipped = Skipped(skipped=NO_CLIP)
    found: int | Skipped = Skipped(skipped=NO_CLIP)
    aesthetic: list[float] | Skipped = Skipped(skipped=NO_HEAD if judges.clip else NO_CLIP)
    if judges.clip and texts is not None:
        # Unusable pictures are judged too: a mitigation must not look better by making fewer pictures.
        pictures = judges.clip.describe_images(torch.stack([frame.image.nan_to_num() for frame in frames]))
        own, others = (text.expand(len(frames), *text.shape) for text in texts)
        alignment = (pictures @ texts[0]).tolist()
        found = (
            int(retrieves_own_caption(pictures, own, others).sum())
            if len(texts[1])
            else Skipped(skipped="one prompt only")
        )
        if judges.head:
            aesthetic = judges.head.score(pictures).tolist()
    return PromptOutcome(
        sha256=one.sha256[:16],
        similarity=[next(close) if frame.invalid is None else -1.0 for frame in frames],
        alignment=alignment,
        retrieved=found,
        aesthetic=aesthetic,
        unusable=len(frames) - len(usable),
    )


def _measure_predictions(
    denoiser: Denoiser, general: Sequence[CaptionedImage], settings: EvaluationSettings, executor: Executor
) -> list[tuple[float, float | None]]:
    """Measure error and response of every general image under its prompt, on the same draws for every model."""
    source = DrawSource(settings.seed, [one.sha256 for one in general], "clean images", denoiser.latent_shape)
    draws = source.draw("stratified", settings.error_draws, denoiser.schedule.num_train_timesteps)
    latents = denoiser.encode(torch.stack([one.image for one in general]))
    condition = denoiser.condition([one.prompt for one in general])
    null = None if denoiser.no_null else denoiser.null_condition()
    owner = torch.arange(len(general)).repeat_interleave(settings.error_draws)

    @torch.no_grad()
    def measure(rows: slice) -> torch.Tensor:
        x0, timesteps = latents[owner[rows].to(latents.device)], draws.timesteps.flatten()[rows]
        noise = draws.noise.flatten(0, 1)[rows].to(x0)
        noisy = denoiser.schedule.add_noise(x0, noise, timesteps)
        found = denoiser.predict(noisy, timesteps, condition.select(owner[rows]))
        error = found.output - denoiser.schedule.target(found.kind, x0, noise, timesteps)
        pairs = [error, torch.full_like(error, torch.nan)]
        if null is not None:
            pairs[1] = found.output - denoiser.predict(noisy, timesteps, null.repeat(len(x0))).output
        return torch.stack([one.square().flatten(1).mean(dim=1) for one in pairs], dim=1).double().cpu()

    means = torch.cat(list(executor.slices(len(owner), measure))).reshape(len(general), -1, 2).mean(dim=1)
    return [(error, None if null is None else response) for error, response in means.tolist()]


class CopyFreeScores(Record):
    """Scores of answers that copy nothing: for each trigger prompt, the general image that fits it best."""

    similarity: list[float]
    """Similarity of that general image to the trigger's image."""
    alignment: list[float]
    """Its cosine with the trigger's prompt."""
    retrieved: list[bool]
    """True for each general image that is itself told from nine other prompts by its own: the best the judge can do."""


def score_copy_free(denoiser: Denoiser, task: EvaluationTask) -> CopyFreeScores | Skipped:
    """Score answers that copy nothing, MemBench's reference, with general images in place of a web search.

    Returns  Skipped without a CLIP, which chooses the answers
    """
    triggers, general, judges, seed = task.triggers, task.general, task.judges, task.settings.seed
    if judges.clip is None:
        return Skipped(skipped=NO_CLIP)
    everything = [*triggers, *general]
    texts = judges.clip.describe_texts([one.prompt for one in everything])
    pictures = torch.stack([one.image for one in general])
    vectors = judges.clip.describe_images(pictures)
    cosines = texts[: len(triggers)] @ vectors.T
    chosen = cosines.argmax(dim=1)
    descriptor = judges.matcher.deciding()
    rendered = torch.cat([denoiser.decode(denoiser.encode(one.image[None])) for one in triggers])
    close = compare_vectors(descriptor, descriptor.describe(rendered), descriptor.describe(pictures[chosen]))
    told = []
    for number in range(len(triggers), len(everything)):
        own, others = vectors[number - len(triggers)][None], texts[_draw_other_prompts(everything, number, seed)]
        told.append(bool(len(others)) and bool(retrieves_own_caption(own, texts[number][None], others[None])))
    return CopyFreeScores(
        similarity=[float(value) for value in close], alignment=cosines.max(dim=1).values.tolist(), retrieved=told
    )
