"""Denoising error under an image's own caption: no embedding is searched for, so nothing of the image is given."""

from math import isfinite

from imgaudit.diffusion.context import Chunk, MeasurementContext
from imgaudit.diffusion.denoising_error import PairedErrors, measure_paired_errors
from imgaudit.diffusion.rungs import find_rung_texts
from imgaudit.schema.records import ErrorMeasurement, Rung, Skipped


def measure_caption_errors(
    context: MeasurementContext, chunk: Chunk, errors: PairedErrors
) -> list[ErrorMeasurement | Skipped]:
    """Measure the denoising error of every image under its caption, on the draws of the score.

    Of several captions the first counts alone: the best of many would be more chances than the controls had. The errors
    to compare with are those of the score, so that this costs one network evaluation per draw.

    errors:  the errors of the score, one row per image of the chunk
    Returns  one record per image; Skipped with the reason where an image has no caption, or the protocol does not ask
             for captions
    """
    if Rung.CAPTION.value not in context.protocol.ladder.rungs:
        return [Skipped(skipped=f"the protocol has no {Rung.CAPTION.value} rung")] * len(chunk)
    found = [find_rung_texts(one.target, Rung.CAPTION, context.protocol, context.run_seed) for one in chunk.loaded]
    captions = {row: texts[0] for row, texts in enumerate(found) if not isinstance(texts, Skipped)}
    measured = iter(_measure_captions(context, chunk, errors, captions))
    return [texts if isinstance(texts, Skipped) else next(measured) for texts in found]


def _measure_captions(
    context: MeasurementContext, chunk: Chunk, errors: PairedErrors, captions: dict[int, str]
) -> list[ErrorMeasurement | Skipped]:
    """Measure the images of some rows of the chunk, each under its caption, in the order of the rows."""
    if not captions:
        return []
    denoiser, rows = context.denoiser, list(captions)
    paired = measure_paired_errors(
        denoiser, chunk.encoded.latents[rows], [chunk.encoded.sha256s[row] for row in rows],
        denoiser.condition(list(captions.values())), context.protocol.error, run_seed=context.run_seed,
        executor=context.executor, baseline=errors.baseline, null=errors.null[rows],
    )  # fmt: skip
    return [
        one if isfinite(one.log_ratio) else Skipped(skipped="the model's errors under the caption are not finite")
        for one in paired.records(denoiser.schedule.num_train_timesteps)
    ]
