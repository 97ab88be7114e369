"""The score of all images of a chunk, and the inversion of those that are asked in all ways."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from imgaudit.diffusion.caption_error import measure_caption_errors
from imgaudit.diffusion.context import Chunk, MeasurementContext
from imgaudit.diffusion.denoising_error import PairedErrors, choose_baseline, measure_paired_errors
from imgaudit.diffusion.inversion import Inversion, Inverter
from imgaudit.diffusion.span_search import search_span
from imgaudit.diffusion.text_span import TextSpan
from imgaudit.schema.records import ErrorMeasurement, Skipped


@dataclass(frozen=True)
class ScoredChunk:
    """A chunk whose images all have a score."""

    errors: PairedErrors
    """Errors under the condition that the score is measured with; one row per image."""
    records: Sequence[ErrorMeasurement]
    """The same as records."""
    caption_records: Sequence[ErrorMeasurement | Skipped]
    """Errors under the images' captions."""
    inversion: Inversion
    """What every image had come to when it was scored."""
    reasons: Sequence[str]
    """For each image, the reason why it is not asked in all ways; empty where it is."""
    inverter: Inverter | None
    """The inversion that was stopped for the score; None where the score was measured without one."""

    @property
    def asked(self) -> list[int]:
        """Rows of the images that are asked in all ways."""
        return [row for row, reason in enumerate(self.reasons) if not reason]


def score_chunk(context: MeasurementContext, chunk: Chunk) -> ScoredChunk:
    """Measure the denoising errors of all images, and tell which images are asked in all ways.

    The errors are measured under what a search in the span of texts found, or within the inversion, after the step that
    the protocol names; and under the image's caption, where it has one.
    """
    inverter: Inverter | None = None
    if context.text_span is not None:
        searched = _search_span(context, chunk, context.text_span)
        prompt_embeds = searched.prompt_embeds
    else:
        inverter = _start(context, chunk)
        while inverter.steps < context.protocol.error.after_steps:
            inverter.step()
        prompt_embeds, searched = inverter.prompt_embeds, inverter.result()
    errors = measure_paired_errors(
        context.denoiser, chunk.encoded.latents, chunk.encoded.sha256s, prompt_embeds, context.protocol.error,
        run_seed=context.run_seed, executor=context.executor, baseline=choose_baseline(context.denoiser),
    )  # fmt: skip
    records = errors.records(context.denoiser.schedule.num_train_timesteps)
    context.begin("measuring under captions", chunk.loaded)
    captions = measure_caption_errors(context, chunk, errors)
    reasons = [
        context.find_reason_not_to_ask(
            complexity, record.log_ratio, None if isinstance(caption, Skipped) else caption.log_ratio
        )
        for record, caption, complexity in zip(records, captions, chunk.complexities, strict=True)
    ]
    return ScoredChunk(errors, records, captions, searched, reasons, inverter)


def finish_inversion(context: MeasurementContext, chunk: Chunk, scored: ScoredChunk) -> Inversion:
    """Invert the images of a scored chunk that are asked in all ways, of which there are some, to the end.

    The inversion never starts from what a search in the span of texts found: from there, images come out that the model
    was not trained on.

    chunk:   the images that are asked
    Returns  one row per image that is asked, in their order
    """
    inverter = scored.inverter
    if inverter is None:
        inverter = _start(context, chunk)
    elif len(scored.asked) < len(scored.reasons):
        inverter.keep(scored.asked)
    while inverter.steps < context.protocol.inversion.steps:
        inverter.step()
    return inverter.result()


def _search_span(context: MeasurementContext, chunk: Chunk, text_span: TextSpan) -> Inversion:
    encoded, span = chunk.encoded, context.protocol.span
    assert span is not None
    context.begin("searching among texts", chunk.loaded)
    found = search_span(
        context.denoiser, encoded.latents, encoded.sha256s, text_span, span, run_seed=context.run_seed,
        executor=context.executor,
    )  # fmt: skip
    empty = torch.zeros(len(chunk), 0)
    return Inversion(found.prompt_embeds, empty, empty.long(), empty, empty)


def _start(context: MeasurementContext, chunk: Chunk) -> Inverter:
    context.begin("searching for an embedding", chunk.loaded)
    return Inverter(
        context.denoiser, chunk.encoded.latents, chunk.encoded.sha256s, context.protocol.inversion,
        run_seed=context.run_seed, executor=context.executor,
    )  # fmt: skip
