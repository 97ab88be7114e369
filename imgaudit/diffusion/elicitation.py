"""Elicitation: what a rung asks the model with, and what comes back. First seeds may choose, fresh ones do not."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from imgaudit.diffusion.denoiser import Denoiser, PromptEmbeds
from imgaudit.diffusion.executor import Executor
from imgaudit.diffusion.generation import Generated, generate
from imgaudit.diffusion.learned_noise import LearnedNoise
from imgaudit.schema.pairs import PairEvidence
from imgaudit.schema.protocol import GenerationConfig
from imgaudit.schema.records import PartMatch, Skipped
from imgaudit.similarity.descriptors import compare_vectors
from imgaudit.similarity.matcher import Matcher
from imgaudit.similarity.parts import LEAST_SIDE, compare_candidates, measure_rest_similarity
from imgaudit.similarity.reference import Reference


@dataclass(frozen=True)
class Question:
    """The request of one rung of one image."""

    texts: list[str]
    """The prompts, none for an embedding."""
    condition: PromptEmbeds
    """One condition per text, or the embedding."""
    seeds: list[int]
    """Seeds of the image, the same for every rung."""
    rendered: torch.Tensor
    """(3, H, W) in [-1, 1]: decode(encode(target)), which the first generated images are compared with to choose."""
    noise: LearnedNoise | None = None
    """The distribution that initial noise is from, where it is not the usual one."""


@dataclass(frozen=True)
class Answer:
    """One generated image and which of the texts asked for it."""

    frame: Generated
    text: int


@dataclass(frozen=True)
class _Request:
    """Seeds of one question at one guidance scale and with one text."""

    question: int
    guidance_scale: float
    text: int
    seeds: list[int]


def elicit(
    denoiser: Denoiser,
    questions: Sequence[Question],
    config: GenerationConfig,
    *,
    executor: Executor,
    matcher: Matcher,
) -> list[list[Answer]]:
    """Generate for every question; per question its answers in order of scale and seed, those of the fresh seeds last.

    One scale        every seed once, spread evenly over the texts
    several scales   the first `selection_seeds` at every scale, spread over the texts; the scale and text whose frames
                     are on average most similar to the image get all other seeds. Targets and controls choose alike,
                     without thresholds, so that the null stays one.
    """
    first = config.selection_seeds or config.seeds
    looks = [
        _Request(number, scale, text, question.seeds[:first][text :: len(question.condition)])
        for number, question in enumerate(questions)
        for scale in config.guidance_scales
        for text in range(len(question.condition))
    ]
    answers = _answer(denoiser, questions, looks, config, executor)
    # Back into the order of seeds, which is the order in which replicas are numbered.
    for number, question in enumerate(questions):
        place = {seed: position for position, seed in enumerate(question.seeds)}
        answers[number].sort(key=lambda a, place=place: (a.frame.guidance_scale, place[a.frame.seed]))  # type: ignore[misc]
    if config.selection_seeds:
        fresh = [
            _Request(number, *_choose(question, answers[number], matcher), question.seeds[first:])
            for number, question in enumerate(questions)
        ]
        for own, more in zip(answers, _answer(denoiser, questions, fresh, config, executor), strict=True):
            own.extend(more)
    return answers


def _choose(question: Question, answers: Sequence[Answer], matcher: Matcher) -> tuple[float, int]:
    """Scale and text whose frames are on average most similar to the image; the lower scale and text on a tie."""
    descriptor = matcher.deciding()
    target = descriptor.describe(question.rendered[None])
    means: dict[tuple[float, int], float] = {}
    for key in sorted({(answer.frame.guidance_scale, answer.text) for answer in answers}):
        frames = [a.frame.image for a in answers if (a.frame.guidance_scale, a.text) == key and a.frame.invalid is None]
        if not frames:
            means[key] = -1.0
            continue
        vectors = descriptor.describe(torch.stack(frames))
        means[key] = sum(compare_vectors(descriptor, vectors, target.repeat(len(frames), axis=0))) / len(frames)
    return max(means, key=lambda key: (means[key], -key[0], -key[1]))


def _answer(
    denoiser: Denoiser,
    questions: Sequence[Question],
    requests: Sequence[_Request],
    config: GenerationConfig,
    executor: Executor,
) -> list[list[Answer]]:
    """Generate for all requests, batched over everything that shares a guidance scale."""
    answers: list[list[Answer]] = [[] for _ in questions]
    for scale in config.guidance_scales:
        asked = [request for request in requests if request.guidance_scale == scale and request.seeds]
        if not asked:
            continue
        condition = PromptEmbeds.concatenate(
            [questions[r.question].condition.select(slice(r.text, r.text + 1)) for r in asked]
        )
        batches: Iterator[list[Generated]] = generate(
            denoiser, condition, [request.seeds for request in asked],
            guidance_scale=scale, num_inference_steps=config.num_inference_steps, executor=executor,
            noise=[questions[r.question].noise for r in asked] if any(one.noise for one in questions) else None,
        )  # fmt: skip
        for request, frames in zip(asked, batches, strict=True):
            answers[request.question] += [Answer(frame, request.text) for frame in frames]
    return answers


def compare_frames(
    frames: Sequence[Generated], rendered: torch.Tensor | Reference, matcher: Matcher
) -> list[tuple[dict[str, float] | Skipped, dict[str, float] | Skipped]]:
    """Return similarity and distance of every frame to one image; Skipped for one that cannot be scored."""
    scored = [frame.image for frame in frames if frame.invalid is None]
    compared = iter(matcher.compare(rendered, torch.stack(scored)) if scored else [])
    pairs: list[tuple[dict[str, float] | Skipped, dict[str, float] | Skipped]] = []
    for frame in frames:
        if frame.invalid is None:
            pairs.append(next(compared))
        else:
            reason = Skipped(skipped=f"invalid frame: {frame.invalid}")
            pairs.append((reason, reason))
    return pairs


def compare_parts(frames: Sequence[Generated], rendered: torch.Tensor | Reference) -> list[PartMatch | None]:
    """Compare every frame in parts with one image (3, H, W) in [-1, 1]; None for frames that cannot be scored.

    None for all where the image is too small to be compared in parts.
    """
    reference = Reference.of(rendered)
    if min(reference.pixels.shape[-2:]) < LEAST_SIDE:
        return [None] * len(frames)
    pairs = iter(compare_candidates(reference.features, [frame.image for frame in frames if frame.invalid is None]))
    return [_match_part(reference, frame, next(pairs)) if frame.invalid is None else None for frame in frames]


def _match_part(reference: Reference, frame: Generated, pair: PairEvidence) -> PartMatch:
    return PartMatch(
        geometric=pair.geometric, photometric=pair.photometric, area=pair.region.area,
        rest=measure_rest_similarity(reference.pixels, frame.image, pair.region), target_share=pair.target_share,
        candidate_share=pair.candidate_share,
    )  # fmt: skip
