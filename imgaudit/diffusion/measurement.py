"""Measure a chunk of images: inversion, denoising errors, replicas per rung; the same for targets and controls."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from PIL import Image

from imgaudit.diffusion.caption_error import measure_caption_errors
from imgaudit.diffusion.context import Chunk, MeasurementContext, encode_chunk
from imgaudit.diffusion.denoiser import PromptEmbeds
from imgaudit.diffusion.denoising_error import PairedErrors, choose_baseline, measure_paired_errors
from imgaudit.diffusion.elicitation import Answer, compare_frames, compare_parts
from imgaudit.diffusion.inversion import Inversion, invert
from imgaudit.diffusion.invmm.search import NoiseInversion, invert_noise
from imgaudit.diffusion.rungs import RungAnswers, ask_learned_noise, ask_rungs
from imgaudit.diffusion.span_search import search_span
from imgaudit.diffusion.stream_effects import InvertedImage, measure_stream_effects
from imgaudit.io.framing import find_frame, measure_complexity
from imgaudit.io.pdq_hash import hash_whole_image
from imgaudit.io.portfolio import LoadedTarget
from imgaudit.io.reading import format_path
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
class _ChunkResult:
    """Results of measuring the images of a chunk together; lists have one entry per image."""

    inversion: Inversion
    errors: PairedErrors
    answers: Mapping[Rung, Sequence[RungAnswers | Skipped]]
    noise: Sequence[NoiseInversion]
    """InvMM's results; none where the protocol has no InvMM."""
    error_records: Sequence[ErrorMeasurement]
    caption_errors: Sequence[ErrorMeasurement | Skipped]
    seconds: float
    """Seconds for one image."""
    network_evaluations: int
    """Network evaluations for one image, without those of InvMM, which every image has for itself."""


def name_replica(image_id: str, rung: Rung, guidance_scale: float, number: int) -> str:
    """Return the path of a replica in a run folder."""
    return f"images/{image_id}/replicas/{rung.value}-g{guidance_scale:g}-{number:04d}.png"


def measure_chunk(context: MeasurementContext, loaded: Sequence[LoadedTarget]) -> list[MeasuredImage]:
    """Put every image of a chunk through the whole protocol; one result per image, in order.

    Images share batches and nothing else: random draws depend on run seed, image, purpose and index alone. Time and
    network evaluations are divided equally among the images, except evaluations of InvMM and those that are spent on an
    image with copies alone.

    Raises ConfigError for a stream that the model does not have, and MemoryShortageError when one image is too much.
    """
    started, before = time.perf_counter(), context.denoiser.network_evaluations
    context.begin("encoding", loaded)
    chunk = encode_chunk(context, loaded)
    inversion, errors = _invert(context, chunk)
    error_records = errors.records(context.denoiser.schedule.num_train_timesteps)
    context.begin("measuring under captions", loaded)
    caption_errors = measure_caption_errors(context, chunk, errors)
    context.begin("generating images", loaded)
    answers = ask_rungs(context, chunk, inversion)
    noise = _invert_noise(context, chunk, inversion)
    if noise:
        answers[Rung.EMBEDDING_NOISE] = ask_learned_noise(context, chunk, noise)
    share = 1 / len(chunk)
    seconds = (time.perf_counter() - started) * share
    # InvMM ends where it succeeds, so that what it spends is each image's own.
    spent = context.denoiser.network_evaluations - before - sum(one.network_evaluations for one in noise)
    result = _ChunkResult(
        inversion, errors, answers, noise, error_records, caption_errors, seconds, round(spent * share)
    )
    return [_measure_image(context, chunk, row, result) for row in range(len(chunk))]


def _invert(context: MeasurementContext, chunk: Chunk) -> tuple[Inversion, PairedErrors]:
    """Invert the images, and measure their denoising errors where the protocol says.

    That is under what a search in the span of texts found, or within the inversion, after the step that the protocol
    names. The inversion never starts from what that search found: from there, images come out that the model was not
    trained on.
    """
    denoiser, protocol, encoded, span = context.denoiser, context.protocol, chunk.encoded, context.text_span
    measured: list[PairedErrors] = []

    def measure(prompt_embeds: PromptEmbeds) -> None:
        errors = measure_paired_errors(
            denoiser, encoded.latents, encoded.sha256s, prompt_embeds, protocol.error, run_seed=context.run_seed,
            executor=context.executor, baseline=choose_baseline(denoiser),
        )  # fmt: skip
        measured.append(errors)

    def on_step(step: int, prompt_embeds: PromptEmbeds) -> None:
        if step == protocol.error.after_steps and span is None:
            measure(prompt_embeds)

    if span is not None:
        assert protocol.span is not None
        context.begin("searching among texts", chunk.loaded)
        found = search_span(
            denoiser, encoded.latents, encoded.sha256s, span, protocol.span, run_seed=context.run_seed,
            executor=context.executor,
        )  # fmt: skip
        measure(found.prompt_embeds)
    context.begin("searching for an embedding", chunk.loaded)
    inversion = invert(
        denoiser, encoded.latents, encoded.sha256s, protocol.inversion, run_seed=context.run_seed,
        executor=context.executor, on_step=on_step,
    )  # fmt: skip
    # A protocol never asks for the score after more steps than there are.
    [errors] = measured
    return inversion, errors


def _invert_noise(context: MeasurementContext, chunk: Chunk, inversion: Inversion) -> list[NoiseInversion]:
    """Run InvMM on every image; its embeddings begin where inversion ended. None where the protocol has no InvMM."""
    if context.protocol.invmm is None:
        return []
    context.begin("measuring InvMM", chunk.loaded)
    return invert_noise(
        context.denoiser, chunk.encoded, context.protocol.invmm, run_seed=context.run_seed, executor=context.executor,
        matcher=context.matcher, start=inversion.prompt_embeds, streams=context.protocol.inversion.streams,
    )  # fmt: skip


def _measure_image(context: MeasurementContext, chunk: Chunk, row: int, result: _ChunkResult) -> MeasuredImage:
    """Compare what one image's rungs answered, ask again for its copies stream by stream, and write its record."""
    target, pixels = chunk.loaded[row].target, chunk.loaded[row].pixels
    context.begin("comparing generated images", chunk.loaded[row : row + 1])
    framed, rendered = chunk.framed[row], chunk.encoded.rendered[row]
    rungs: dict[Rung, RungMeasurement | Skipped] = {}
    images: dict[str, torch.Tensor] = {}
    for rung, answers in result.answers.items():
        rungs[rung], pictures = _measure_rung(context, target.image.id, rung, answers[row], rendered)
        images |= pictures
    started, before = time.perf_counter(), context.denoiser.network_evaluations
    inverted = InvertedImage(
        chunk.encoded.sha256s[row],
        chunk.encoded.latents[row : row + 1],
        rendered,
        result.inversion.prompt_embeds.select(slice(row, row + 1)),
        result.errors.null[row : row + 1],
    )
    stream_conditions = measure_stream_effects(context, inverted, rungs[Rung.EMBEDDING])
    noise = result.noise[row] if result.noise else None
    own = context.denoiser.network_evaluations - before + (noise.network_evaluations if noise else 0)
    size = measure_complexity(chunk.framed_images[row])
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
        loss_curve=result.inversion.losses[row].tolist(),
        error=result.error_records[row],
        caption_error=result.caption_errors[row],
        rungs=rungs,
        stream_conditions=stream_conditions,
        invmm=_invmm_record(noise, context.protocol) if noise else None,
        seconds=result.seconds + time.perf_counter() - started,
        network_evaluations=result.network_evaluations + own,
    )
    embeds = {name: stream[row] for name, stream in result.inversion.prompt_embeds.streams.items()}
    learned_noise = _noise_tensors(noise) if noise else {}
    return MeasuredImage(measurement, pixels, framed, rendered, embeds, learned_noise, images)


def _measure_rung(
    context: MeasurementContext, image_id: str, rung: Rung, answered: RungAnswers | Skipped, rendered: torch.Tensor
) -> tuple[RungMeasurement | Skipped, dict[str, torch.Tensor]]:
    """Compare one rung's answers with the image; returns the record, and the generated images by path."""
    if isinstance(answered, Skipped):
        return answered, {}
    denoiser = context.denoiser
    replicas, pictures = _compare_answers(image_id, rung, answered.answers, rendered, context.matcher)
    cut = [denoiser.cut_tokens(text) for text in answered.texts]
    most = {name: max(one.get(name, 0) for one in cut) for name in sorted({key for one in cut for key in one})}
    read = [denoiser.characters_read(text) for text in answered.texts] if most else []
    record = RungMeasurement(
        texts=answered.texts, bits=answered.bits, cut_tokens=most, characters_read=read, replicas=replicas
    )
    return record, pictures


def _compare_answers(
    image_id: str, rung: Rung, answers: Sequence[Answer], rendered: torch.Tensor, matcher: Matcher
) -> tuple[list[Replica], dict[str, torch.Tensor]]:
    frames = [answer.frame for answer in answers]
    compared = compare_frames(frames, rendered, matcher)
    # Nothing is decided from learned noise, so its images are not compared in parts, which takes long.
    parts = compare_parts(frames, rendered) if rung in DECIDING_RUNGS else [None] * len(frames)
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
