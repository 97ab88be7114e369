"""Measure a chunk of images: inversion, denoising errors, replicas per rung; the same for targets and controls."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from PIL import Image

from imgaudit.diffusion.context import Chunk, MeasurementContext, encode_chunk
from imgaudit.diffusion.denoiser import PromptEmbeds
from imgaudit.diffusion.elicitation import Answer, compare_frames, compare_parts
from imgaudit.diffusion.inversion import Inversion
from imgaudit.diffusion.invmm.search import NoiseInversion, invert_noise
from imgaudit.diffusion.rungs import RungAnswers, ask_learned_noise, ask_rungs, find_rung_texts, leave_rungs
from imgaudit.diffusion.scoring import ChunkScorer, LookedChunk, ScoredChunk, finish_inversion
from imgaudit.diffusion.stream_effects import InvertedImage, measure_stream_effects
from imgaudit.io.framing import find_frame
from imgaudit.io.pdq_hash import hash_whole_image
from imgaudit.io.portfolio import LoadedTarget
from imgaudit.io.reading import format_path
from imgaudit.schema.image_scores import FirstLook
from imgaudit.schema.protocol import Protocol
from imgaudit.schema.records import (
    DECIDING_RUNGS,
    ErrorMeasurement,
    InvMMMeasurement,
    Measurement,
    Replica,
    Rung,
    RungMeasurement,
    Skipped,
)
from imgaudit.similarity.appearance import describe_image
from imgaudit.similarity.matcher import Matcher
from imgaudit.similarity.reference import Reference


@dataclass(frozen=True)
class MeasuredImage:
    """A measurement and the tensors behind it, which an audit saves and a calibration drops."""

    measurement: Measurement
    """The numbers; paths of replicas are relative to the run folder."""
    original: Image.Image
    """RGB: the owner's picture, upright, at its own size."""
    framed: torch.Tensor
    """(3, R, R) in [-1, 1]: the target at the model's size."""
    rendered: torch.Tensor
    """(3, R, R) in [-1, 1]: decode(encode(target)), which replicas are compared with."""
    prompt_embeds: dict[str, torch.Tensor]
    """The inverted embedding, per stream (tokens, width) float32."""
    learned_noise: dict[str, torch.Tensor]
    """InvMM's mu and logvar (C, h, w), and the streams of its condition; empty where the protocol has no InvMM."""
    images: dict[str, torch.Tensor]
    """Every generated image, (3, H, W) in [-1, 1], by its path in the run folder."""


@dataclass(frozen=True)
class _ImageResult:
    """Results of measuring one image in its chunk."""

    errors: torch.Tensor
    """(1, draws) float32: the baseline's errors on the score's draws; none where the score was not measured."""
    error: ErrorMeasurement | Skipped
    caption_error: ErrorMeasurement | Skipped
    prompt_embeds: PromptEmbeds
    """The inverted embedding; of an image that was not asked in all ways, the one that it was scored with."""
    losses: torch.Tensor
    """(steps,) float32."""
    answers: Mapping[Rung, RungAnswers | Skipped]
    noise: NoiseInversion | None
    """InvMM's result; None where the protocol has no InvMM."""
    seconds: float
    """The image's share of the seconds."""
    network_evaluations: float
    """Its share of the network evaluations, without those of InvMM, which every image has for itself."""
    first_look: FirstLook | None = None
    """The first look; None where none was taken."""

    def spent(self, share: tuple[float, float]) -> "_ImageResult":
        """Return the result with more seconds and evaluations."""
        seconds, evaluations = share
        return replace(self, seconds=self.seconds + seconds, network_evaluations=self.network_evaluations + evaluations)


def name_replica(image_id: str, rung: Rung, guidance_scale: float, number: int) -> str:
    """Return the path of a replica in a run folder."""
    return f"images/{image_id}/replicas/{rung.value}-g{guidance_scale:g}-{number:04d}.png"


def measure_chunk(context: MeasurementContext, loaded: Sequence[LoadedTarget]) -> list[MeasuredImage]:
    """Put every image of a chunk through the whole protocol; one result per image, in order.

    Images share batches and nothing else: random draws depend on run seed, image, purpose and index alone. Time and
    network evaluations are divided equally among the images that a step is done with, except evaluations of InvMM and
    those that are spent on an image with copies alone.

    Raises ConfigError for a stream that the model does not have, and MemoryShortageError when one image is too much.
    """
    spending = _Spending(context)
    context.begin("encoding", loaded)
    chunk = encode_chunk(context, loaded)
    scorer = ChunkScorer(context, chunk)
    looked = scorer.look()
    if looked is None:
        results = _score_images(context, chunk, scorer, spending)
    else:
        first = spending.share(len(chunk))
        by_row = {row: _stop(context, chunk, looked, row) for row, reason in enumerate(looked.reasons) if reason}
        if looked.kept:
            scorer.keep(looked.kept)
            scored = _score_images(context, chunk.select(looked.kept), scorer, spending)
            by_row |= dict(zip(looked.kept, scored, strict=True))
        results = [replace(by_row[row].spent(first), first_look=look) for row, look in enumerate(looked.looks)]
    return [_measure_image(context, chunk, row, result) for row, result in enumerate(results)]


class _Spending:
    """Counts what steps of the work take, and divides it among images."""

    def __init__(self, context: MeasurementContext) -> None:
        self._denoiser = context.denoiser
        self._began, self._before = time.perf_counter(), self._denoiser.network_evaluations

    def share(self, images: int, apart: int = 0) -> tuple[float, float]:
        """Return the seconds and evaluations since the last call that each of some images took; none where there are
        none.

        apart:  evaluations that are some images' own and are counted there
        """
        now, evaluations = time.perf_counter(), self._denoiser.network_evaluations
        spent = now - self._began, evaluations - self._before - apart
        self._began, self._before = now, evaluations
        return (spent[0] / images, spent[1] / images) if images else (0.0, 0.0)


def _score_images(
    context: MeasurementContext, chunk: Chunk, scorer: ChunkScorer, spending: _Spending
) -> list[_ImageResult]:
    """Score images, and ask for those that are asked in all ways; one result per image."""
    scored = scorer.score()
    every = spending.share(len(chunk))
    asked = _ask_images(context, chunk, scored) if scored.asked else {}
    further = spending.share(len(asked), sum(one.noise.network_evaluations for one in asked.values() if one.noise))
    return [
        (_leave_out(context, chunk, scored, row) if reason else asked[row].spent(further)).spent(every)
        for row, reason in enumerate(scored.reasons)
    ]


def _ask_images(context: MeasurementContext, chunk: Chunk, scored: ScoredChunk) -> dict[int, _ImageResult]:
    """Ask for the images of a scored chunk that are asked in all ways; results by row."""
    rows = scored.asked
    asked, errors = chunk.select(rows), scored.errors.select(rows)
    inversion = finish_inversion(context, asked, scored)
    context.begin("generating images", asked.loaded)
    answers = ask_rungs(context, asked, inversion)
    noise = _invert_noise(context, asked, inversion)
    if noise:
        answers[Rung.EMBEDDING_NOISE] = ask_learned_noise(context, asked, noise)
    return {
        row: _ImageResult(
            errors.null[number : number + 1], scored.records[row], scored.caption_records[row],
            inversion.prompt_embeds.select(slice(number, number + 1)), inversion.losses[number],
            {rung: given[number] for rung, given in answers.items()}, noise[number] if noise else None, 0.0, 0,
        )
        for number, row in enumerate(rows)
    }  # fmt: skip


def _leave_out(context: MeasurementContext, chunk: Chunk, scored: ScoredChunk, row: int) -> _ImageResult:
    """Return the result of an image that has a score and is not asked in all ways."""
    reason, target, scored_by = scored.reasons[row], chunk.loaded[row].target, scored.inversion
    return _ImageResult(
        scored.errors.null[row : row + 1], scored.records[row], scored.caption_records[row],
        scored_by.prompt_embeds.select(slice(row, row + 1)), scored_by.losses[row],
        leave_rungs(context, target, reason), None, 0.0, 0,
    )  # fmt: skip


def _stop(context: MeasurementContext, chunk: Chunk, looked: LookedChunk, row: int) -> _ImageResult:
    """Return the result of an image whose score is not measured after its first look."""
    reason, found = Skipped(skipped=looked.reasons[row]), looked.inversion
    caption = find_rung_texts(chunk.loaded[row].target, Rung.CAPTION, context.protocol, context.run_seed)
    return _ImageResult(
        torch.zeros(1, 0), reason, caption if isinstance(caption, Skipped) else reason,
        found.prompt_embeds.select(slice(row, row + 1)), found.losses[row],
        leave_rungs(context, chunk.loaded[row].target, reason.skipped), None, 0.0, 0,
    )  # fmt: skip


def _invert_noise(context: MeasurementContext, chunk: Chunk, inversion: Inversion) -> list[NoiseInversion]:
    """Run InvMM on every image; its embeddings begin where inversion ended. None where the protocol has no InvMM."""
    if context.protocol.invmm is None:
        return []
    context.begin("measuring InvMM", chunk.loaded)
    return invert_noise(
        context.denoiser, chunk.encoded, context.protocol.invmm, run_seed=context.run_seed, executor=context.executor,
        matcher=context.matcher, start=inversion.prompt_embeds, streams=context.protocol.inversion.streams,
    )  # fmt: skip


def _measure_image(context: MeasurementContext, chunk: Chunk, row: int, result: _ImageResult) -> MeasuredImage:
    """Compare what one image's rungs answered, ask again for its copies stream by stream, and write its record."""
    target, pixels = chunk.loaded[row].target, chunk.loaded[row].pixels
    context.begin("comparing generated images", chunk.loaded[row : row + 1])
    framed, rendered = chunk.framed[row], chunk.encoded.rendered[row]
    rungs: dict[Rung, RungMeasurement | Skipped] = {}
    images: dict[str, torch.Tensor] = {}
    reference = Reference(rendered)
    for rung, answers in result.answers.items():
        rungs[rung], pictures = _measure_rung(context, target.image.id, rung, answers, reference)
        images |= pictures
    started, before = time.perf_counter(), context.denoiser.network_evaluations
    inverted = InvertedImage(
        chunk.encoded.sha256s[row],
        chunk.encoded.latents[row : row + 1],
        rendered,
        result.prompt_embeds,
        result.errors,
    )
    stream_conditions = measure_stream_effects(context, inverted, rungs[Rung.EMBEDDING])
    noise = result.noise
    own = context.denoiser.network_evaluations - before + (noise.network_evaluations if noise else 0)
    size = chunk.complexities[row]
    [(floor, _)] = context.matcher.compare(framed, rendered[None])
    measurement = Measurement(
        id=target.image.id,
        path=format_path(target.path),
        sha256=target.image.sha256,
        width=pixels.width,
        height=pixels.height,
        frame=find_frame(pixels.width, pixels.height, context.protocol.framing),
        notes=list(target.image.notes),
        complexity=size,
        vae_floor=floor,
        vae_error=float((rendered - framed).square().mean().sqrt() / framed.std().clamp(min=1e-6)),
        features=describe_image(framed, complexity=size, width=pixels.width, height=pixels.height),
        pdq=hash_whole_image(pixels),
        made_by=target.image.made_by,
        loss_curve=result.losses.tolist(),
        error=result.error,
        caption_error=result.caption_error,
        first_look=result.first_look,
        rungs=rungs,
        stream_conditions=stream_conditions,
        invmm=_invmm_record(noise, context.protocol) if noise else None,
        seconds=result.seconds + time.perf_counter() - started,
        network_evaluations=round(result.network_evaluations) + own,
    )
    embeds = {name: stream[0].cpu() for name, stream in result.prompt_embeds.streams.items()}
    learned_noise = _noise_tensors(noise) if noise else {}
    return MeasuredImage(measurement, pixels, framed, rendered, embeds, learned_noise, images)


def _measure_rung(
    context: MeasurementContext, image_id: str, rung: Rung, answered: RungAnswers | Skipped, reference: Reference
) -> tuple[RungMeasurement | Skipped, dict[str, torch.Tensor]]:
    """Compare one rung's answers with the image; returns the record, and the generated images by path."""
    if isinstance(answered, Skipped):
        return answered, {}
    denoiser = context.denoiser
    replicas, pictures = _compare_answers(image_id, rung, answered.answers, reference, context.matcher)
    cut = [denoiser.cut_tokens(text) for text in answered.texts]
    most = {name: max(one.get(name, 0) for one in cut) for name in sorted({key for one in cut for key in one})}
    read = [denoiser.characters_read(text) for text in answered.texts] if most else []
    record = RungMeasurement(
        texts=answered.texts, bits=answered.bits, cut_tokens=most, characters_read=read, replicas=replicas
    )
    return record, pictures


def _compare_answers(
    image_id: str, rung: Rung, answers: Sequence[Answer], reference: Reference, matcher: Matcher
) -> tuple[list[Replica], dict[str, torch.Tensor]]:
    frames = [answer.frame for answer in answers]
    compared = compare_frames(frames, reference, matcher)
    # Nothing is decided from learned noise, so its images are not compared in parts, which takes long.
    parts = compare_parts(frames, reference) if rung in DECIDING_RUNGS else [None] * len(frames)
    replicas, pictures = [], {}
    numbers: dict[float, int] = {}
    for answer, (similarity, distance), part in zip(answers, compared, parts, strict=True):
        frame = answer.frame
        number = numbers[frame.guidance_scale] = numbers.get(frame.guidance_scale, -1) + 1
        path = name_replica(image_id, rung, frame.guidance_scale, number)
        pictures[path] = frame.image
        replicas.append(
            Replica(seed=frame.seed, guidance_scale=frame.guidance_scale, text=answer.text, path=path,
                    similarity=similarity, distance=distance, part=part)
        )  # fmt: skip
    return replicas, pictures


def _noise_tensors(found: NoiseInversion) -> dict[str, torch.Tensor]:
    streams = {f"condition.{name}": stream[0] for name, stream in found.prompt_embeds.streams.items()}
    return {"mu": found.noise.mu, "logvar": found.noise.logvar, **streams}


def _invmm_record(found: NoiseInversion, protocol: Protocol) -> InvMMMeasurement:
    assert protocol.invmm is not None
    return InvMMMeasurement(
        kl_per_dimension=found.kl_per_dimension if found.succeeded else Skipped(skipped=found.failure(protocol.invmm)),
        elements=found.noise.mu.numel(),
        steps=found.steps,
        condition=found.condition,
        network_evaluations=found.network_evaluations,
    )
