"""Measure a chunk of images: inversion, denoising error, replicas per rung; the same for targets and controls."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from imgaudit.diffusion.denoiser import Denoiser, PromptEmbeds
from imgaudit.diffusion.denoising_error import PairedErrors, measure_paired_errors
from imgaudit.diffusion.elicitation import Answer, Question, compare_frames, compare_parts, elicit
from imgaudit.diffusion.executor import Executor
from imgaudit.diffusion.generation import replica_seeds
from imgaudit.diffusion.inversion import Inversion, embedding_bits, invert
from imgaudit.diffusion.invmm.search import NoiseInversion, invert_noise
from imgaudit.diffusion.paraphrase import paraphrase
from imgaudit.diffusion.seeds import draw_seed
from imgaudit.diffusion.stream_effects import InvertedImage, measure_stream_effects
from imgaudit.diffusion.token_search import TokenPrompt, search_tokens
from imgaudit.io.framing import frame_image, measure_complexity, to_tensor
from imgaudit.io.portfolio import LoadedTarget, Target
from imgaudit.io.reading import format_path
from imgaudit.schema.protocol import Protocol
from imgaudit.schema.records import (
    DECIDING_RUNGS,
    NOTHING_GIVEN,
    TEXT_RUNGS,
    ErrorCurvePoint,
    ErrorMeasurement,
    InvMMMeasurement,
    Measurement,
    Replica,
    Rung,
    RungMeasurement,
    Skipped,
)
from imgaudit.similarity.appearance import describe_image
from imgaudit.similarity.descriptors import hash_whole_image
from imgaudit.similarity.matcher import Matcher


@dataclass(frozen=True)
class MeasuredImage:
    """A measurement and the tensors behind it, which an audit saves and a calibration drops."""

    measurement: Measurement
    """The numbers; paths of replicas are relative to the run folder."""
    framed: torch.Tensor
    """(3, R, R) in [-1, 1]: the target as the model's size shows it."""
    reference: torch.Tensor
    """(3, R, R) in [-1, 1]: decode(encode(target)), what replicas are compared with."""
    prompt_embeds: dict[str, torch.Tensor]
    """The inverted embedding, per stream (tokens, width) float32."""
    learned_noise: dict[str, torch.Tensor]
    """Of InvMM: mu and logvar (C, h, w), and the condition's streams; empty where the protocol does not have it."""
    images: dict[str, torch.Tensor]
    """Every generated frame by its path in the run folder."""


def replica_path(image_id: str, rung: Rung, guidance_scale: float, number: int) -> str:
    """Where a replica lies in a run folder."""
    return f"images/{image_id}/replicas/{rung.value}-g{guidance_scale:g}-{number:04d}.png"


def measure_chunk(
    denoiser: Denoiser,
    loaded: Sequence[LoadedTarget],
    protocol: Protocol,
    *,
    run_seed: int,
    executor: Executor,
    matcher: Matcher | None = None,
    is_copy: Callable[[Replica], bool] = lambda replica: False,
) -> list[MeasuredImage]:
    """Put every image of a chunk through the whole protocol.

    Images share batches and nothing else; time and network evaluations are divided equally among them, except
    evaluations of InvMM and those that are spent on an image with copies alone.

    is_copy:  tells copies among the embedding's replicas, which are then asked for with some of the streams only
    """
    matcher = matcher or Matcher()
    started, evaluations = time.perf_counter(), denoiser.network_evaluations
    targets = [one.target for one in loaded]
    framed_images = [frame_image(one.pixels, denoiser.resolution, protocol.framing) for one in loaded]
    framed = torch.stack([to_tensor(image) for image in framed_images])
    sha256s = [target.image.sha256 for target in targets]
    latents = torch.cat(list(executor.slices(len(framed), lambda rows: denoiser.encode(framed[rows]))))
    references = torch.cat(list(executor.slices(len(framed), lambda rows: denoiser.decode(latents[rows]))))

    errors: list[PairedErrors] = []

    def on_step(step: int, prompt_embeds: PromptEmbeds) -> None:
        if step == protocol.error.after_steps and not denoiser.no_null:
            errors.append(
                measure_paired_errors(
                    denoiser, latents, sha256s, prompt_embeds, protocol.error, run_seed=run_seed, executor=executor
                )
            )

    inversion = invert(
        denoiser, latents, sha256s, protocol.inversion, run_seed=run_seed, executor=executor, on_step=on_step
    )
    error_records = _error_records(errors, denoiser, len(targets))
    found = _search(denoiser, latents, sha256s, protocol, run_seed, executor)
    generated: dict[Rung, list[RungAnswers | Skipped]] = {
        rung: _climb(denoiser, targets, rung, inversion, found, references, protocol, run_seed, executor, matcher)
        if rung.value in protocol.ladder.rungs
        else [Skipped(skipped=f"the protocol has no {rung.value} rung")] * len(targets)
        for rung in DECIDING_RUNGS
    }
    moved = _move_noise(denoiser, latents, references, sha256s, inversion, protocol, run_seed, executor, matcher)
    if moved:
        generated[Rung.EMBEDDING_NOISE] = _ask_moved(
            denoiser, moved, sha256s, references, protocol, run_seed, executor, matcher
        )
    share, searched = 1 / len(targets), [one.network_evaluations for one in moved] or [0] * len(targets)
    seconds = (time.perf_counter() - started) * share
    # InvMM ends where it succeeds, so that what it spends is each image's own.
    spent = round((denoiser.network_evaluations - evaluations - sum(searched)) * share)

    measured = []
    for row, target in enumerate(targets):
        rungs: dict[Rung, RungMeasurement | Skipped] = {}
        images: dict[str, torch.Tensor] = {}
        for rung in generated:
            answered = generated[rung][row]
            if isinstance(answered, Skipped):
                rungs[rung] = answered
                continue
            replicas, pictures = _compare(target.image.id, rung, answered.answers, references[row], matcher)
            cut = [denoiser.cut_tokens(text) for text in answered.texts]
            most = {name: max(one.get(name, 0) for one in cut) for name in sorted({key for one in cut for key in one})}
            read = [denoiser.characters_read(text) for text in answered.texts] if most else []
            rungs[rung] = RungMeasurement(
                texts=answered.texts, bits=answered.bits, cut_tokens=most, characters_read=read, replicas=replicas
            )
            images |= pictures
        own_start, own_evaluations = time.perf_counter(), denoiser.network_evaluations
        inverted = InvertedImage(
            sha256s[row], latents[row : row + 1], references[row], inversion.prompt_embeds.select(slice(row, row + 1)),
            errors[0].null[row : row + 1] if errors else Skipped(skipped=denoiser.no_null),
        )  # fmt: skip
        stream_conditions = measure_stream_effects(
            denoiser, inverted, rungs[Rung.EMBEDDING], protocol, is_copy=is_copy, run_seed=run_seed, executor=executor,
            matcher=matcher,
        )  # fmt: skip
        pixels, size = loaded[row].pixels, framed_images[row]
        [(floor, _)] = matcher.compare(framed[row], references[row][None])
        measurement = Measurement(
            id=target.image.id,
            path=format_path(target.path),
            sha256=target.image.sha256,
            width=pixels.width,
            height=pixels.height,
            notes=list(target.image.notes),
            complexity=measure_complexity(size),
            vae_floor=floor,
            vae_error=float((references[row] - framed[row]).square().mean().sqrt() / framed[row].std().clamp(min=1e-6)),
            features=describe_image(
                framed[row], complexity=measure_complexity(size), width=pixels.width, height=pixels.height
            ),
            pdq=hash_whole_image(pixels),
            made_by=target.image.made_by,
            loss_curve=inversion.losses[row].tolist(),
            error=error_records[row],
            rungs=rungs,
            stream_conditions=stream_conditions,
            invmm=_invmm_record(moved[row], protocol) if moved else None,
            seconds=seconds + time.perf_counter() - own_start,
            network_evaluations=spent + searched[row] + denoiser.network_evaluations - own_evaluations,
        )
        embeds = {name: stream[row] for name, stream in inversion.prompt_embeds.streams.items()}
        noise = _noise_tensors(moved[row]) if moved else {}
        measured.append(MeasuredImage(measurement, framed[row], references[row], embeds, noise, images))
    return measured


def _error_records(errors: Sequence[PairedErrors], denoiser: Denoiser, count: int) -> list[ErrorMeasurement | Skipped]:
    if not errors:
        return [Skipped(skipped=denoiser.no_null)] * count
    [paired] = errors
    curves = paired.by_timestep(denoiser.schedule.num_train_timesteps)
    log_ratios, wins = paired.log_ratio(), paired.win_rate()
    return [
        ErrorMeasurement(
            conditional=float(paired.conditional[row].double().mean()),
            null=float(paired.null[row].double().mean()),
            log_ratio=float(log_ratios[row]),
            win_rate=float(wins[row]),
            draws=paired.conditional.shape[1],
            by_timestep=[ErrorCurvePoint.model_validate(point) for point in curves[row]],
        )
        for row in range(count)
    ]


@dataclass(frozen=True)
class RungAnswers:
    """What one rung of one image was asked with, and every frame that came back."""

    texts: list[str]
    bits: float | Skipped
    answers: list[Answer]


def _search(
    denoiser: Denoiser,
    latents: torch.Tensor,
    sha256s: Sequence[str],
    protocol: Protocol,
    run_seed: int,
    executor: Executor,
) -> list[TokenPrompt]:
    """The prompts of the tokens rung, none when the protocol or the model has no such rung."""
    if Rung.TOKENS.value not in protocol.ladder.rungs or not denoiser.words:
        return []
    return search_tokens(denoiser, latents, sha256s, protocol.tokens, run_seed=run_seed, executor=executor)


def rung_texts(target: Target, rung: Rung, protocol: Protocol, run_seed: int) -> list[str] | Skipped:
    """The texts of a text rung of one target, or why there are none."""
    if rung is not Rung.PARAPHRASE:
        return list(target.texts.get(rung, ())) or Skipped(skipped=f"no {rung.value} was given")
    given = [*target.texts.get(Rung.CAPTION, ()), *target.texts.get(Rung.PROMPT, ())]
    if not given:
        return Skipped(skipped="no text was given to reword")
    seed = draw_seed(run_seed, target.image.sha256, "paraphrase")
    texts = [text for text in paraphrase(given[0], protocol.ladder.paraphrases, seed) if text not in given]
    return texts or Skipped(skipped="the text is too short to be reworded")


def _climb(
    denoiser: Denoiser,
    targets: Sequence[Target],
    rung: Rung,
    inversion: Inversion,
    searched: Sequence[TokenPrompt],
    references: torch.Tensor,
    protocol: Protocol,
    run_seed: int,
    executor: Executor,
    matcher: Matcher,
) -> list[RungAnswers | Skipped]:
    """Per target, the answers of one rung over texts, scales and seeds; Skipped where the target lacks the rung."""
    found: list[RungAnswers | Skipped] = []
    questions: list[Question] = []
    for row, target in enumerate(targets):
        texts: list[str] | Skipped = []
        bits: float | Skipped = NOTHING_GIVEN
        if rung in TEXT_RUNGS:
            texts = rung_texts(target, rung, protocol, run_seed)
        elif rung is Rung.TOKENS:
            texts = [searched[row].text] if searched else Skipped(skipped="this model has no words to search over")
            bits = searched[row].bits if searched else bits
        else:
            bits = embedding_bits(inversion.prompt_embeds, protocol.inversion.free_tokens, protocol.inversion.streams)
        if isinstance(texts, Skipped):
            found.append(texts)
            continue
        condition = denoiser.condition(texts) if texts else inversion.prompt_embeds.select(slice(row, row + 1))
        seeds = replica_seeds(run_seed, target.image.sha256, protocol.generation.seeds)
        questions.append(Question(texts, condition, seeds, references[row]))
        found.append(RungAnswers(texts, bits, []))
    answered = iter(elicit(denoiser, questions, protocol.generation, executor=executor, matcher=matcher))
    return [one if isinstance(one, Skipped) else RungAnswers(one.texts, one.bits, next(answered)) for one in found]


def _move_noise(
    denoiser: Denoiser,
    latents: torch.Tensor,
    references: torch.Tensor,
    sha256s: Sequence[str],
    inversion: Inversion,
    protocol: Protocol,
    run_seed: int,
    executor: Executor,
    matcher: Matcher,
) -> list[NoiseInversion]:
    """InvMM for every image, none where the protocol does not have it; embeddings begin where inversion ended."""
    if protocol.invmm is None:
        return []
    return invert_noise(
        denoiser, latents, references, sha256s, protocol.invmm, run_seed=run_seed, executor=executor, matcher=matcher,
        start=inversion.prompt_embeds, streams=protocol.inversion.streams,
    )  # fmt: skip


def _ask_moved(
    denoiser: Denoiser,
    moved: Sequence[NoiseInversion],
    sha256s: Sequence[str],
    references: torch.Tensor,
    protocol: Protocol,
    run_seed: int,
    executor: Executor,
    matcher: Matcher,
) -> "list[RungAnswers | Skipped]":
    """Fresh seeds through the learned noise, under the learned condition; also where no check had succeeded, so that
    the rate counts every image."""
    questions, bits = [], []
    for one, sha256, reference in zip(moved, sha256s, references, strict=True):
        seeds = replica_seeds(run_seed, sha256, protocol.generation.seeds)
        questions.append(Question([], one.prompt_embeds, seeds, reference, one.noise))
        of_noise = 32.0 * (one.noise.mu.numel() + one.noise.logvar.numel())
        bits.append(of_noise + embedding_bits(one.prompt_embeds, None))
    answers = elicit(denoiser, questions, protocol.generation, executor=executor, matcher=matcher)
    return [RungAnswers([], carried, answer) for carried, answer in zip(bits, answers, strict=True)]


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


def _compare(
    image_id: str, rung: Rung, answers: Sequence[Answer], reference: torch.Tensor, matcher: Matcher
) -> tuple[list[Replica], dict[str, torch.Tensor]]:
    compared = compare_frames([answer.frame for answer in answers], reference, matcher)
    frames = [answer.frame for answer in answers]
    # Nothing is decided from learned noise, so the dear comparison in parts is not made of it.
    parts = compare_parts(frames, reference) if rung in DECIDING_RUNGS else [None] * len(frames)
    replicas, pictures = [], {}
    numbers: dict[float, int] = {}
    for answer, (similarity, distance), part in zip(answers, compared, parts, strict=True):
        frame = answer.frame
        number = numbers[frame.guidance_scale] = numbers.get(frame.guidance_scale, -1) + 1
        path = replica_path(image_id, rung, frame.guidance_scale, number)
        pictures[path] = frame.image
        replicas.append(
            Replica(seed=frame.seed, guidance_scale=frame.guidance_scale, text=answer.text, path=path,
                    similarity=similarity, distance=distance, part=part)
        )  # fmt: skip
    return replicas, pictures
