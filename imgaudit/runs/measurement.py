"""Measurements of a folder of images, kept as they finish: order, chunks and resume.

Every file that was given ends in exactly one record. All that follows is computed from the run folder, without the
model.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from functools import partial

import torch
from safetensors.torch import save

from imgaudit.decision.funnel import ImageScores, describe_left_out, place_funnel
from imgaudit.decision.null_bank import NullBank
from imgaudit.decision.replication import Evidence, replicates
from imgaudit.diffusion.context import MeasurementContext
from imgaudit.diffusion.executor import Executor
from imgaudit.diffusion.measurement import MeasuredImage, measure_chunk
from imgaudit.exceptions import ImageError, ImgauditError
from imgaudit.io.framing import copy_original, frame_image, is_single_colour, to_image
from imgaudit.io.portfolio import LoadedTarget, Portfolio, Target
from imgaudit.io.reading import format_path
from imgaudit.io.thumbnails import write_thumbnail
from imgaudit.io.writing import write_atomically, write_json, write_png
from imgaudit.models.loading import LoadedModel
from imgaudit.runs.callbacks import OnStep, ignore_step
from imgaudit.runs.folder import Recorded, RunFolder
from imgaudit.runs.manifest import read_manifest
from imgaudit.schema.config import AuditConfig
from imgaudit.schema.measures import DECIDING_DESCRIPTOR
from imgaudit.schema.protocol import Protocol
from imgaudit.schema.records import Measurement, Replica, Rung, Skipped, SkippedImage
from imgaudit.similarity.matcher import Matcher


def chunks(portfolio: Portfolio, size: int) -> list[list[Target]]:
    """Fixed chunks of the SHA-sorted list: the unit of work that is repeated as a whole after a kill.

    Files that are gone keep their place, so that the others keep their neighbours.
    """
    targets = {target.image.sha256: target for target in portfolio.targets}
    order = sorted({*targets, *portfolio.gone})
    return [
        [targets[sha256] for sha256 in order[start : start + size] if sha256 in targets]
        for start in range(0, len(order), size)
    ]


def measure_targets(
    run: RunFolder,
    portfolio: Portfolio,
    model: LoadedModel,
    config: AuditConfig,
    *,
    matcher: Matcher | None = None,
    recorded: Recorded | None = None,
    keep_images: bool = True,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
    on_step: OnStep = ignore_step,
) -> Iterator[Measurement]:
    """Measure what a run still lacks, chunk by chunk; every finished chunk is on disk before the next begins.

    recorded:  what the run holds already, when it has been read before

    Chunks are cut from the whole list, finished images included, so that a resumed chunk has the same neighbours.
    """
    recorded = recorded or run.recorded(with_images=keep_images)
    finished, skipped = recorded.finished, recorded.skipped
    unmeasured = [one for sha256, one in portfolio.gone.items() if sha256[:16] not in finished]
    run.append_records([_skip_record(one) for one in (*portfolio.skipped, *unmeasured) if one.path not in skipped])
    context = MeasurementContext(
        model.denoiser, config.protocol, config.seed, Executor(config.largest_batch, model.denoiser.spare_memory),
        matcher or Matcher(), copy_rule(run), asking_rule(run, config.protocol), on_step,
    )  # fmt: skip
    done = len(finished)
    on_progress(done, len(portfolio.targets))
    for chunk in chunks(portfolio, config.chunk_size):
        waiting = [target for target in chunk if skipped.get(format_path(target.path), True)]
        if all(target.image.id in finished for target in waiting):
            continue
        for image in _measure(context, waiting):
            if isinstance(image, SkippedImage):
                run.append_record(_skip_record(image))
                continue
            if image.measurement.id in finished:
                continue
            if not image.measurement.is_finite:
                reason = "the model's errors on it are not finite"
                run.append_record(_skip_record(SkippedImage(path=image.measurement.path, skipped=reason)))
                continue
            if keep_images:
                save_image(run, image)
            run.append_record({"stage": "measured", **image.measurement.model_dump(mode="json")})
            done += 1
            yield image.measurement
        on_progress(done, len(portfolio.targets))


def copy_rule(run: RunFolder) -> Callable[[Replica], bool]:
    """Return what a run's bank and policy call a copy among an embedding's replicas; nothing without a bank.

    It decides which embeddings are taken apart, stream by stream; copies are counted when the run is concluded, by a
    bank that the targets' own near copies have been taken out of.
    """
    if not run.calibration_path.is_file():
        return lambda replica: False
    manifest = read_manifest(run)
    bank = NullBank.read(run.calibration_path).by_work().compared_by(manifest.copy_descriptor)
    evidence = Evidence(bank, manifest.protocol, manifest.policy, copy_descriptor=manifest.copy_descriptor)
    return partial(replicates, thresholds=evidence.rung_thresholds(Rung.EMBEDDING))


def asking_rule(run: RunFolder, protocol: Protocol) -> Callable[[float, float, float | None], str]:
    """Return what tells from an image's complexity, its log ratio, and that under its caption if it has one, it is
    not asked in all ways; empty where it is.

    Without a funnel, or without enough controls for one, every image is.
    """
    bank = NullBank.read(run.calibration_path).by_work() if run.calibration_path.is_file() else None
    funnel = place_funnel(bank, protocol)

    def find_reason(complexity: float, log_ratio: float, caption_log_ratio: float | None) -> str:
        if funnel is None or funnel.asks(ImageScores(complexity, log_ratio, caption_log_ratio)):
            return ""
        return describe_left_out(funnel, captioned=caption_log_ratio is not None)

    return find_reason


def _skip_record(skipped: SkippedImage) -> dict[str, str]:
    return {"stage": "skipped", **skipped.model_dump(mode="json")}


def _measure(context: MeasurementContext, targets: Sequence[Target]) -> Iterator[MeasuredImage | SkippedImage]:
    """Measure a chunk; what can no longer be read, or has nothing to be recognised by, is skipped with the reason."""
    loaded: list[LoadedTarget] = []
    for target in targets:
        try:
            one = target.load()
        except ImageError as error:
            yield SkippedImage(path=format_path(target.path), skipped=f"the file {error}", passing=True)
            continue
        framing = context.protocol.framing
        framed = frame_image(one.pixels, context.denoiser.resolution, framing)
        if is_single_colour(framed):
            reason = f"is a single colour at the model's size, framed by {framing.used_for(*one.pixels.size).value}"
            yield SkippedImage(path=format_path(target.path), skipped=f"the file {reason}")
            continue
        loaded.append(one)
    if loaded:
        yield from _measure_loaded(context, loaded)


def _measure_loaded(
    context: MeasurementContext, loaded: Sequence[LoadedTarget]
) -> Iterator[MeasuredImage | SkippedImage]:
    try:
        measured = measure_chunk(context, loaded)
    except ImgauditError:
        # Memory that does not suffice, or a model that cannot do what is asked, is not one image's fault.
        raise
    except Exception as error:
        if len(loaded) == 1:
            reason = f"measuring it failed: {type(error).__name__}: {error}"[:500]
            yield SkippedImage(path=format_path(loaded[0].target.path), skipped=reason)
            return
        # One image must not stop the others: each alone, and whichever fails again is skipped.
        for one in loaded:
            yield from _measure_loaded(context, [one])
        return
    yield from measured


def save_image(run: RunFolder, image: MeasuredImage) -> None:
    """Write what was measured of one image before its record: the pictures, the embedding, learned noise and curves."""
    folder = run.image_folder(image.measurement.id)
    write_png(folder / "original.png", copy_original(image.original))
    write_png(folder / "target.png", to_image(image.framed))
    write_png(folder / "rendered.png", to_image(image.rendered))
    for path, frame in image.images.items():
        write_png(run.path / path, to_image(torch.nan_to_num(frame, nan=-1.0)))
    write_atomically(
        folder / "embeds.safetensors", save({name: one.contiguous() for name, one in image.prompt_embeds.items()})
    )
    if image.learned_noise:
        tensors = {name: one.contiguous() for name, one in image.learned_noise.items()}
        write_atomically(folder / "noise.safetensors", save(tensors))
    error = image.measurement.error
    curves = {
        "loss": image.measurement.loss_curve,
        "by_timestep": [] if isinstance(error, Skipped) else [asdict(point) for point in error.by_timestep],
    }
    write_json(folder / "curves.json", curves)
    _save_thumbnails(run, image.measurement)


def _save_thumbnails(run: RunFolder, measurement: Measurement) -> None:
    """Save what the report's index shows of an image, so that a report need not decode thousands of them."""
    folder = run.path / "report" / "thumbs"
    write_thumbnail(run.image_folder(measurement.id) / "target.png", folder / f"{measurement.id}-target.jpg")
    if closest := measurement.closest(DECIDING_DESCRIPTOR):
        write_thumbnail(run.path / closest[1].path, folder / f"{measurement.id}-best.jpg")
