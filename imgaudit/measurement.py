"""Measure a chunk of images: inversion, denoising error, replicas per rung; the same for targets and controls."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from imgaudit.config import Protocol
from imgaudit.denoiser import Denoiser, PromptEmbeds
from imgaudit.denoising_error import PairedErrors, measure_paired_errors
from imgaudit.executor import Executor
from imgaudit.generation import Generated, generate, replica_seeds
from imgaudit.images import complexity, frame_image, to_tensor
from imgaudit.inversion import Inversion, invert
from imgaudit.matching import Matcher
from imgaudit.portfolio import Target, path_text
from imgaudit.records import (
    ErrorCurvePoint,
    ErrorMeasurement,
    Measurement,
    Replica,
    Rung,
    RungMeasurement,
    Skipped,
)


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
    images: dict[str, torch.Tensor]
    """Every generated frame by its path in the run folder."""


def replica_path(image_id: str, rung: Rung, guidance_scale: float, number: int) -> str:
    """Where a replica lies in a run folder."""
    return f"images/{image_id}/replicas/{rung.value}-g{guidance_scale:g}-{number:04d}.png"


def measure_chunk(
    denoiser: Denoiser,
    targets: Sequence[Target],
    protocol: Protocol,
    *,
    run_seed: int,
    executor: Executor,
    matcher: Matcher | None = None,
) -> list[MeasuredImage]:
    """Put every image of a chunk through the whole protocol.

    Images share batches and nothing else; time and network evaluations are divided equally among them.
    """
    matcher = matcher or Matcher()
    started, evaluations = time.perf_counter(), denoiser.network_evaluations
    framed_images = [frame_image(t.image.pixels, denoiser.resolution, protocol.framing) for t in targets]
    framed = torch.stack([to_tensor(image) for image in framed_images])
    sha256s = [target.image.sha256 for target in targets]
    latents = torch.cat(list(executor.slices(len(framed), lambda rows: denoiser.encode(framed[rows]))))
    references = torch.cat(list(executor.slices(len(framed), lambda rows: denoiser.decode(latents[rows]))))

    errors: list[PairedErrors] = []

    def on_step(step: int, prompt_embeds: PromptEmbeds) -> None:
        if step == protocol.error.after_steps:
            errors.append(
                measure_paired_errors(
                    denoiser, latents, sha256s, prompt_embeds, protocol.error, run_seed=run_seed, executor=executor
                )
            )

    inversion = invert(
        denoiser, latents, sha256s, protocol.inversion, run_seed=run_seed, executor=executor, on_step=on_step
    )
    error_records = _error_records(errors[0], denoiser.schedule.num_train_timesteps)
    generated = {
        rung: _generate_rung(denoiser, targets, rung, inversion, protocol, run_seed, executor) for rung in Rung
    }
    share = 1 / len(targets)
    seconds = (time.perf_counter() - started) * share
    spent = round((denoiser.network_evaluations - evaluations) * share)

    measured = []
    for row, target in enumerate(targets):
        rungs: dict[Rung, RungMeasurement | Skipped] = {}
        images: dict[str, torch.Tensor] = {}
        for rung in Rung:
            frames = generated[rung][row]
            if frames is None:
                rungs[rung] = Skipped(skipped=f"no {rung.value} was given")
                continue
            text = target.texts.get(rung, "")
            cut = denoiser.cut_tokens(text) if text else 0
            replicas, pictures = _compare(target.image.id, rung, frames, references[row], matcher)
            rungs[rung] = RungMeasurement(text=text, cut_tokens=cut, replicas=replicas)
            images |= pictures
        [(floor, _)] = matcher.compare(framed[row], references[row][None])
        measurement = Measurement(
            id=target.image.id,
            path=path_text(target.path),
            sha256=target.image.sha256,
            width=target.image.pixels.width,
            height=target.image.pixels.height,
            notes=list(target.image.notes),
            complexity=complexity(framed_images[row]),
            vae_floor=floor,
            loss_curve=inversion.losses[row].tolist(),
            error=error_records[row],
            rungs=rungs,
            seconds=seconds,
            network_evaluations=spent,
        )
        embeds = {name: stream[row] for name, stream in inversion.prompt_embeds.streams.items()}
        measured.append(MeasuredImage(measurement, framed[row], references[row], embeds, images))
    return measured


def _error_records(errors: PairedErrors, num_train_timesteps: int) -> list[ErrorMeasurement]:
    curves = errors.by_timestep(num_train_timesteps)
    log_ratios, wins = errors.log_ratio(), errors.win_rate()
    return [
        ErrorMeasurement(
            conditional=float(errors.conditional[row].double().mean()),
            null=float(errors.null[row].double().mean()),
            log_ratio=float(log_ratios[row]),
            win_rate=float(wins[row]),
            draws=errors.conditional.shape[1],
            by_timestep=[ErrorCurvePoint.model_validate(point) for point in curves[row]],
        )
        for row in range(len(log_ratios))
    ]


def _generate_rung(
    denoiser: Denoiser,
    targets: Sequence[Target],
    rung: Rung,
    inversion: Inversion,
    protocol: Protocol,
    run_seed: int,
    executor: Executor,
) -> list[list[Generated] | None]:
    """Per target, all frames of one rung over scales and seeds; None where the target lacks the rung."""
    config = protocol.generation
    if rung is Rung.EMBEDDING:
        rows = list(range(len(targets)))
        condition: PromptEmbeds | None = inversion.prompt_embeds
    else:
        rows = [row for row, target in enumerate(targets) if rung in target.texts]
        condition = denoiser.condition([targets[row].texts[rung] for row in rows]) if rows else None
    frames: list[list[Generated] | None] = [None] * len(targets)
    if condition is None:
        return frames
    seeds = [replica_seeds(run_seed, targets[row].image.sha256, config.seeds) for row in rows]
    for scale in config.guidance_scales:
        batches = generate(
            denoiser,
            condition,
            seeds,
            guidance_scale=scale,
            num_inference_steps=config.num_inference_steps,
            executor=executor,
        )
        for row, batch in zip(rows, batches, strict=True):
            frames[row] = (frames[row] or []) + batch
    return frames


def _compare(
    image_id: str, rung: Rung, frames: Sequence[Generated], reference: torch.Tensor, matcher: Matcher
) -> tuple[list[Replica], dict[str, torch.Tensor]]:
    scored = [frame for frame in frames if frame.invalid is None]
    compared = iter(matcher.compare(reference, torch.stack([frame.image for frame in scored])) if scored else [])
    replicas, pictures = [], {}
    numbers: dict[float, int] = {}
    for frame in frames:
        number = numbers[frame.guidance_scale] = numbers.get(frame.guidance_scale, -1) + 1
        path = replica_path(image_id, rung, frame.guidance_scale, number)
        pictures[path] = frame.image
        if frame.invalid is None:
            similarity, distance = next(compared)
            replicas.append(
                Replica(seed=frame.seed, guidance_scale=frame.guidance_scale, path=path,
                        similarity=similarity, distance=distance)
            )  # fmt: skip
        else:
            reason = Skipped(skipped=f"invalid frame: {frame.invalid}")
            replicas.append(
                Replica(seed=frame.seed, guidance_scale=frame.guidance_scale, path=path,
                        similarity=reason, distance=reason)
            )  # fmt: skip
    return replicas, pictures
